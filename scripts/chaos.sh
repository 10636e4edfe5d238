#!/usr/bin/env bash
# Runs the chaos program on what has been built. KILLS, SEED, ERA and SUMMARY (a file) are its settings.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

# One era alone is a repetition: its figures are no run's.
[ -z "${ERA:-}" ] || unset SUMMARY
# With the workspace's features, as `cargo test` has built it.
exec cargo test --release --locked --quiet --workspace --test chaos </dev/null
