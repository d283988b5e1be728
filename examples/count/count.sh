#!/usr/bin/env bash
# Counts, slowly: each line that a program prints is one WebSocket message.
#
#   wspawn ./examples/count/count.sh
#
# Arguments: how far (10), and the pause after each number in seconds (1).
last=${1:-10} pause=${2:-1}

for ((n = 1; n <= last; n++)); do
	echo "$n"
	sleep "$pause"
done
