#!/usr/bin/env bash
# Makes target/dist/boxlite-VERSION-ARCH-linux.tar.gz of what was built: the installed tree with the licences of all it
# holds, and where their source is. The same build gives the same bytes. Prints the archive's path.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

[ -x "$runtime_dir/libexec/boxlite/boxlite-shim" ] || die "nothing is built: run \`make build\`"
copyright=$runtime_dir/share/doc/libkrunfw5/copyright
[ -s "$copyright" ] || die "the copyright file of libkrunfw is not at $copyright: copy it there from its package"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(uname -m)
name=boxlite-$version-$arch-linux

mkdir -p "$target/dist"
work=$(mktemp -d "$target/dist/.work.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
tree=$work/$name
cmake -S . -B "$work/build" -DBOXLITE_BUILD=OFF -DCMAKE_INSTALL_LIBDIR=lib >"$work/log" || die "$(cat "$work/log")"
cmake --install "$work/build" --prefix "$tree" >"$work/log" || die "$(cat "$work/log")"
# The line tables name the directories of this machine, and double its size.
strip --strip-debug "$tree/libexec/boxlite/boxlite-shim"

doc=$tree/share/doc/boxlite
mkdir -p "$doc"
cp LICENSE NOTICE CHANGELOG.md SECURITY.md docs/*.md examples/hello.c packaging/licences/*.txt "$doc"
cp "$copyright" "$doc/libkrunfw.copyright"
scripts/third-party.sh "$doc/THIRD-PARTY.txt"
rust_file=''
if [ -s "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" ]; then
    cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$doc/rust-standard-library.html"
    rust_file=' (rust-standard-library.html)'
fi
json() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$tree/libexec/boxlite/kernel.json"; }
origin="the package libkrunfw5$(sed 's/^/, version /' "$runtime_dir/share/doc/libkrunfw5/version" 2>/dev/null || true)"
# The newest version of a glibc symbol that library and shim ask for is the oldest glibc they run on.
glibc=$(objdump -T "$tree"/lib/libboxlite.so "$tree"/libexec/boxlite/boxlite-shim \
    | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | sed 's/GLIBC_//')
# fill FILE OUT: with the values of its @NAMES@.
fill() {
    sed -e "s|@VERSION@|$version|; s|@ARCH@|$arch|; s|@LINUX@|$(json linux)|; s|@SHA256@|$(json libkrunfw_sha256)|" \
        -e "s|@ORIGIN@|$origin|; s|@GLIBC@|$3|; s|@RUST@|$(rustc --version | cut -d' ' -f2)|; s|@RUST_FILE@|$rust_file|" "$1" >"$2"
    ! grep -n '@[A-Z_0-9]*@' "$2" >&2 || die "$1 has names without a value (above)"
}
fill packaging/README.dist "$tree/README" "$glibc"
fill packaging/SOURCES.in "$doc/SOURCES" "$(ldd --version | sed -n '1s/.* //p')"

chmod -R u=rwX,go=rX "$tree"
tar --create --directory "$work" --format=gnu --sort=name --mtime=@"${SOURCE_DATE_EPOCH:-0}" \
    --numeric-owner --owner=0 --group=0 "$name" | gzip -n >"$work/archive"
mv -f "$work/archive" "$target/dist/$name.tar.gz"
say "made $name.tar.gz, $(du -h "$target/dist/$name.tar.gz" | cut -f1)"
echo "$target/dist/$name.tar.gz"
