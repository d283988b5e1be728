#!/usr/bin/env perl
# Shows what a program gets to know about the request: its environment.
#
#   wspawn ./examples/dump-env/dump-env.pl
use strict;
use warnings;

print "$_=$ENV{$_}\n" for sort keys %ENV;
