#!/usr/bin/perl
# app.fcgi.pl SOCKET: an application of the Perl module FCGI, which is the library of the inventors of FastCGI.
use strict;
use warnings;
use FCGI;

my $socket = FCGI::OpenSocket($ARGV[0], 5);
my %env;
my $request = FCGI::Request(\*STDIN, \*STDOUT, \*STDERR, \%env, $socket);
while ($request->Accept >= 0) {
    my ($n, $body) = (0);
    while (my $got = read STDIN, $body, 65536) { $n += $got }
    print STDERR "a word for the log\n";
    print "Status: 201 Created\r\nContent-Type: text/plain\r\n\r\n",
        "$env{REQUEST_METHOD} $n $env{QUERY_STRING} ", $env{HTTP_X_TEST} // '';
}
