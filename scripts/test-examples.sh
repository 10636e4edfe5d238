#!/usr/bin/env bash
# Compiles the programs of examples/ and the README, as they stand, against what was built, and runs each on real boxes.
# Those in JavaScript are tested by scripts/test-node.sh, which has the package they need.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-examples.XXXXXX")
trap 'remove_tree "$work"' EXIT
cd "$work"
busybox=oci:$images_dir/busybox python=oci:$images_dir/debian
templates=$target/test-cache/templates
mkdir -p "$templates"
export BOXLITE_BOOT_SECONDS=300 BOXLITE_SPARES=0
failed=0

# What an installed tree has for pkg-config, for this checkout.
sed -e "s|@boxlite_pc_to_prefix@|unused|; s|@PROJECT_VERSION@|0|" \
    -e "s|^libdir=.*|libdir=$runtime_dir/lib|; s|^includedir=.*|includedir=$root/include|" \
    "$root/packaging/boxlite.pc.in" >boxlite.pc
export PKG_CONFIG_PATH=$work CGO_LDFLAGS=-Wl,-rpath,$runtime_dir/lib
read -ra flags < <(pkg-config --cflags --libs boxlite)
flags+=("-Wl,-rpath,$runtime_dir/lib")
strict=(-O1 -Wall -Wextra -Werror)

# program LANGUAGE FILE [PAGE [NUMBER]]: the first block, or that of this number, of that language in the README or a page.
program() { awk -v fence="\`\`\`$1" -v number="${4:-1}" '$0 == fence { inside = ++count == number; next } /^```$/ { inside = 0 } inside' "$root/${3:-README.md}" >"$2"; }

compile() {
    gcc "${strict[@]}" -o shell "$root/examples/shell.c" "${flags[@]}"
    g++ -std=c++20 "${strict[@]}" -I"$root/bindings/cpp" -o asio "$root/examples/asio.cpp" "${flags[@]}" -pthread
    program c readme.c
    gcc "${strict[@]}" -std=c99 -o readme-c readme.c "${flags[@]}"
    program c first.c docs/c-api.md 1
    gcc "${strict[@]}" -std=c99 -o first first.c "${flags[@]}"
    program c follow.c docs/c-api.md 2
    cat >>follow.c <<'END'

/* follow IMAGE SCRIPT: exits as the script does. */
int main(int argc, char **argv)
{
    const char *args[] = {"-c", argc == 3 ? argv[2] : ""};
    boxlite_runtime *runtime = NULL;
    boxlite_box_options *options = NULL;
    boxlite_box *box = NULL;
    boxlite_command *command = NULL;
    int code = -1;
    if (argc == 3 && boxlite_runtime_new(NULL, &runtime, NULL) == BOXLITE_OK
        && boxlite_box_options_new(&options, NULL) == BOXLITE_OK
        && boxlite_box_options_set_image(options, argv[1], NULL) == BOXLITE_OK
        && boxlite_create(runtime, options, NULL, NULL, &box, NULL) == BOXLITE_OK
        && boxlite_command_new("sh", &command, NULL) == BOXLITE_OK
        && boxlite_command_add_args(command, args, 2, NULL) == BOXLITE_OK) {
        code = follow(box, command);
        boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, NULL);
    }
    boxlite_runtime_shutdown(runtime, -1, NULL, NULL);
    boxlite_command_free(command), boxlite_box_free(box), boxlite_box_options_free(options), boxlite_runtime_free(runtime);
    return code >= 0 ? code : 99;
}
END
    gcc "${strict[@]}" -std=c99 -o follow follow.c "${flags[@]}"
    program cpp readme.cpp
    g++ -std=c++17 "${strict[@]}" -I"$root/bindings/cpp" -o readme-cpp readme.cpp "${flags[@]}"
    cp -r "$root/examples/parallel-tests" .
    mkdir readme
    program go readme/main.go
    for module in parallel-tests readme; do
        printf 'module %s\n\ngo 1.19\n\nrequire boxlite v0.0.0\n\nreplace boxlite => %s\n' $module "$root/bindings/go" >$module/go.mod
        (cd $module && { [ -z "$(gofmt -l .)" ] || { echo "$module: not formatted"; exit 1; }; } && go vet . && go build -o "../go-$module" .)
    done
    (cd "$root" && cargo build --quiet --release --locked --workspace --example ci_step)
}
compile

