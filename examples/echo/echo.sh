#!/usr/bin/env bash
# Sends every message back.
#
#   wspawn ./examples/echo/echo.sh
while IFS= read -r line; do
	printf '%s\n' "$line"
done
