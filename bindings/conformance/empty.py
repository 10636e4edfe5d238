#!/usr/bin/env python3
"""A driver that does nothing and says that all went well. compare.py must not give it a single tick."""

import sys

for line in sys.stdin:
    for word in line.rstrip("\n").split("\t"):
        if word.startswith(("out=", "err=")):
            open(bytes.fromhex(word[4:]), "wb").close()
    print('{"exit": 0, "signal": 0, "timed_out": false, "oom_killed": false, "open": false, "closed": true}', flush=True)
