#!/usr/bin/perl
# app.scgi.pl SOCKET: an application of the Perl module SCGI.
use strict;
use warnings;
use IO::Socket::UNIX;
use SCGI;

my $socket = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die "$ARGV[0]: $!";
my $scgi = SCGI->new($socket, blocking => 1);
while (my $request = $scgi->accept) {
    eval {
        $request->read_env;
        my ($env, $connection) = ($request->env, $request->connection);
        my $n = 0;
        while ($n < $env->{CONTENT_LENGTH}) {
            my $got = read $connection, my $body, $env->{CONTENT_LENGTH} - $n or last;
            $n += $got;
        }
        print $connection "Status: 201 Created\r\nContent-Type: text/plain\r\n\r\n",
            "$env->{REQUEST_METHOD} $n $env->{QUERY_STRING} ", $env->{HTTP_X_TEST} // '';
        close $connection;
    };
}
