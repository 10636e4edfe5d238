#!/usr/bin/env bash
# doc-c.sh [HEADER]: makes the C reference as HTML from the header's comments, in target/doc/html (`make doc-c`). A
# warning of Doxygen's is an error, and so is a comment that leaves out what each must say.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
header=${1:-include/boxlite.h}
command -v doxygen >/dev/null || die "doxygen is missing: run \`make setup\`"

# Every comment names its noun, which has a page, and says of its function: on which threads it may be called, what may be
# NULL, whether it blocks, which errors it has, and whose is what it is given and gives; or it names a function that is
# alike.
lacking=$(awk '
    function lacks(what) { print FILENAME ":" NR ": " what }
    /^\/\*\*/ { comment = ""; code = ""; inside = 1 }
    inside {
        line = $0
        sub(/^ \*/, "", line)
        comment = comment line
        if ($2 == "@defgroup") noun[$3] = 1
        if ($2 == "@ingroup" && !($3 in noun)) lacks("no @defgroup is called " $3)
    }
    /^ \*\// {
        inside = 0
        if (comment !~ /@(defgroup|mainpage|ingroup)/) lacks("no @ingroup")
        next
    }
    !inside { code = code $0 " " }
    !inside && /\);$/ {
        alike = comment ~ / as boxlite_[a-z_]+\(\)/
        fallible = code ~ /boxlite_error \*\*/
        if (comment == "") lacks("no comment")
        if (code ~ /^typedef/) { comment = ""; next }
        if (fallible && comment !~ /[Ee]rrors/ && !alike) lacks("no word on errors")
        if (comment !~ /[Bb]lock|[Rr]eads|[Aa]sks/ && !alike) lacks("no word on blocking")
        if (comment !~ /[Tt]hread/) lacks("no word on threads")
        if (code ~ /\(.*\*/ && comment !~ /NULL/) lacks("no word on NULL")
        if (code ~ /\*\*[a-z_]+,/ && comment !~ /frees/ && !alike) lacks("no word on who frees the result")
        if (code ~ /\*fd,/ && comment !~ /closes/ && !alike) lacks("no word on who closes the descriptor")
        if (code ~ /^[^(]*\*boxlite_/ && comment !~ /[Vv]alid|[Ll]ives|static/) lacks("no word on how long the result lives")
        if (fallible && code ~ /const (char|void) \*/ && comment !~ /[Cc]opied/ && !alike) lacks("no word on whether arguments are copied")
        comment = ""
    }' "$header")
[ -z "$lacking" ] || die "comments that leave something out:"$'\n'"$lacking"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
rm -rf -- "$target/doc/html"
mkdir -p -- "$target/doc"
{
    cat docs/Doxyfile
    echo "PROJECT_NUMBER = $version"
    echo "INPUT = $header docs/c-api.md"
    echo "OUTPUT_DIRECTORY = \"$target/doc\""
} | doxygen - || die "Doxygen has warnings (above)"
