#!/usr/bin/env bash
# Makes target/test-images/busybox, an OCI layout (tag latest) of one layer with the machine's static busybox: the
# image of the demo and of most tests. Needs no network and no root; the same busybox gives the same digests.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

out=$images_dir/busybox
busybox=$(command -v busybox) || die "busybox is missing: run \`make setup\`"
case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) die "no OCI name known for the CPU $(uname -m)" ;;
esac
# The stamp names what the image was made from: this script and the busybox.
stamp=$(cat -- "$busybox" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

mkdir -p "$images_dir"
work=$(mktemp -d "$images_dir/busybox.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
tree=$work/tree
blobs=$work/layout/blobs/sha256
mkdir -p "$tree"/{bin,dev,etc,home,proc,root,sys,tmp,usr,var} "$blobs"
ln -s ../bin "$tree/usr/bin"
ln -s bin "$tree/sbin"
install -m 0755 "$busybox" "$tree/bin/busybox"
"$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
done
cat >"$tree/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
app:x:1000:1000:app:/home:/bin/sh
END
cat >"$tree/etc/group" <<'END'
root:x:0:
nobody:x:65534:
app:x:1000:
extra:x:1001:app
END
chmod 0755 "$tree" "$tree"/*/
chmod 0644 "$tree"/etc/*
chmod 0700 "$tree/root"
chmod 1777 "$tree/tmp"

# add_blob FILE: moves it into the layout under its digest, and prints `"digest": …, "size": …` for a descriptor.
add_blob() {
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
    printf '"digest": "sha256:%s", "size": %d' "$digest" "$size"
}

tar --create --file "$work/layer.tar" --directory "$tree" --format=pax --sort=name --mtime=@0 \
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --numeric-owner --owner=0 --group=0 .
diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip -n "$work/layer.tar"
layer=$(add_blob "$work/layer.tar.gz")

cat >"$work/config.json" <<END
{"architecture": "$architecture", "os": "linux", "created": "1970-01-01T00:00:00Z",
 "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff_id"]}}
END
config=$(add_blob "$work/config.json")

cat >"$work/manifest.json" <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "config": {"mediaType": "application/vnd.oci.image.config.v1+json", $config},
 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", $layer}]}
END
manifest=$(add_blob "$work/manifest.json")

cat >"$work/layout/index.json" <<END
{"schemaVersion": 2, "manifests": [
 {"mediaType": "application/vnd.oci.image.manifest.v1+json", $manifest,
  "platform": {"architecture": "$architecture", "os": "linux"},
  "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}
END
echo '{"imageLayoutVersion": "1.0.0"}' >"$work/layout/oci-layout"
echo "$stamp" >"$work/layout/.stamp"
rm -rf -- "$out"
mv "$work/layout" "$out"
say "made $out"
