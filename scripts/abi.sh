#!/usr/bin/env bash
# abi.sh check|record [HEADER [SYMBOLS [RECORD]]]: compares what programs are compiled and linked against with what was
# recorded in include/boxlite.abi, or records what has come since. What is recorded must not change or go.
#
# The shipped library has no debug information, and Rust's would not be C's. So the header's declarations are compiled
# into a library that has the types and the symbols with their versions, and nothing else; tests/header.rs holds the
# header, the list and the shipped library together. A constant becomes a symbol that has its value in its name.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

action=${1:-}
header=$(realpath -- "${2:-$root/include/boxlite.h}")
symbols=$(realpath -- "${3:-$root/include/boxlite.symbols}")
record=$(realpath -m -- "${4:-$root/include/boxlite.abi}")
[ "$action" = check ] || [ "$action" = record ] || die "usage: abi.sh check|record [HEADER [SYMBOLS [RECORD]]]"
if [ "$(uname -m)" != x86_64 ]; then say "the ABI is recorded for x86-64: not compared here"; exit 0; fi
for tool in cc abidw abidiff; do
    command -v "$tool" >/dev/null || die "$tool is missing: run \`make setup\`"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-abi.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cp -- "$header" "$work/boxlite.h"
cd "$work"

# The number of the interface is raised by every addition: it is no part of what stays.
constants=$(awk '$1 == "#define" && $2 ~ /^BOXLITE_/ && NF == 3 && $2 != "BOXLITE_ABI_VERSION" {
    gsub(/[^A-Za-z0-9_]/, "minus", $3); print $2 "_is_" $3 }' boxlite.h)
{
    echo '#include "boxlite.h"'
    # Each declaration with a body.
    awk '/^\/\*/ { comment = 1 }
        !comment && /^extern "C" \{/ { inside = 1; next }
        !comment && inside && !/^#/ { code = code " " $0 }
        /\*\// { comment = 0 }
        END {
            count = split(code, declarations, ";")
            for (i = 1; i <= count; i++) {
                if (declarations[i] !~ /\(/) continue
                print declarations[i] (declarations[i] ~ /^ *void boxlite/ ? " {}" : " { return 0; }")
            }
        }' boxlite.h
    printf 'char %s;\n' $constants
} >abi.c
{
    echo 'HEADER { global:'
    printf '%s;\n' $constants
    echo 'local: *; };'
    for node in $(awk '/^boxlite_/ { print $2 }' "$symbols" | sort -uV); do
        echo "$node { global:"
        awk -v node="$node" '$2 == node { print $1 ";" }' "$symbols"
        echo '};'
    done
} >abi.map
cc -g -O0 -fPIC -shared -w -nostdlib -Wl,-soname,libboxlite.so.0 -Wl,--version-script=abi.map -o abi.so abi.c

# compare OPTION...: abidiff's report; its status has bit 0 or 1 when it could not compare.
compare() {
    local status=0
    abidiff --harmless --no-show-locs "$@" "$record" abi.so >report 2>&1 || status=$?
    [ $((status & 3)) -eq 0 ] || die "abidiff failed: $(cat report)"
    [ "$status" -eq 0 ]
}

if [ -s "$record" ]; then
    compare --no-added-syms || die "the header breaks programs that are compiled already:"$'\n'"$(cat report)"
    if compare; then exit 0; fi
    [ "$action" = record ] || die "not recorded yet (\`make abi\` does that):"$'\n'"$(cat report)"
elif [ "$action" = check ]; then
    die "no $record"
fi
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-parameter-names --type-id-style hash \
    --out-file "$record" abi.so
say "recorded $record"
