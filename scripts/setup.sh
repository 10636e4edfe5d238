#!/usr/bin/env bash
# Installs what building, running and testing boxlite needs beyond the compilers. Idempotent: with nothing
# missing it takes a fraction of a second and uses no network.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# command : Debian package that has it : what it is for
tools='
cc:gcc:links the library and the examples
c++:g++:compiles the C++ tests
make:make:drives the build
cmake:cmake:runs the C tests
pkg-config:pkgconf:builds programs on an installed tree in tests
qemu-system-x86_64:qemu-system-x86:runs the virtual machines
qemu-img:qemu-utils:checks box disks in tests
mke2fs:e2fsprogs:makes the empty file system of a box
mkfs.erofs:erofs-utils:makes the guest disk
skopeo:skopeo:moves images in tests
umoci:umoci:makes and unpacks images in tests
docker-registry:docker-registry:the registry of the tests
htpasswd:apache2-utils:registry passwords in tests
openssl:openssl:registry certificates in tests
debootstrap:debootstrap:makes the Debian image of the tests
setfattr:attr:extended attributes in tests
setcap:libcap2-bin:file capabilities in tests
zstd:zstd:zstd layers in tests
strace:strace:shows in tests which files are flushed
pgrep:procps:finds processes that a test left behind
perl:perl-base:holds a lock in tests
ssh-keygen:openssh-client:makes keys in clones, in tests
valgrind:valgrind:checks the use of memory in tests
doxygen:doxygen:makes the C reference
abidiff:abigail-tools:compares the ABI with the recorded one
node:nodejs:runs the Node binding
npm:npm:fetches what the Node binding is compiled with
go:golang-go:compiles the Go binding
'

# The static busybox is the content of the demo's image; the dynamic one cannot run without its libraries.
busybox_is_static() {
    local path
    path=$(command -v busybox) && ! ldd "$path" >/dev/null 2>&1
}

# The Node binding takes libuv's header from Node's own installation where that has it.
has_uv_header() {
    local node
    [ -f /usr/include/uv.h ] || { node=$(command -v node) && [ -f "$(dirname -- "$(realpath -- "$node")")/../include/node/uv.h" ]; }
}

has_libclang() {
    ldconfig -p | grep -q 'libclang-[0-9.]*\.so\.'
}

missing=()
packages=()
while IFS=: read -r tool package purpose; do
    [ -n "$tool" ] || continue
    command -v "$tool" >/dev/null && continue
    missing+=("$tool ($purpose)")
    packages+=("$package")
done <<<"$tools"
if ! busybox_is_static; then
    missing+=("busybox, static (the demo's image)")
    packages+=(busybox-static)
fi
if [ ! -f /usr/include/doctest/doctest.h ]; then
    missing+=("doctest (the tests of the C++ binding)")
    packages+=(doctest-dev)
fi
if ! has_libclang; then
    missing+=("libclang (the shim on a libkrun of the system)")
    packages+=(libclang1)
fi
if ! has_uv_header; then
    missing+=("uv.h (the Node binding)")
    packages+=(libuv1-dev)
fi
if [ ! -f /usr/include/asio.hpp ] && [ ! -f /usr/local/include/asio.hpp ]; then
    missing+=("asio.hpp (an example in C++)")
    packages+=(libasio-dev)
fi
command -v cargo >/dev/null || die "cargo is not on PATH: install Rust 1.89 or newer (rustup does), then start again"

if [ "${#missing[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        say "this machine has no apt-get. Install these with its own package manager, then start again:"
        printf '  %s\n' "${missing[@]}" >&2
        exit 1
    fi
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -q update || die "apt-get update failed: check the machine's network and apt sources, then start again"
    as_root apt-get -q install -y --no-install-recommends "${packages[@]}" \
        || die "apt-get could not install ${packages[*]}: see its message above"
fi

"$root/scripts/fetch-libkrunfw.sh"
