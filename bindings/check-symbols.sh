#!/usr/bin/env bash
# check-symbols.sh BINDING FILE...: each function of the C API is named in the files, whole and outside `//` comments, or
# listed in bindings/BINDING/unreached.txt with a reason: `boxlite_x  why`. What is listed there must exist and not be named.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
binding=$1
shift
[ $# -gt 0 ] || { echo "check-symbols.sh: no files" >&2; exit 2; }
symbols=$(sed -e 's/#.*//' "$here/../include/boxlite.symbols" | awk 'NF { print $1 }' | LC_ALL=C sort -u)
[ -n "$symbols" ] || { echo "check-symbols.sh: no symbols listed" >&2; exit 2; }
excused=$(awk '/^boxlite_/ && NF > 1 { print $1 }' "$here/$binding/unreached.txt" 2>/dev/null || true)
named=$(sed -e 's|//.*||' -- "$@" | grep -owE 'boxlite_[a-z0-9_]+' || true)
missing=$(LC_ALL=C comm -23 <(printf '%s\n' "$symbols") <(printf '%s\n' "$named" "$excused" | LC_ALL=C sort -u))
[ -z "$missing" ] || { printf '%s does not reach:\n%s\n' "$binding" "$missing" >&2; exit 1; }
stale=$(LC_ALL=C comm -12 <(printf '%s\n' "$excused" | LC_ALL=C sort -u) <(printf '%s\n' "$named" | LC_ALL=C sort -u)
    LC_ALL=C comm -23 <(printf '%s\n' "$excused" | LC_ALL=C sort -u) <(printf '%s\n' "$symbols"))
stale=$(sed '/^$/d' <<<"$stale")
[ -z "$stale" ] || { printf '%s/unreached.txt lists what is reached, or is not there:\n%s\n' "$binding" "$stale" >&2; exit 1; }
