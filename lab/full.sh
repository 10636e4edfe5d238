#!/usr/bin/env bash
# Every test that boots boxes, on libkrun in the lab: each set in a lab of its own. What is about QEMU alone, or needs a
# compiler, stays outside.
#   LAB_SETS   which of the sets (all)
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"
export LAB_SECONDS=${LAB_SECONDS:-3600}

failed=()
# set NAME TEST...: a set of tests, with what it took.
set_of() {
    local name=$1 start=$SECONDS outcome=ok
    shift
    [[ " ${LAB_SETS:-$name} " == *" $name "* ]] || return 0
    say "set $name: $*"
    "$root/lab/tests.sh" "$@" || { outcome=FAILED; failed+=("$name"); }
    say "set $name: $outcome after $((SECONDS - start)) s"
}

set_of life engines=info_names boxes detached recovery owners
set_of streams limits_of_exec hostile_guest
# As few as there are cores in the lab.
KILLS=20 set_of kills chaos
# c.lists asks for two CPUs and c.engines for QEMU: the lab has neither.
set_of c c.exec c.streams c.takers c.lifecycle c.calls c.cutoff
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
