#!/usr/bin/env bash
# Runs C tests under valgrind's memcheck (c-tests/CMakeLists.txt says which). Boxes need a valgrind that knows
# pidfd_open: the machine's own when it is new enough, else the one from a later Debian, unpacked in target/ and not
# installed. Uses the network at most once. `make build` has to come first.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/debian-package.sh"

oldest=3.24
unpacked=$target/tools/valgrind

is_new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    printf '%s\n' "$oldest" "${version#valgrind-}" | sort -C -V
}

fetch() (
    work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-valgrind.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    cd "$work"
    download_from_suites valgrind trixie forky sid || { tail -n 5 apt.log | sed 's/^/  /' >&2; return 1; }
    dpkg-deb -x ./valgrind_*.deb unpacked
    mkdir -p -- "$(dirname -- "$unpacked")"
    rm -rf -- "$unpacked"
    mv -- unpacked "$unpacked"
)

valgrind=$(command -v valgrind || true)
if [ -z "$valgrind" ] || ! is_new_enough "$valgrind"; then
    valgrind=$unpacked/usr/bin/valgrind
    export VALGRIND_LIB=$unpacked/usr/libexec/valgrind
    is_new_enough "$valgrind" || fetch || die "no valgrind $oldest or later: install one, then start again"
    is_new_enough "$valgrind" || die "the valgrind in $unpacked does not run here: install $oldest or later"
fi

cd "$root"
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBOXLITE_BUILD=OFF -DBOXLITE_VALGRIND="$valgrind" >/dev/null
cmake --build build -j 2 >/dev/null
ctest --test-dir build -L memcheck -j 2 --output-on-failure --no-tests=error
