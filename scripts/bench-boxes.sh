#!/usr/bin/env bash
# Measures a cold start, a command on a running box and the throughput of stdout; results in bench-results/boxes.json.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
cargo bench --locked --bench boxes
