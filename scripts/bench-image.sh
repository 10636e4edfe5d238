#!/usr/bin/env bash
# Image to disk against `tar -xzf` of the same Debian image, pairs in one run: medians to bench-results/image.json.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

layout=$images_dir/debian
[ -e "$layout/index.json" ] || "$root/scripts/make-debian-image.sh"
cd "$root"
exec cargo bench --locked --bench image -- "$layout" "$root/bench-results/image.json" "$@"
