#!/usr/bin/env python3
# Echoes WebSocket messages, all by itself: a CGI program that does the
# handshake and the framing (RFC 6455). The server only passes bytes on.
#
#   wspawn --cgi examples/ws_echo --upgrade
import base64
import hashlib
import os
import struct
import sys

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LIMIT = 16 << 20  # bytes of a message


class Closed(Exception):
    """The connection ends: args are the code and the reason to send."""


def main():
    key = os.environ.get("HTTP_SEC_WEBSOCKET_KEY")
    if os.environ.get("HTTP_UPGRADE", "").lower() != "websocket" or not key:
        write(b"Status: 426 Upgrade Required\r\nUpgrade: websocket\r\n"
              b"Content-Type: text/plain\r\n\r\nThis is a WebSocket.\n")
        return
    if os.environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        write(b"Status: 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n"
              b"Content-Type: text/plain\r\n\r\nVersion 13, please.\n")
        return
    proof = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    write(b"Status: 101 Switching Protocols\r\n"
          b"Upgrade: websocket\r\n"
          b"Connection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: " + base64.b64encode(proof.digest()) + b"\r\n\r\n")
    try:
        while True:
            send(*receive())
    except Closed as end:
        send(CLOSE, b"".join(end.args))
    except (EOFError, BrokenPipeError):
        pass  # the client left without a word


def receive():
    """Returns the next message; pings on the way are answered."""
    kind, message = None, bytearray()
    while True:
        final, opcode, payload = receive_frame(LIMIT - len(message))
        if opcode == PING:
            send(PONG, payload)
        elif opcode == CLOSE:
            raise Closed(payload[:2])
        elif opcode in (TEXT, BINARY, CONTINUATION):
            if (opcode == CONTINUATION) == (kind is None):
                raise fail(1002, "fragments out of order")
            kind = opcode or kind
            message += payload
            if final:
                break
        elif opcode != PONG:
            raise fail(1002, "unknown opcode")
    if kind == TEXT:
        try:
            message.decode()
        except UnicodeDecodeError:
            raise fail(1007, "text is not UTF-8")
    return kind, bytes(message)


def receive_frame(room):
    first, second = read(2)
    final, opcode, length = first & 0x80, first & 0x0F, second & 0x7F
    if first & 0x70 or not second & 0x80 or opcode & 8 and (not final or length > 125):
        raise fail(1002, "malformed frame")
    if length == 126:
        length, = struct.unpack("!H", read(2))
    elif length == 127:
        length, = struct.unpack("!Q", read(8))
    if opcode < 8 and length > room:
        raise fail(1009, "message is too large")
    mask = read(4)
    payload = read(length)
    # One big exclusive or is much faster than a loop over the bytes.
    mask = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return final, opcode, masked.to_bytes(length, "big")


def send(opcode, payload):
    if len(payload) < 126:
        head = struct.pack("!BB", 0x80 | opcode, len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 126, len(payload))
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, len(payload))
    write(head + payload)


def fail(code, reason):
    return Closed(struct.pack("!H", code), reason.encode())


def read(count):
    data = sys.stdin.buffer.read(count)
    if len(data) < count:
        raise EOFError
    return data


def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


main()
