#!/usr/bin/env bash
# Measures what a synced write costs in a box with each disk cache; results in bench-results/disk.json.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
cargo bench --locked --bench disk
