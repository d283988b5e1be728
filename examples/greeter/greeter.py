#!/usr/bin/env python3
# Greets whoever says a name: each message is a line on stdin, each line on
# stdout is the answer.
#
#   wspawn ./examples/greeter/greeter.py
#
# flush=True: into a pipe, Python would otherwise collect 8 KiB first.
import sys

for line in sys.stdin:
    name = line.rstrip("\n")
    print(f"Hello, {name}!", flush=True)
