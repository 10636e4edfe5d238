#!/usr/bin/env bash
# Vets the Go binding and tests it on real boxes under the race detector: examples and README too. Arguments go to
# `go test`; GO names another go than the one on PATH.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root/bindings/go"
go=${GO:-go}

[ -f "$runtime_dir/lib/libboxlite.so" ] || die "no $runtime_dir/lib/libboxlite.so: run \`make build\`"
# What an installed tree has for pkg-config, for this checkout.
mkdir -p "$target/go"
sed -e "s|@boxlite_pc_to_prefix@|unused|; s|@PROJECT_VERSION@|0|" \
    -e "s|^libdir=.*|libdir=$runtime_dir/lib|; s|^includedir=.*|includedir=$root/include|" \
    "$root/packaging/boxlite.pc.in" >"$target/go/boxlite.pc"
export PKG_CONFIG_PATH=$target/go CGO_LDFLAGS="-Wl,-rpath,$runtime_dir/lib"
export BOXLITE_TEST_IMAGE="oci:$images_dir/busybox" BOXLITE_TEST_TEMPLATES="$target/test-cache/templates"
mkdir -p "$BOXLITE_TEST_TEMPLATES"

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || die "not formatted (gofmt -w): $unformatted"
"$go" vet ./...
"$go" test -race -count=1 -timeout 1800s "$@" ./...
