#!/usr/bin/env bash
# Compiles the Node binding and tests it on real boxes: its types, README and example too. BOXLITE_TEST_IDLE=1 holds a
# machine that does nothing else to the times an idle one needs; LEAK_ROUNDS and END_ROUNDS ask for longer runs.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root/bindings/node"

# What npm installed last is at least as new as what it is to install.
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-progress --loglevel=error
npm run --silent build
npm run --silent types
BOXLITE_TEST_IMAGE="oci:$images_dir/busybox" BOXLITE_TEST_PYTHON_IMAGE="oci:$images_dir/debian" \
    node --test "$@" test/*.test.mjs
