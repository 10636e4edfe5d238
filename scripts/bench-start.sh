#!/usr/bin/env bash
# Measures boxes beside podman's containers: bench-results/start.json, a table (start.md) and a plot (start.png) of it.
# Installs podman and matplotlib where they are missing. ROUNDS and IDLE_SECONDS are benches/start.rs's.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

missing=()
command -v podman >/dev/null || missing+=(podman)
command -v runc >/dev/null || missing+=(runc)
python=python3
if ! python3 -c 'import matplotlib' 2>/dev/null; then
    # The system's Python gets the package; another one may come first in PATH.
    python=/usr/bin/python3
    "$python" -c 'import matplotlib' 2>/dev/null || missing+=(python3-matplotlib)
fi
install_packages "${missing[@]}"
# What a program in C waits for, against the library as it is shipped.
library=$runtime_dir/lib
[ -e "$library/libboxlite.so" ] || die "no $library/libboxlite.so: run \`make build\`"
caller=$target/bench-exec
cc -O2 -Iinclude benches/exec.c -o "$caller" -L"$library" -lboxlite -Wl,-rpath,"$library"
export BENCH_C_CALLER=$caller
cargo bench --locked --workspace --bench start
"$python" scripts/plot-start.py bench-results/start.json
