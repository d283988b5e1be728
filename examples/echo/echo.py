#!/usr/bin/env python3
# Sends every message back.
#
#   wspawn ./examples/echo/echo.py
import sys

for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
