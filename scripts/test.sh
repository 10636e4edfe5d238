#!/usr/bin/env bash
# All checks and tests, from set-up to the last: `make test`. A phase that fails does not hide the later ones' results,
# except that nothing can run without set-up and build.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
exec </dev/null

# As .cargo/config.toml has it for cargo's tests: those of spares ask for them.
export BOXLITE_SPARES=0

failed=()
summary=()

# phase NAME COMMAND...: runs it with a heading, and notes its seconds and outcome.
phase() {
    local name=$1 start=$SECONDS outcome=ok
    shift
    printf '\n==> %s\n' "$name"
    "$@" || { outcome=FAILED; failed+=("$name"); }
    summary+=("$(printf '%5d s  %-6s  %s' $((SECONDS - start)) "$outcome" "$name")")
    [ "$outcome" = ok ]
}

# beside NAME COMMAND...: starts it, to run along with the phases that follow. Its own phase is `phase NAME ended NAME`.
declare -A running=()
mkdir -p "$target"
beside() {
    local name=$1
    shift
    "$@" >"$target/beside-$name.log" 2>&1 &
    running[$name]=$!
}

# ended NAME: waits for what was started beside, shows what it said, and is its outcome.
ended() {
    local outcome=0
    wait "${running[$1]}" || outcome=$?
    cat "$target/beside-$1.log"
    rm -f "$target/beside-$1.log"
    return "$outcome"
}

finish() {
    wait
    rm -f "$target"/beside-*.log
    printf '\n==> phases\n'
    printf '%s\n' "${summary[@]}"
    [ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
    exit 0
}

c_tests() {
    cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBOXLITE_BUILD=OFF >build.log 2>&1 || { cat build.log; return 1; }
    rm -f build.log
    cmake --build build -j 2 && ctest --test-dir build -j 2 -LE memcheck --output-on-failure --no-tests=error
}

# Boxes of this checkout that a test left running: their shims and QEMUs carry its paths. What ends with its owner may take
# its time.
leftovers() {
    local left tries
    for ((tries = 0; tries < 60; tries++)); do
        left=$(pgrep -af -- "$runtime_dir/libexec/boxlite" | grep -v pgrep || true)
        [ -n "$left" ] || return 0
        sleep 1
    done
    printf 'still running:\n%s\n' "$left"
    return 1
}

phase "set-up" scripts/setup.sh || finish
beside Debian scripts/make-debian-image.sh
phase "build" env BOXLITE_BUILD_TESTS=1 scripts/build.sh || finish
phase "test image: Debian" ended Debian || finish
phase "test image: busybox" scripts/make-busybox-image.sh || finish
phase "test image: hostile init" scripts/make-hostile-init.sh || finish
beside scripts scripts/test-scripts.sh
phase "lint" scripts/lint.sh || true
phase "scripts" ended scripts || true
phase "cargo test" cargo test --release --locked --workspace --no-fail-fast || true
phase "ctest" c_tests || true
phase "node" scripts/test-node.sh || true
phase "go" scripts/test-go.sh || true
phase "conformance" scripts/test-conformance.sh || true
phase "examples" scripts/test-examples.sh || true
phase "dist" scripts/test-dist.sh || true
phase "lab: boxes on libkrun" lab/smoke.sh || true
phase "lab: libkrun of the system" lab/system-libkrun.sh || true
phase "chaos, 60 kills" env KILLS=60 SUMMARY="$target/chaos.json" scripts/chaos.sh || true
phase "memcheck" scripts/memcheck.sh || true
phase "leftovers" leftovers || true
finish
