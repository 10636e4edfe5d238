#!/usr/bin/env bash
# The conformance table: the same rows in C, C++, Go, Node.js and Rust, on real boxes; bindings/README.md tells of it.
# ROUNDS is warm-up and measured rounds of the row about leaks; arguments go to compare.py (such as --rows TEXT);
# LANGUAGES names some of the five.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

read -ra languages <<<"${LANGUAGES:-c cpp go node rust}"
programs=$target/conformance
mkdir -p "$programs" "$target/test-cache/templates"
[ -f "$runtime_dir/lib/libboxlite.so" ] || die "no $runtime_dir/lib/libboxlite.so: run \`make build\`"

with_cmake() {
    cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBOXLITE_BUILD=OFF >"$programs/build.log" 2>&1 &&
        cmake --build build --target "conformance_$1" >>"$programs/build.log" 2>&1 ||
        { cat "$programs/build.log"; return 1; }
    cp -f "build/bindings/conformance/conformance_$1" "$programs/$1"
}

drivers=()
for language in "${languages[@]}"; do
    driver=("$programs/$language")
    case $language in
        c | cpp) with_cmake "$language" ;;
        go)
            # What an installed tree has for pkg-config, for this checkout.
            sed -e "s|@boxlite_pc_to_prefix@|unused|; s|@PROJECT_VERSION@|0|" \
                -e "s|^libdir=.*|libdir=$runtime_dir/lib|; s|^includedir=.*|includedir=$root/include|" \
                packaging/boxlite.pc.in >"$programs/boxlite.pc"
            unformatted=$(gofmt -l bindings/conformance/go)
            [ -z "$unformatted" ] || die "not formatted (gofmt -w): $unformatted"
            (cd bindings/conformance/go && PKG_CONFIG_PATH=$programs CGO_LDFLAGS="-Wl,-rpath,$runtime_dir/lib" \
                "${GO:-go}" build -o "$programs/go" .) ;;
        node)
            (cd bindings/node &&
                { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-progress --loglevel=error; } &&
                npm run --silent build)
            driver=(node --expose-gc bindings/conformance/node.mjs) ;;
        rust)
            # With the features of everything else, so that nothing is compiled twice.
            cargo build --quiet --release --locked --workspace --example conformance
            driver=("$target/release/examples/conformance") ;;
        *) die "there is no driver in $language" ;;
    esac
    drivers+=("$language=${driver[0]}" "${driver[@]:1}" ';')
done

python3 bindings/conformance/compare.py --image "oci:$images_dir/busybox" --templates "$target/test-cache/templates" \
    ${ROUNDS:+--rounds "$ROUNDS"} "$@" "${drivers[@]}"
