#!/usr/bin/env perl
# Counts, slowly: each line that a program prints is one WebSocket message.
#
#   wspawn ./examples/count/count.pl
#
# Arguments: how far (10), and the pause after each number in seconds (1).
use strict;
use warnings;
use Time::HiRes qw(sleep);

$| = 1;    # into a pipe, Perl would otherwise collect 8 KiB first

my $last  = shift // 10;
my $pause = shift // 1;

for my $n (1 .. $last) {
    print "$n\n";
    sleep $pause;
}
