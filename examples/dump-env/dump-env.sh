#!/usr/bin/env bash
# Shows what a program gets to know about the request: its environment.
#
#   wspawn ./examples/dump-env/dump-env.sh
env | sort
