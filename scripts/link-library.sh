#!/usr/bin/env bash
# link-library.sh [ARCHIVE [SYMBOLS [OUT_DIR]]]: links the shared library that is shipped, with symbol versions.
#
# SYMBOLS has one exported function a line with its version ("boxlite_version BOXLITE_0.1"); the list and the archive
# must agree both ways. cargo's own .so is not shipped: its version script and ours do not go together.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

archive=${1:-$target/release/libboxlite.a}
symbols=${2:-$root/include/boxlite.symbols}
out_dir=${3:-$runtime_dir/lib}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")
[ -n "$version" ] || die "no version under [workspace.package] in Cargo.toml"
[ -f "$archive" ] || die "no static library at $archive: run \`make build\`"
[ -f "$symbols" ] || die "no symbol list at $symbols: run \`make header\`"
soname=libboxlite.so.${version%%.*}
out=$out_dir/libboxlite.so.$version

# Nothing to do when no input is newer.
if [ -f "$out" ] && [ "$out" -nt "$archive" ] && [ "$out" -nt "$symbols" ] && [ "$out" -nt "${BASH_SOURCE[0]}" ] \
    && [ -e "$out_dir/libboxlite.so" ]; then
    exit 0
fi

mkdir -p -- "$out_dir"
work=$(mktemp -d "$out_dir/.link.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

sed -e 's/#.*//' -e 's/@@/ /' -e '/^[[:space:]]*$/d' "$symbols" | LC_ALL=C sort -u >"$work/listed"
bad=$(awk 'NF != 2 || $1 !~ /^boxlite_[a-z0-9_]+$/ || $2 !~ /^BOXLITE_[0-9]+\.[0-9]+$/' "$work/listed")
[ -z "$bad" ] || die "$symbols: not \`boxlite_NAME BOXLITE_X.Y\`: $bad"
[ -s "$work/listed" ] || die "$symbols lists no symbol: run \`make header\`"
cut -d' ' -f1 "$work/listed" >"$work/names"
doubled=$(uniq -d "$work/names")
[ -z "$doubled" ] || die "$symbols lists with two versions: $doubled"

# Rust's own symbols are mangled, so a plain boxlite_ name is one of the C API.
nm --defined-only --extern-only "$archive" 2>/dev/null | awk '$2 == "T" && $3 ~ /^boxlite_/ { print $3 }' \
    | sort -u >"$work/defined"
missing=$(comm -23 "$work/names" "$work/defined")
[ -z "$missing" ] || die "listed in $symbols but not in the library:"$'\n'"$missing"
unlisted=$(comm -13 "$work/names" "$work/defined")
[ -z "$unlisted" ] || die "in the library but not listed in $symbols (\`make header\` adds them):"$'\n'"$unlisted"

# One node per version, each inheriting from the one before; all other names stay local.
before=''
: >"$work/boxlite.map"
for node in $(cut -d' ' -f2 "$work/listed" | sort -uV); do
    {
        echo "$node {"
        echo "  global:"
        awk -v node="$node" '$2 == node { print "    " $1 ";" }' "$work/listed"
        [ -n "$before" ] || printf '  local:\n    *;\n'
        echo "}${before:+ $before};"
    } >>"$work/boxlite.map"
    before=$node
done

# -u pulls each function's object out of the archive; -z nodelete because Rust's thread-locals outlive a dlclose.
sed 's/^/-Wl,-u,/' "$work/names" >"$work/arguments"
"${CC:-cc}" -shared -o "$work/library" \
    -Wl,-soname,"$soname" -Wl,--version-script="$work/boxlite.map" @"$work/arguments" "$archive" \
    -Wl,--gc-sections -Wl,--strip-debug -Wl,-z,nodelete -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,--as-needed \
    -lgcc_s -lpthread -ldl -lm -lc

nm -D --defined-only --with-symbol-versions "$work/library" | awk '$2 == "T" { sub(/@@/, " ", $3); print $3 }' \
    | sort -u >"$work/exported"
if ! difference=$(diff "$work/listed" "$work/exported"); then
    die "the linked library's exports differ from $symbols:"$'\n'"$difference"
fi

chmod 0755 "$work/library"
mv -f "$work/library" "$out"
ln -sfn "$(basename "$out")" "$out_dir/$soname"
ln -sfn "$soname" "$out_dir/libboxlite.so"
say "linked $out ($(wc -l <"$work/listed") functions)"
