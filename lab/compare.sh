#!/usr/bin/env bash
# Side by side with boxlite 0.9.7 on libkrun, in one run of the lab: times of both, and their ratios, to
# bench-results/lab-libkrun.json. The peer is its Python wheel, from the machine's package index.
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"

peer=$target/lab/peer
if [ ! -e "$peer/boxlite" ]; then
    mkdir -p "$target/lab"
    work=$(mktemp -d "$target/lab/peer.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.11 -d "$work" boxlite==0.9.7 \
        || die "the package index has no wheel of boxlite 0.9.7 for Python 3.11"
    python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
    mv -T "$work/unpacked" "$peer"
fi
for image in busybox debian; do
    [ -e "$images_dir/$image" ] || "$root/scripts/make-$image-image.sh"
done
# The lab's own small Linux has no Python: the Debian image's comes on top of it.
layer=$(mktemp -d "$target/lab/layer.XXXXXX")
trap 'rm -rf -- "${work:-}" "$layer"' EXIT
umoci unpack --rootless --image "$images_dir/debian:latest" "$layer/bundle" >"$layer/log" 2>&1 \
    || { cat "$layer/log" >&2; die "umoci could not unpack the Debian image"; }
job=$layer/job
cat >"$job" <<END
export BOXLITE_ENGINE=krun BOXLITE_BOOT_SECONDS=120 RUST_LOG=error
# The loopback interface, for the registry from which the peer pulls the base of its guests.
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x49) + bytes(22))'
exec python3 lab/compare.py $images_dir/busybox $runtime_dir/lib/libboxlite.so $peer $images_dir/debian 2 10
END
LAB_SECONDS=${LAB_SECONDS:-900} LAB_IMAGES="busybox debian" LAB_LAYER=$layer/bundle/rootfs \
    "$root/lab/run.sh" "$job" "$root/lab/compare.py" "$peer" | tee "$layer/log"
sed -n 's/^result: //p' "$layer/log" | python3 -m json.tool --sort-keys >"$layer/result"
mkdir -p "$root/bench-results"
mv -f -- "$layer/result" "$root/bench-results/lab-libkrun.json"
