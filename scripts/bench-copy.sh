#!/usr/bin/env bash
# Measures copies into boxes and out of them beside `podman cp`, into bench-results/copy.json. Installs podman where it is
# missing. COPY_MIB and ROUNDS are benches/copy.rs's.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

missing=()
command -v podman >/dev/null || missing+=(podman)
command -v runc >/dev/null || missing+=(runc)
install_packages "${missing[@]}"
cargo bench --locked --workspace --bench copy
