#!/usr/bin/env bash
# The checks that need no virtual machine: formatting, lints, shell syntax, and what must not be in the library.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

cargo fmt --version >/dev/null 2>&1 || die "rustfmt is missing: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || die "clippy is missing: rustup component add clippy"

for script in scripts/*.sh lab/*.sh bindings/*/*.sh .ci/run; do
    bash -n "$script"
done
cargo fmt --all --check
cargo clippy --release --locked --workspace --all-targets -- -D warnings

scripts/doc-c.sh
scripts/abi.sh check

# tokio's process and signal features install process-wide handlers, which a library in somebody else's process must not.
features=$(cargo tree --locked -p boxlite -e normal,features -i tokio --prefix none)
if grep -E 'tokio feature "(process|signal|full)"' <<<"$features"; then
    die "the library's dependencies turn on the tokio features above: see \`cargo tree -p boxlite -e normal,features -i tokio\`"
fi

# Threads share what std, tokio and crossbeam make for that; our own atomics are words that stand alone (architecture.md).
# A protocol of several would need a model check.
if grep -rnE --include='*.rs' --exclude=tests.rs 'compare_exchange|\bfence\(|AtomicPtr|UnsafeCell|static mut|unsafe impl.* (Send|Sync) for' \
    src shim/src guest/src proto/src archive/src; then
    die "hand-written synchronisation (above): use a lock or a channel, or check it with loom and say so here"
fi

# Nor may the library itself change what belongs to the whole process.
if grep -rnE --include='*.rs' 'env::(set_var|remove_var|set_current_dir)|libc::(umask|setlocale|chdir|setenv)\(' src; then
    die "the library must not change its process's environment, directory, umask or locale (above)"
fi
