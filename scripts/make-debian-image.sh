#!/usr/bin/env bash
# Makes target/test-images/debian, an OCI layout (tag latest) with a real Debian 12: a base layer, and on it a layer
# with python3 that also deletes a file of the base. Once only, in a minute or two; needs root and the apt mirror.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

out=$images_dir/debian
suite=bookworm
# The stamp names what the image was made from: this script.
stamp=$(sha256sum <"${BASH_SOURCE[0]}" | cut -d' ' -f1)
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

if [ "$(id -u)" -ne 0 ]; then
    # debootstrap changes root and makes device nodes. Only this step needs it, and the result is the caller's.
    mkdir -p "$images_dir"
    as_root env CARGO_TARGET_DIR="$target" "${BASH_SOURCE[0]}"
    as_root chown -R "$(id -u):$(id -g)" "$out"
    exit 0
fi

for tool in debootstrap umoci; do
    command -v "$tool" >/dev/null || die "$tool is missing: run \`make setup\`"
done
uri=$(debian_uri)
[ -n "$uri" ] || die "apt has no Debian source with the component main here, so there is no mirror to take $suite from"

mkdir -p "$images_dir"
work=$(mktemp -d "$images_dir/debian.XXXXXX")
trap 'rm -rf --one-file-system -- "$work"' EXIT
log=$work/log
layout=$work/layout
rootfs=$work/bundle/rootfs

# run WHAT COMMAND...: runs quietly, and shows the end of its output when it fails.
run() {
    local what=$1
    shift
    "$@" >>"$log" 2>&1 || { tail -n 15 "$log" >&2; die "$what failed"; }
}

# What an image does not need: caches, documentation, translations, logs.
clean() {
    rm -rf "$rootfs"/usr/share/{doc,man,info,locale,lintian,doc-base}/* "$rootfs"/var/cache/apt/* \
        "$rootfs"/var/cache/debconf/*-old "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/*.log \
        "$rootfs"/var/log/apt/* "$rootfs"/tmp/*
}

say "making a Debian $suite image with python3 (once, a minute or two)"
run "umoci init" umoci init --layout "$layout"
run "umoci new" umoci new --image "$layout:latest"
run "umoci unpack" umoci unpack --image "$layout:latest" "$work/bundle"
run "debootstrap" debootstrap --variant=minbase "$suite" "$rootfs" "$uri"
clean
# The mirror and the resolver are this machine's own: they are used in the making and stay out of the image.
: >"$rootfs/etc/resolv.conf"
: >"$rootfs/etc/apt/sources.list"
echo box >"$rootfs/etc/hostname"
run "umoci repack of the base layer" umoci repack --refresh-bundle --image "$layout:latest" "$work/bundle"

cp --remove-destination /etc/resolv.conf "$rootfs/etc/resolv.conf"
echo "deb $uri $suite main" >"$rootfs/etc/apt/sources.list"
printf 'path-exclude %s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' \
    >"$rootfs/etc/dpkg/dpkg.cfg.d/boxlite-image"
inside=(chroot "$rootfs" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin)
run "apt-get update in the image" "${inside[@]}" apt-get -q update
run "apt-get install python3 in the image" "${inside[@]}" apt-get -q install -y --no-install-recommends python3
run "clearing the package cache" "${inside[@]}" apt-get -q clean
clean
: >"$rootfs/etc/resolv.conf"
: >"$rootfs/etc/apt/sources.list"
rm "$rootfs/etc/dpkg/dpkg.cfg.d/boxlite-image" "$rootfs/etc/issue.net"
run "umoci repack of the python3 layer" umoci repack --image "$layout:latest" "$work/bundle"
run "umoci config" umoci config --image "$layout:latest" --config.cmd python3 --config.workingdir /root \
    --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.env LANG=C.UTF-8
run "umoci gc" umoci gc --layout "$layout"

echo "$stamp" >"$layout/.stamp"
chmod -R u+rwX,go+rX "$layout"
rm -rf -- "$out"
mv "$layout" "$out"
say "made $out ($(du -sh "$out" | cut -f1))"
