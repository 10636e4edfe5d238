#!/usr/bin/env bash
# Tests of the scripts in this directory that the build stands on, each on small inputs of its own.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-test-scripts.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cd "$work"
passed=0
failed=0

# check NAME COMMAND...: the command must succeed; its output is shown when it does not.
check() {
    local name=$1 status
    shift
    # Not as a condition: there, bash would ignore all but the last failure inside.
    set +e
    (set -e; "$@") >log 2>&1
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$name"
        sed 's/^/  /' log
    fi
}

# refuses TEXT COMMAND...: the command must fail and say TEXT.
refuses() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then echo "succeeded: $*"; return 1; fi
    grep -qF -- "$text" <<<"$output" || { printf 'said instead of "%s":\n%s\n' "$text" "$output"; return 1; }
}

link=$root/scripts/link-library.sh
cat >toy.c <<'END'
int boxlite_one(void) { return 1; }
int boxlite_two(void) { return 2; }
int sqlite3_open(void) { return 3; }
END
cc -fPIC -ffunction-sections -c toy.c
ar rcs toy.a toy.o

exports_are_versioned() {
    printf '# a comment\nboxlite_one BOXLITE_0.1\nboxlite_two BOXLITE_0.2\n' >both
    "$link" toy.a both out
    diff <(nm -D --defined-only --with-symbol-versions out/libboxlite.so | awk '$2 == "T" { print $3 }') \
        <(printf 'boxlite_one@@BOXLITE_0.1\nboxlite_two@@BOXLITE_0.2\n')
    readelf -d out/libboxlite.so | grep 'soname: \[libboxlite.so.0\]'
    readelf -d out/libboxlite.so | grep NODELETE
}
a_failed_link_keeps_the_library() {
    local before
    before=$(sha256sum out/*; ls -A out)
    printf 'boxlite_one BOXLITE_0.1\n' >one
    refuses boxlite_two "$link" toy.a one out
    [ "$before" = "$(sha256sum out/*; ls -A out)" ]
}
check "exports carry their versions" exports_are_versioned
check "a function that is not listed is refused, and the old library stays" a_failed_link_keeps_the_library
printf 'boxlite_one BOXLITE_0.1\nboxlite_two BOXLITE_0.1\nboxlite_gone BOXLITE_0.1\n' >gone
check "a listed function that is missing is refused" refuses boxlite_gone "$link" toy.a gone other
echo boxlite_one >bare
check "a line without a version is refused" refuses "not \`boxlite_NAME BOXLITE_X.Y\`" "$link" toy.a bare other
check "a missing archive is named" refuses nowhere.a "$link" nowhere.a both other

# abi ACTION SED: with the header as sed makes it, and a record of this test's own.
cp "$root/include/boxlite.abi" recorded.abi
cp "$root/include/boxlite.symbols" listed
abi() {
    sed "$2" "$root/include/boxlite.h" >changed.h
    if [ -n "$2" ]; then ! cmp -s "$root/include/boxlite.h" changed.h || { echo "sed changed nothing"; return 2; }; fi
    "$root/scripts/abi.sh" "$1" changed.h listed recorded.abi
}
check "the header is what is recorded of it" abi check ''
for change in 's/int64_t timeout_ms,/int32_t timeout_ms,/' 's/^int32_t boxlite_exit_code/int64_t boxlite_exit_code/' \
    's/ const boxlite_command \*command,/ boxlite_command *command,/' 's/^size_t boxlite_bytes_len/size_t boxlite_bytes_size/' \
    's/define BOXLITE_END_IDLE 8/define BOXLITE_END_IDLE 9/' 's/int32_t (\*boxlite_progress_fn)/int64_t (*boxlite_progress_fn)/'; do
    check "breaks programs: $change" refuses "breaks programs" abi check "$change"
    check "is not recorded either" refuses "breaks programs" abi record "$change"
done
additions_are_recorded() {
    local added='s/^#define BOXLITE_END_OUT_OF_MEMORY 9/&\n#define BOXLITE_END_LATER 10/; s/^const char \*boxlite_version(void);/&\nvoid boxlite_later(int32_t a);/'
    echo 'boxlite_later BOXLITE_9.0' >>listed
    refuses "not recorded yet" abi check "$added"
    abi record "$added"
    abi check "$added"
    refuses "boxlite_later@@BOXLITE_9.0" abi check 's/$/ /'
}
check "what is added is recorded, and stays" additions_are_recorded

# Each comment of the header says all that it has to: one that does not is refused.
comments() {
    sed "$2" "$root/include/boxlite.h" >changed.h
    ! cmp -s "$root/include/boxlite.h" changed.h || { echo "sed changed nothing"; return 2; }
    refuses "no word on $1" "$root/scripts/doc-c.sh" "$work/changed.h"
}
check "a comment says on which threads" comments threads 's/Any thread/Any time/; s/One thread/One time/'
check "a comment says what may be NULL" comments NULL 's/NULL/null/g'
check "a comment says whether it blocks" comments blocking 's/does not block/returns/'
check "a comment says who frees the result" comments "who frees" 's/the caller frees/is freed/'
check "a comment says how long a result lives" comments "how long" 's/Valid until/Good until/'
check "a comment says what is copied" comments "whether arguments are copied" 's/copied/taken/'

disk=$root/scripts/make-guest-disk.sh
echo 'int main(void) { return 0; }' >init.c
cc -static -o init init.c
cc -o dynamic init.c
same_agent_same_disk() {
    "$disk" init a.erofs
    sleep 1.1 # another second, so that a time stamp would show
    touch init
    "$disk" init b.erofs
    cmp a.erofs b.erofs
    fsck.erofs a.erofs
}
check "the same agent gives the same guest disk" same_agent_same_disk
check "a dynamic agent is refused" refuses dynamically "$disk" dynamic c.erofs

same_busybox_same_image() {
    CARGO_TARGET_DIR=$work/first "$root/scripts/make-busybox-image.sh"
    CARGO_TARGET_DIR=$work/second "$root/scripts/make-busybox-image.sh"
    diff -r first second
    umoci unpack --rootless --image first/test-images/busybox:latest bundle
    [ "$(bundle/rootfs/bin/busybox echo ok)" = ok ]
}
check "the same busybox gives the same image, and umoci unpacks it" same_busybox_same_image

hung_lab_is_tried_again() {
    echo 'echo the job ran; exit 7' >job
    local status=0
    LAB_HANG=20 LAB_IMAGES=busybox "$root/lab/run.sh" job >said 2>&1 || status=$?
    grep 'hangs, and was killed; it is tried once more' said
    grep '^the job ran' said
    [ "$status" -eq 7 ]
}
check "a lab that hangs is killed and tried once more, and a job's status is the lab's" hung_lab_is_tried_again

# Everything there is but apt and one tool.
cp -rs /usr/bin bin
rm -f bin/apt-get bin/umoci
check "set-up without apt lists what to install" \
    refuses "umoci (makes" env PATH="$work/bin:$(dirname "$(command -v cargo)")" "$root/scripts/setup.sh"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
