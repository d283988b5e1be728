#!/usr/bin/env perl
# Greets whoever says a name: each message is a line on stdin, each line on
# stdout is the answer.
#
#   wspawn ./examples/greeter/greeter.pl
use strict;
use warnings;

$| = 1;    # into a pipe, Perl would otherwise collect 8 KiB first

while (my $name = <STDIN>) {
    chomp $name;
    print "Hello, $name!\n";
}
