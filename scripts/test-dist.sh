#!/usr/bin/env bash
# Makes the archive of `make dist`, and tries it where nothing of this machine is: in a minimal Debian of this machine's
# release, with a compiler, CMake, pkg-config and QEMU. There an ordinary user without a network unpacks it, moves it twice,
# builds a program with pkg-config and one with CMake, and both run a box. Needs root, and the apt mirror once.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

packages=gcc,libc6-dev,make,cmake,pkg-config,qemu-system-x86,e2fsprogs
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
system=$target/test-cache/dist-system

# What runs as root, in mount, process and network namespaces of its own, which take all it leaves with them.
if [ "${1:-}" = inside ]; then
    home=$system/home/user
    mount --rbind /dev "$system/dev"
    mount --rbind /sys "$system/sys"
    mount -t proc proc "$system/proc"
    trap 'remove_tree "$home"' EXIT
    rm -rf -- "$home"
    mkdir -p "$home"
    cp -r "$2" "$images_dir/busybox" "$home"
    cat >"$home/try.sh" <<'END'
set -eux
cd
umask 077
tar -xzf boxlite-*.tar.gz
mv boxlite-*-linux first
mv first second
mkdir -p else/where
mv second else/where/third
tree=$PWD/else/where/third
if grep -rIl -e "$1" "$tree"; then echo "these name the directory they were made in"; exit 1; fi

mkdir app
cp "$tree/share/doc/boxlite/hello.c" app
export PKG_CONFIG_PATH="$tree/lib/pkgconfig"
cc -Wall -Wextra -Werror -o by-pkg-config app/hello.c $(pkg-config --cflags --libs boxlite) \
    -Wl,-rpath,"$(pkg-config --variable=libdir boxlite)"
unset PKG_CONFIG_PATH
cat >app/CMakeLists.txt <<'LISTS'
cmake_minimum_required(VERSION 3.20)
project(app C)
find_package(boxlite 0.1 REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE boxlite::boxlite)
LISTS
cmake -S app -B app/build -DCMAKE_PREFIX_PATH="$tree" >/dev/null
cmake --build app/build >/dev/null
for program in ./by-pkg-config app/build/hello; do
    loaded=$(ldd "$program" | awk '$1 == "libboxlite.so.0" { print $3 }')
    [ "$(realpath "$loaded")" = "$(realpath "$tree/lib/libboxlite.so.0")" ]
    "$program" "oci:$PWD/busybox" 2>&1 | tee said
    grep -x 'exit code: 7' said
done
END
    chown -R 1000:1000 "$home"
    chroot --userspec=1000:1000 "$system" env -i HOME=/home/user PATH=/usr/bin:/bin BOXLITE_BOOT_SECONDS=300 \
        BOXLITE_SPARES=0 sh /home/user/try.sh "$root"
    exit
fi

since=$SECONDS
lap() { say "$1: $((SECONDS - since)) s"; since=$SECONDS; }

archive=$("$root/scripts/make-dist.sh")
lap "the archive"
before=$(sha256sum "$archive")
"$root/scripts/make-dist.sh" >/dev/null
[ "$before" = "$(sha256sum "$archive")" ] || die "the same build gave another archive"
lap "the same archive once more"

stamp="$suite $packages"
if [ "$(as_root cat "$system/.stamp" 2>/dev/null)" != "$stamp" ]; then
    uri=$(debian_uri)
    [ -n "$uri" ] || die "apt has no Debian source with the component main here, so there is no mirror to take $suite from"
    as_root rm -rf --one-file-system -- "$system"
    mkdir -p "$target/test-cache"
    log=$target/dist/system.log
    if [ "$suite" = bookworm ] && [ -s "$images_dir/debian/index.json" ]; then
        # What debootstrap made for the Debian test image is that image's first layer.
        layer=$(skopeo inspect --format '{{index .Layers 0}}' "oci:$images_dir/debian:latest")
        as_root mkdir "$system"
        as_root tar -xzf "$images_dir/debian/blobs/${layer/://}" --numeric-owner -C "$system"
    else
        as_root debootstrap --variant=minbase "$suite" "$system" "$uri" >"$log" 2>&1 || { tail -n 15 "$log" >&2; die "debootstrap failed"; }
    fi
    lap "a minimal Debian $suite"
    # shellcheck disable=SC2016  # expanded in there
    as_root sh -euc '
        cp --remove-destination /etc/resolv.conf "$1/etc/resolv.conf"
        echo "deb $4 $5 main" >"$1/etc/apt/sources.list"
        { echo force-unsafe-io; printf "path-exclude /usr/share/%s/*\n" doc man locale; } >"$1/etc/dpkg/dpkg.cfg.d/boxlite"
        within() { chroot "$1" env -i DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$2"; }
        within "$1" "apt-get -q update"
        within "$1" "apt-get -q install -y --no-install-recommends $(echo "$2" | tr , " ")"
        within "$1" "apt-get -q clean"
        echo "$3" >"$1/.stamp"' sh "$system" "$packages" "$stamp" "$uri" "$suite" >>"$log" 2>&1 \
        || { tail -n 15 "$log" >&2; die "installing $packages there failed"; }
    lap "$packages there"
fi

as_root unshare --mount --pid --fork --kill-child --net -- env CARGO_TARGET_DIR="$target" "${BASH_SOURCE[0]}" inside "$archive" \
    >"$target/dist/try.log" 2>&1 || { tail -n 40 "$target/dist/try.log" >&2; die "the archive does not work there"; }
grep -e '^exit code' -e '^ms:' "$target/dist/try.log"
lap "unpacking, moving, building, two boxes"
# What belongs to root can't be removed by who called this.
[ "$(id -u)" -eq 0 ] || as_root rm -rf --one-file-system -- "$system"
