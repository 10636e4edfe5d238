#!/usr/bin/env bash
# The lab's short list: a box's whole life on libkrun, which engine `info` names, and a hostile guest.
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"
exec "$root/lab/tests.sh" engines=info_names boxes=a_box_runs_a_command hostile_guest
