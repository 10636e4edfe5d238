#!/usr/bin/env bash
# Builds everything and lays it out in runtime/: libexec/boxlite has what the library starts (shim, guest disk,
# kernel), lib has the shared library. Both the Makefile and CMake call this.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

libexec=$runtime_dir/libexec/boxlite
triple=$(uname -m)-unknown-linux-gnu
library=$libexec/libkrunfw.so.5
[ -s "$library" ] || die "no $library: run \`make setup\`"

# The tests need more features of the same dependencies: built along with them, the library is compiled once.
what=(-p boxlite -p boxlite-shim)
[ -z "${BOXLITE_BUILD_TESTS:-}" ] || what=(--workspace --lib --bins --tests --examples)
cargo build --release --locked "${what[@]}"
# A static agent needs --target: without it the flag would reach the procedural macros. RUSTFLAGS would override it.
# Optimised as a whole, since its code is translated under emulation and found anew after each switch of processes: a
# command is a tenth faster, the disk a quarter smaller.
env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS cargo build --release --locked -p boxlite-guest --target "$triple" \
    --config "target.$triple.rustflags=[\"-Ctarget-feature=+crt-static\"]" \
    --config 'profile.release.lto="fat"' --config profile.release.codegen-units=1

install_file "$target/release/boxlite-shim" "$libexec/boxlite-shim" 0755
# libkrun's guests get the agent from memory; without the tables of lines, which only the build's own copy needs.
strip --strip-all -o "$target/boxlite-guest.stripped" "$target/$triple/release/boxlite-guest"
install_file "$target/boxlite-guest.stripped" "$libexec/boxlite-guest" 0755
"$root/scripts/make-guest-disk.sh" "$target/$triple/release/boxlite-guest" "$libexec/guest.erofs"
if [ "$(uname -m)" = x86_64 ]; then
    "$libexec/boxlite-shim" make-kernel "$library" "$libexec/kernel.elf" >/dev/null
fi
"$root/scripts/link-library.sh"
