#!/usr/bin/env bash
# Measures boxes beside podman's containers: bench-results/start.json, a table (start.md) and a plot (start.png) of it.
# Installs podman and matplotlib where they are missing. ROUNDS and IDLE_SECONDS are benches/start.rs's.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

missing=()
command -v podman >/dev/null || missing+=(podman)
command -v runc >/dev/null || missing+=(runc)
python3 -c 'import matplotlib' 2>/dev/null || missing+=(python3-matplotlib)
if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || die "install ${missing[*]}, then start again"
    DEBIAN_FRONTEND=noninteractive as_root apt-get -q install -y --no-install-recommends "${missing[@]}" >&2
fi
cargo bench --locked --workspace --bench start
/usr/bin/env python3 scripts/plot-start.py bench-results/start.json
