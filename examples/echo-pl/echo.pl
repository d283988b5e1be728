#!/usr/bin/perl -T
# Sends every line back, to one client at a time.
#
# The server starts it with a listening socket as standard input, as lighttpd does with its bin-path. What
# it needs to know of WebSockets is nothing: it sees a connection. It stays for further clients; with one
# process of it the second client waits until the first one is gone.
use strict;
use warnings;

$SIG{PIPE} = 'IGNORE';    # a client that does not wait for its echo is no reason to end

while (1) {
    accept(my $client, *STDIN) or $!{EINTR} ? next : die "accept: $!\n";
    $client->autoflush;
    while (defined(my $line = <$client>)) {
        print $client $line or last;
    }
    close $client;
}
