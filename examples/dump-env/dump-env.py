#!/usr/bin/env python3
# Shows what a program gets to know about the request: its environment.
#
#   wspawn ./examples/dump-env/dump-env.py
import os

for name, value in sorted(os.environ.items()):
    print(f"{name}={value}")
