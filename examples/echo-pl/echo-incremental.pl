#!/usr/bin/perl -T
# Sends back what there is, once in a second, five times; then it hangs up.
#
# It is started as echo.pl beside it. It does not wait for whole lines, so that a client sees how its
# bytes come and go.
use strict;
use warnings;

$SIG{PIPE} = 'IGNORE';

while (1) {
    accept(my $client, *STDIN) or $!{EINTR} ? next : die "accept: $!\n";
    for my $round (1 .. 5) {
        sleep 1;
        sysread($client, my $bytes, 1024) or last;
        syswrite($client, $bytes) or last;
    }
    close $client;
}
