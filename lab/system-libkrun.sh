#!/usr/bin/env bash
# Builds the shim with the cargo feature system-libkrun, as a distribution that packages libkrun would, and runs the lab's
# short list with it. The libkrun is the crate's own shared library, put in order as a package would put it: soname,
# header, pkg-config file; in the lab it is installed where the dynamic loader finds it.
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"
cd "$root"

command -v pkg-config >/dev/null || die "pkg-config is missing (Debian: pkg-config, and libclang1 for the bindings)"
dir=$target/system-libkrun
pieces=$dir/libexec/boxlite
mkdir -p "$dir"/{lib,include,pkgconfig} "$pieces"

# cargo makes the crate's shared library beside the one it links in.
library=$(cargo build --release --locked -p boxlite-shim --message-format=json 2>/dev/null \
    | sed -n 's/.*"name":"krun".*"\([^"]*\/libkrun-[0-9a-f]*\.so\)".*/\1/p')
[ -f "$library" ] || die "cargo built no shared libkrun: run \`cargo build --release -p boxlite-shim\`"
readelf -d "$library" | grep -q 'soname: \[libkrun.so.1\]' || die "$library does not call itself libkrun.so.1"
install_file "$library" "$dir/lib/libkrun.so.1" 0755
ln -sfn libkrun.so.1 "$dir/lib/libkrun.so"
version=$(cargo metadata --locked --format-version 1 2>/dev/null \
    | sed 's/{"name":/\n&/g' | sed -n 's/^{"name":"libkrun","version":"\([^"]*\)".*/\1/p' | head -n 1)

# The engine declares what it calls itself (shim/src/engine/krun/sys.rs); the bindings' generator needs a header to be
# there, and whoever builds against a libkrun without these functions fails when linking.
cat >"$dir/include/libkrun.h" <<'END'
#pragma once
int krun_create_ctx(void);
int krun_start_enter(unsigned int ctx_id);
END
cat >"$dir/pkgconfig/libkrun.pc" <<END
Name: libkrun
Description: libkrun as its crate builds it
Version: ${version:-1}
Libs: -L$dir/lib -lkrun
Cflags: -I$dir/include
END

# The bindings' generator loads libclang, and looks for it under the name that only Debian's -dev package has.
libclang=$(ldconfig -p | sed -n 's/.* => \(.*\/libclang-[0-9.]*\.so\.[0-9]*\)$/\1/p' | sort -V | tail -n 1)
[ -n "$libclang" ] || die "libclang is missing (Debian: libclang1)"
mkdir -p "$dir/clang"
ln -sfn "$libclang" "$dir/clang/libclang.so"
export LIBCLANG_PATH=${LIBCLANG_PATH:-$dir/clang}

# Not optimised: what is shown here is that it builds, links and runs boxes.
PKG_CONFIG_PATH=$dir/pkgconfig CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked -p boxlite-shim --no-default-features \
    --features system-libkrun --target-dir "$dir/target"
shim=$dir/target/debug/boxlite-shim
readelf -d "$shim" | grep -q 'Shared library: \[libkrun.so.1\]' || die "$shim does not load libkrun.so.1"
install_file "$shim" "$pieces/boxlite-shim" 0755
for piece in boxlite-guest guest.erofs kernel.elf libkrunfw.so.5; do
    install_file "$runtime_dir/libexec/boxlite/$piece" "$pieces/$piece" 0644
done
# Where Debian's loader looks without being told: the machine's process has an empty environment.
LAB_PRELUDE="d=/usr/lib/$(uname -m)-linux-gnu; mkdir -p \$d; cp $dir/lib/libkrun.so.1 \$d/
export BOXLITE_RUNTIME_DIR=$pieces" \
LAB_FILES="$dir/lib $pieces" "$root/lab/tests.sh" engines=info_names boxes=a_box_runs_a_command
