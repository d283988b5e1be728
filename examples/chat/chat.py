#!/usr/bin/env python3
# A chat room. Every visitor has a process of this program, and all of them
# share one file: what one appends, a thread of each of the others finds. The
# last one out removes the file.
#
#   wspawn ./examples/chat/chat.py
#
# Argument: the file. chat.sh can be in the same room.
import fcntl
import os
import sys
import threading

os.umask(0o077)
path = sys.argv[1] if len(sys.argv) > 1 else f"/tmp/wspawn-chat-{os.getuid()}"
gone = threading.Event()


def come_in():
    """Opens the file, and holds a shared lock for as long as we stay."""
    while True:
        room = open(path, "a+b", buffering=0)
        if os.fstat(room.fileno()).st_uid != os.getuid():
            sys.exit(f"{path} is not ours")
        fcntl.flock(room, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.fstat(room.fileno()), os.stat(path)):
                return room
        except FileNotFoundError:
            pass  # the last one out removed it in between


def leave(room):
    try:
        fcntl.flock(room, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others are still here
    os.remove(path)


def listen():
    """Shows the last 20 lines, and all that come."""
    with open(path, "rb") as file:
        lines = file.readlines()[-20:]
        while True:
            for line in lines:
                print(line.decode(errors="replace"), end="", flush=True)
            if gone.wait(0.1):
                return
            lines = file.readlines()


room = come_in()
try:
    print("What is your name?", flush=True)
    name = sys.stdin.readline().rstrip("\n")
    if name:
        room.write(f"* {name} came in\n".encode())
        ears = threading.Thread(target=listen)
        ears.start()
        for line in sys.stdin:
            room.write(f"{name}: {line}".encode())
        gone.set()
        ears.join()
        room.write(f"* {name} left\n".encode())
finally:
    leave(room)
