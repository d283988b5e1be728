#!/usr/bin/env perl
# Sends every message back.
#
#   wspawn ./examples/echo/echo.pl
use strict;
use warnings;

$| = 1;    # into a pipe, Perl would otherwise collect 8 KiB first

print while <STDIN>;
