#!/usr/bin/env bash
# run.sh JOB [FILE...]: runs the shell script JOB in the lab, a virtual machine with a /dev/kvm of the hardware's kind:
# QEMU's software emulation plays an AMD CPU with nested paging, so KVM works inside it on any host. Slow, but real.
#
# JOB runs as root in this tree's own directory, which holds there: runtime/, the test images, and each FILE (a path
# below the tree; make-disk.sh says more). What it prints is streamed out; its status is this script's. Nothing of the
# host can be changed.
#   LAB_SECONDS   most seconds for the job (600)
#   LAB_SILENCE   seconds without a word after which it hangs (90); it says that it lives every ten
#   LAB_HANG      seconds: the first try hangs, and is given up after so many without a word, to see what becomes of it
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"

[ $# -ge 1 ] || die "usage: run.sh JOB [FILE...]"
job=$1
shift
[ -f "$job" ] || die "no job $job"
seconds=${LAB_SECONDS:-600}
silence=${LAB_SILENCE:-90}
# Exit codes that no job has.
hung=251 failed=252 late=253
lab=$target/lab
libexec=$runtime_dir/libexec/boxlite
for piece in boxlite-shim boxlite-guest guest.erofs kernel.elf libkrunfw.so.5; do
    [ -e "$libexec/$piece" ] || die "no $libexec/$piece: run \`make build\`"
done
mkdir -p "$lab"

work=$(mktemp -d "$lab/run.XXXXXX")
qemu=''
cleanup() {
    if [ -n "$qemu" ]; then kill -KILL "$qemu" 2>/dev/null || true; fi
    rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

"$root/lab/make-disk.sh" "$work/disk.erofs" "$job" "$@"

# One try: the status of the job, $hung or $failed.
attempt() {
    local line status=$failed began=$SECONDS khz hang=${1:-}
    local silence=${hang:-$silence}
    # The guest's kernel can't measure its clock under emulation: half of the labs hang without this.
    khz=$("$libexec/boxlite-shim" tsc)
    mkfifo "$work/console"
    qemu-system-x86_64 -M microvm,x-option-roms=off,rtc=on,acpi=off,pit=on,pic=on -accel tcg,thread=multi \
        -cpu max -smp 1 -m 6144 -nodefaults -no-user-config -display none -no-reboot -kernel "$libexec/kernel.elf" \
        -append "console=hvc0 quiet reboot=t panic=-1 root=/dev/vda rootfstype=erofs ro init=/lab-init tsc_early_khz=$khz tsc=reliable mitigations=off${hang:+ lab.hang}" \
        -device virtio-serial-device -chardev stdio,id=console,signal=off -device virtconsole,chardev=console \
        -object rng-builtin,id=rng -device virtio-rng-device,rng=rng \
        -drive id=disk,file="$work/disk.erofs",format=raw,if=none,readonly=on -device virtio-blk-device,drive=disk \
        </dev/null >"$work/console" 2>&1 &
    qemu=$!
    exec 9<"$work/console"
    rm "$work/console"
    while true; do
        if [ $((SECONDS - began)) -ge "$seconds" ]; then
            say "the job took longer than $seconds s and was killed"
            status=$late
            break
        fi
        if IFS= read -r -t "$silence" line <&9; then
            line=${line%$'\r'}
            case $line in
                # It may come in the middle of a line of the job's.
                *'lab: alive') printf '%s' "${line%lab: alive}" ;;
                'lab: the job ended with '*) status=${line##* } ;;
                *) printf '%s\n' "$line" ;;
            esac
        elif [ $? -gt 128 ]; then
            status=$hung
            break
        else
            break
        fi
    done
    exec 9<&-
    kill -KILL "$qemu" 2>/dev/null || true
    wait "$qemu" 2>/dev/null || true
    qemu=''
    return "$status"
}

status=0
for try in first second; do
    status=0
    if [ "$try" = first ]; then attempt "${LAB_HANG:-}" || status=$?; else attempt || status=$?; fi
    case $status in
        "$hung") what="has not said a word for long: it hangs, and was killed" ;;
        "$failed") what="ended before its job did" ;;
        *) exit "$status" ;;
    esac
    [ "$try" = second ] || say "the lab $what; it is tried once more"
done
die "the lab $what, twice"
