#!/usr/bin/env bash
# third-party.sh OUT: writes the licences of all crates that are linked into the library, the shim and the guest agent,
# with the texts that the crates' own sources have. Fails when one of them has neither a text nor the terms of LICENSE.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 1 ] || die "usage: third-party.sh OUT"
out=$(realpath -m -- "$1")
cd "$root"
work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-third-party.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# NAME VERSION|LICENCE|REPOSITORY of each crate that is no member of the workspace; macros run in the compiler only.
cargo tree --locked --package boxlite --package boxlite-shim --package boxlite-guest --edges normal,no-proc-macro \
    --prefix none --format '{p}|{l}|{r}' | sed -e 's/ (\*)$//' -e '/^$/d' -e '/ (\//d' -e 's/ v/ /' | sort -u >"$work/crates"
[ -s "$work/crates" ] || die "cargo tree names no crates"
# Where their sources are, by NAME-VERSION, which is the last part of the path.
declare -A sources
while read -r source; do
    sources[${source##*/}]=$source
done < <(cargo metadata --locked --format-version 1 --filter-platform "$(uname -m)-unknown-linux-gnu" \
    | grep -o '"manifest_path":"[^"]*/Cargo.toml"' | sed -e 's/.*:"//' -e 's|/Cargo.toml"$||')

mkdir "$work/of"
declare -A texts
while IFS='|' read -r crate terms repository; do
    source=${sources[${crate/ /-}]:-}
    [ -d "$source" ] || die "the source of $crate is not there: run \`cargo fetch\`"
    line="$crate ($terms) $repository"
    found=
    # Also those of C code inside.
    while read -r sum text; do
        found=1
        texts[$sum]=$text
        echo "$line: ${text#"$source"/}" >>"$work/of/$sum"
    done < <(find "$source" -maxdepth 3 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \
        -o -iname 'unlicense*' -o -iname 'copyright*' \) -size -200k -exec sha256sum -- {} + | sort -k 2)
    if [ -z "$found" ]; then
        [[ $terms == *Apache-2.0* ]] || die "$crate ($terms) comes without the text of its licence"
        echo "$line" >>"$work/without"
    fi
done <"$work/crates"

{
    echo "What is linked into libboxlite.so, boxlite-shim and boxlite-guest, with the licences that came with it: $(wc -l <"$work/crates") Rust"
    echo "crates, and the C code in some of them. SQLite, in libsqlite3-sys, is in the public domain."
    if [ -s "$work/without" ]; then
        printf '\nThese came without a text; theirs is the Apache License 2.0, which is in the file LICENSE:\n\n'
        sort -u "$work/without" | sed 's/^/  /'
    fi
    # By the first crate that has it.
    rule=$(printf '=%.0s' {1..80})
    for sum in $(cd "$work/of" && grep -H -m 1 '' -- * | sed 's/:/ /' | sort -k 2 | cut -d' ' -f1); do
        printf '\n%s\n' "$rule"
        sort -u "$work/of/$sum" | sed 's/^/  /'
        echo
        cat -- "${texts[$sum]}"
        echo
    done
} >"$out"
