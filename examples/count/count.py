#!/usr/bin/env python3
# Counts, slowly: each line that a program prints is one WebSocket message.
#
#   wspawn ./examples/count/count.py
#
# Arguments: how far (10), and the pause after each number in seconds (1).
#
# flush=True: into a pipe, Python would otherwise collect 8 KiB first.
import sys
import time

last = int(sys.argv[1]) if len(sys.argv) > 1 else 10
pause = float(sys.argv[2]) if len(sys.argv) > 2 else 1

for n in range(1, last + 1):
    print(n, flush=True)
    time.sleep(pause)
