#!/usr/bin/env python3
# Tells the client about each frame that it sends, and sends a message back in
# the same frames when it is complete.
#
#   wspawn --framing frames ./examples/frames/frames.py
#
# A frame is one byte with FIN (0x80) and the opcode (0: goes on, 1: text,
# 2: binary), four bytes with the length, most significant first, and the
# payload; both ways.
import struct
import sys

FIN, CONTINUATION, TEXT, BINARY = 0x80, 0, 1, 2


def read(n):
    """Reads n bytes, or ends with the session."""
    data = sys.stdin.buffer.read(n)
    if len(data) < n:
        sys.exit()
    return data


def write(first, payload):
    sys.stdout.buffer.write(struct.pack(">BI", first, len(payload)) + payload)
    sys.stdout.buffer.flush()


message = []
while True:
    first, length = struct.unpack(">BI", read(5))
    payload = read(length)
    message.append((first, payload))
    name = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary"}[first & 0x0F]
    write(FIN | TEXT, f"{name} {length}{'' if first & FIN else ', to be continued'}".encode())
    if first & FIN:
        for frame in message:
            write(*frame)
        message = []
