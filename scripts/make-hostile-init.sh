#!/usr/bin/env bash
# Makes target/test-images/hostile-init: the static init that tests/hostile_guest boots instead of the agent.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

source=$root/tests/hostile_guest/init.c out=$images_dir/hostile-init
if [ "$out" -nt "$source" ]; then exit 0; fi
mkdir -p "$images_dir"
"${CC:-cc}" -static -O1 -Wall -Wextra -Werror -o "$out.new.$$" "$source"
mv -f "$out.new.$$" "$out"
