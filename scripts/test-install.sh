#!/usr/bin/env bash
# Installs what was built, moves the tree twice, and builds and runs programs outside the checkout on it: with pkg-config
# and with CMake, the library in lib and in a multiarch directory.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-install-XXXXXX")
trap 'remove_tree "$work"' EXIT
export BOXLITE_SPARES=0 BOXLITE_BOOT_SECONDS=300
mkdir "$work/app"
cp "$root/examples/hello.c" "$work/app/hello.c"
cat >"$work/app/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(app C)
find_package(boxlite REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE boxlite::boxlite)
END

for libdir in lib lib/x86_64-linux-gnu; do
    cmake -S "$root" -B "$work/build" -DBOXLITE_BUILD=OFF -DCMAKE_INSTALL_LIBDIR="$libdir" >/dev/null
    cmake --install "$work/build" --prefix "$work/first" >/dev/null
    mv "$work/first" "$work/second"
    mkdir "$work/deeper"
    mv "$work/second" "$work/deeper/third"
    tree=$work/deeper/third
    ! grep -rlF -e "$root" -e "$work" "$tree/$libdir/cmake" "$tree/$libdir/pkgconfig" "$tree/include" \
        || die "these name the directory they were built in"

    read -ra flags < <(PKG_CONFIG_PATH="$tree/$libdir/pkgconfig" pkg-config --cflags --libs boxlite)
    cc -o "$work/app/by-pkg-config" "$work/app/hello.c" "${flags[@]}"
    cmake -S "$work/app" -B "$work/app/build" -DCMAKE_PREFIX_PATH="$tree" >/dev/null
    cmake --build "$work/app/build" >/dev/null
    LD_LIBRARY_PATH=$tree/$libdir BOXLITE_HOME="$work/home" "$work/app/by-pkg-config" "oci:$images_dir/busybox"
    BOXLITE_HOME="$work/home" "$work/app/build/hello" "oci:$images_dir/busybox"
    # It was the tree's own shim, not the checkout's. One may still run.
    cp --remove-destination /bin/false "$tree/libexec/boxlite/boxlite-shim"
    ! BOXLITE_HOME="$work/home" "$work/app/build/hello" "oci:$images_dir/busybox" >"$work/log" 2>&1 \
        || die "boxes run without the shim of the tree"
    remove_tree "$work/build" "$work/deeper" "$work/app/build" "$work/home"
done
