#!/usr/bin/env bash
# Compiles the addon into build/boxlite.node, with the C compiler alone: Node-API's headers come from npm, libuv's from
# the running Node's own installation (or libuv1-dev), boxlite from this checkout, or else from pkg-config.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

die() { printf 'boxlite: %s\n' "$*" >&2; exit 1; }

node=$(command -v node) || die "node is not on PATH: install Node.js 20 or newer"
api=$("$node" -p "require('node-api-headers').include_dir" 2>/dev/null) \
    || die "node-api-headers is missing: run npm install in bindings/node"
uv=$("$node" -p "require('path').resolve(process.execPath, '../../include/node')")
[ -f "$uv/uv.h" ] || uv=/usr/include
[ -f "$uv/uv.h" ] || die "uv.h is missing: install libuv1-dev, or Node.js with its headers"

if [ -f ../../include/boxlite.h ] && [ -f ../../runtime/lib/libboxlite.so ]; then
    # shellcheck disable=SC2016  # $ORIGIN is for the dynamic linker
    flags=(-I../../include -L../../runtime/lib -lboxlite '-Wl,-rpath,$ORIGIN/../../../runtime/lib')
else
    read -ra flags <<<"$(pkg-config --cflags --libs boxlite)" \
        || die "boxlite is not installed where pkg-config looks: see PKG_CONFIG_PATH"
    flags+=("-Wl,-rpath,$(pkg-config --variable=libdir boxlite)")
fi

mkdir -p build
"${CC:-cc}" -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -Wstrict-prototypes \
    -I"$api" -I"$uv" -o build/boxlite.node.new addon/*.c "${flags[@]}" -lpthread
mv -f build/boxlite.node.new build/boxlite.node
