#!/usr/bin/env bash
# Greets whoever says a name: each message is a line on stdin, each line on
# stdout is the answer.
#
#   wspawn ./examples/greeter/greeter.sh
while IFS= read -r name; do
	echo "Hello, $name!"
done
