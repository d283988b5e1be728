#!/usr/bin/env bash
# A chat room. Every visitor has a process of this program, and all of them
# share one file: what one appends, the `tail -f` of the others shows. The last
# one out removes the file.
#
#   wspawn ./examples/chat/chat.sh
#
# Argument: the file. chat.py can be in the same room.
set -u
umask 077
room=${1:-/tmp/wspawn-chat-$(id -u)}

# Come in: open the file, and hold a shared lock for as long as we stay. Again
# if the last one out removed it in between.
until
	exec 3>>"$room" || exit
	[ -O /dev/fd/3 ] || { echo "$room is not ours" >&2; exit 1; }
	flock -s 3
	[ "$room" -ef /dev/fd/3 ]
do :; done

leave() {
	if [ -n "${ears-}" ]; then
		kill "$ears" && wait "$ears" 2>/dev/null
		echo "* $name left" >&3
	fi
	! flock -n -x 3 || rm -f "$room" # nobody else holds it
}
trap leave EXIT

echo "What is your name?"
IFS= read -r name && [ -n "$name" ] || exit 0

echo "* $name came in" >&3
tail -n 20 -f "$room" 3>&- &
ears=$!

while IFS= read -r line; do
	printf '%s: %s\n' "$name" "$line" >&3
done
