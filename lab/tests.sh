#!/usr/bin/env bash
# tests.sh NAME[=FILTER]...: builds these tests of tests/ and runs them in the lab, in boxes that run on libkrun: nothing
# asks for that engine, the probe finds that KVM can be used. A FILTER chooses among a test's cases as on cargo's command
# line. c.NAME is the C test of that name, as `make test` has built it. The tests are the ordinary ones: they know of no
# engine.
#   LAB_PRELUDE   shell commands to run before them
#   LAB_FILES     further files and directories of the tree to carry
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"
cd "$root"
[ $# -ge 1 ] || die "usage: tests.sh NAME[=FILTER]..."

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-lab.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
# The whole workspace, as `cargo test` builds it: other features would build the library once more.
build=(cargo test --release --locked --workspace --no-run)
tests=()
for each in "$@"; do
    case $each in
        c.*) ;;
        *) tests+=(--test "${each%%=*}") ;;
    esac
done
# With none named it would be all of them.
if [ "${#tests[@]}" -gt 0 ]; then
    "${build[@]}" "${tests[@]}" --quiet --message-format=json >"$work/built" || die "cargo could not build the tests"
fi

# All of them run, whatever fails.
cat >"$work/job" <<EOF
export BOXLITE_BOOT_SECONDS=120 BOXLITE_TEST_IMAGE=oci:$images_dir/busybox
unset BOXLITE_ENGINE
status=0
# A busy host steals the lab's time in the middle of a measurement: the best of some is the machine's.
for try in 1 2 3 4 5; do
    verdict=\$($runtime_dir/libexec/boxlite/boxlite-shim probe)
    echo "\$verdict"
    [[ \$verdict == *'"usable"'* ]] && break
    sleep 2
done
[[ \$verdict == *'"usable"'* ]] || exit 1
EOF
printf '%s\n' "${LAB_PRELUDE:-}" >>"$work/job"
programs=()
for each in "$@"; do
    name=${each%%=*}
    if [[ $name == c.* ]]; then
        path=$root/build/c-tests/c_${name#c.}
        [ -x "$path" ] || die "no $path: run \`make test\` first"
        programs+=("$path")
        printf 'echo "== %s"; %q && echo "%s: ok" || { echo "%s: FAILED"; status=1; }\n' "$each" "$path" "$each" "$each" \
            >>"$work/job"
        continue
    fi
    path=$(sed -n "s/.*\"kind\":\[\"test\"\].*\"name\":\"$name\".*\"executable\":\"\([^\"]*\)\".*/\1/p" "$work/built")
    [ -n "$path" ] || die "cargo built no test $name"
    programs+=("$path")
    if [ "$name" = chaos ]; then
        # A program, not a list of tests.
        printf 'echo "== chaos"; KILLS=%q %q || status=1\n' "${KILLS:-20}" "$path" >>"$work/job"
        continue
    fi
    filter=${each#"$name"}
    printf 'echo "== %s"; %q --test-threads=1 --color=never %s || status=1\n' "$each" "$path" "${filter#=}" >>"$work/job"
done
echo 'exit "$status"' >>"$work/job"
# shellcheck disable=SC2086  # a list of paths, none with blanks: make could not take the tree otherwise
"$root/lab/run.sh" "$work/job" "${programs[@]}" ${LAB_FILES:-}