# check NAME COMMAND...: on a home of its own, which must be without boxes afterwards.
check() {
    local name=$1 status
    shift
    export BOXLITE_HOME=$work/home
    mkdir "$BOXLITE_HOME"
    ln -s "$templates" "$BOXLITE_HOME/templates"
    set +e
    (set -e; "$@") >log 2>&1
    status=$?
    set -e
    if [ "$status" -eq 0 ] && [ -n "$(ls "$BOXLITE_HOME/boxes")" ]; then echo "boxes are left" >>log; status=1; fi
    if [ "$status" -ne 0 ]; then
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$name"
        sed 's/^/  /' log
    fi
    remove_tree "$BOXLITE_HOME"
}

says() {
    local want=$1 got
    shift
    got=$("$@")
    [ "$got" = "$want" ] || { printf 'said: %s\n' "$got"; return 1; }
}
check "the README's C" says 42 ./readme-c "$python"
follows() {
    local status=0
    ./follow "$busybox" 'echo one; sleep 0.3; echo two; exit 7' >said || status=$?
    [ $status -eq 7 ] && [ "$(cat said)" = $'one\ntwo' ]
    # What can't be passed on ends, with the command, instead of hanging.
    status=0
    timeout 120 ./follow "$busybox" yes >/dev/full || status=$?
    [ $status -eq 99 ]
}
check "the C page's follow(): all of the output, and an end where it can't be written" follows
check "the README's C++" says 42 ./readme-cpp "$python"
check "the README's Go" says 42 ./go-readme "$python"

events() {
    ./asio "$busybox" >events
    cat events
    [ "$(grep '^steps' events)" = $'steps: step 1\nsteps: step 2\nsteps: step 3\nsteps exit code 0' ]
    [ "$(grep '^sorted' events)" = $'sorted: apple\nsorted: fig\nsorted: pear\nsorted exit code 0' ]
    [ "$(grep '^failing' events)" = $'failing: before\nfailing exit code 3' ]
}
check "asio.cpp: commands in one loop" events

tests() {
    mkdir tests
    for i in $(seq 1 10); do echo "test -e shared; test ! -e mine; touch mine; echo $i" >tests/t$i.sh; done
    touch tests/shared
    echo 'echo here is why; exit 4' >tests/t5.sh
    local status=0
    ./go-parallel-tests "$busybox" tests >outcome || status=$?
    cat outcome
    [ $status -eq 1 ] && grep -x '9 passed, 1 failed, 0 not run' outcome && grep 'FAIL  t5.sh.*exit status 4' outcome
    grep 'here is why' outcome
    [ ! -e tests/mine ]
}
check "parallel-tests: on eight boxes, one fails" tests

ci() {
    local step=$target/release/examples/ci_step status=0
    mkdir checkout
    cd checkout
    echo 'int main;' >source.c
    "$step" "$busybox" 'test "$CI" = true; mkdir out; tr a-z A-Z <source.c >out/made; echo built; echo noted >&2' out/made ../made >../said 2>../noted
    [ "$(cat ../made ../said ../noted)" = $'INT MAIN;\nbuilt\nnoted' ]
    [ ! -e out ]
    "$step" "$busybox" 'false; echo not reached' out/made ../none || status=$?
    [ $status -eq 1 ]
    [ ! -e ../none ]
    status=0
    "$step" "oci:$work/nowhere" true 2>../noted || status=$?
    [ $status -eq 125 ] && grep nowhere ../noted
}
check "ci_step.rs: an artifact comes back, a failure is told" ci

# On a terminal that `script` makes; its window changes while a program in the box waits for that.
terminal() {
    mkfifo typed
    exec 3<>typed
    timeout --foreground 300 script -qefc "tty >terminal; stty rows 30 cols 90; exec ./shell $busybox" /dev/null <typed >screen 2>&1 &
    echo 'stty size; echo ready; until [ "$(stty size)" = "44 99" ]; do sleep 0.1; done; echo resized; exit 3' >&3
    until tr -d '\r' <screen | grep -qx ready || ! kill -0 $!; do sleep 0.1; done
    stty -F "$(cat terminal)" rows 44 cols 99
    local status=0
    wait $! || status=$?
    cat screen
    [ $status -eq 3 ]
    tr -d '\r' <screen >plain
    grep -x '30 90' plain && grep -x resized plain
}
check "shell.c: a terminal with its size, and the shell's exit code" terminal

[ "$failed" -eq 0 ] || die "$failed failed"
say "all examples ran"
