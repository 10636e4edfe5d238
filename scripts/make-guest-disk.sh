#!/usr/bin/env bash
# make-guest-disk.sh AGENT OUT: makes the disk a virtual machine boots from, an EROFS with the agent as /init and the
# directories it mounts on. The same agent gives the same bytes.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 2 ] || die "usage: make-guest-disk.sh AGENT OUT"
agent=$1 out=$2
[ -f "$agent" ] || die "no guest agent at $agent: run \`make build\`"
if readelf -lW "$agent" | grep -q INTERP; then
    die "$agent is linked dynamically, and the guest disk has no libraries: build it with target-feature=+crt-static"
fi
command -v mkfs.erofs >/dev/null || die "mkfs.erofs is missing: run \`make setup\`"

mkdir -p -- "$(dirname -- "$out")"
work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-guest-disk.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
mkdir -p "$work"/tree/{dev,proc,sys,run,mnt,tmp,etc}
# Line tables stay in the build's own copy; the disk needs only what runs.
strip --strip-all -o "$work/tree/init" "$agent"
chmod 0755 "$work/tree/init" "$work"/tree/*/
mkfs.erofs -T0 -U 00000000-0000-0000-0000-000000000000 --all-root -x-1 "$work/disk" "$work/tree" >"$work/log" 2>&1 \
    || die "mkfs.erofs failed: $(cat "$work/log")"
install_file "$work/disk" "$out" 0444
