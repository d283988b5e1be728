#!/usr/bin/env perl
# Echoes WebSocket messages, all by itself: a CGI program that does the
# handshake and the framing (RFC 6455). The server only passes bytes on.
#
#   wspawn --cgi examples/ws_echo --upgrade
use strict;
use warnings;
use Digest::SHA qw(sha1);
use Encode qw(decode FB_CROAK);
use MIME::Base64 qw(encode_base64);

use constant { CONTINUATION => 0, TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10 };
use constant LIMIT => 16 << 20;    # bytes of a message

$| = 1;
binmode STDIN;
binmode STDOUT;
$SIG{PIPE} = sub { exit };         # the client left without a word

my $key = $ENV{HTTP_SEC_WEBSOCKET_KEY};
if (lc($ENV{HTTP_UPGRADE} // '') ne 'websocket' || !$key) {
    print "Status: 426 Upgrade Required\r\nUpgrade: websocket\r\n",
        "Content-Type: text/plain\r\n\r\nThis is a WebSocket.\n";
    exit;
}
if (($ENV{HTTP_SEC_WEBSOCKET_VERSION} // '') ne '13') {
    print "Status: 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n",
        "Content-Type: text/plain\r\n\r\nVersion 13, please.\n";
    exit;
}
my $proof = encode_base64(sha1($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'), '');
print "Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "Sec-WebSocket-Accept: $proof\r\n\r\n";

send_frame(receive()) while 1;

# Returns the next message; pings on the way are answered.
sub receive {
    my ($kind, $message) = (undef, '');
    while (1) {
        my ($final, $opcode, $payload) = receive_frame(LIMIT - length $message);
        if ($opcode == PING) {
            send_frame(PONG, $payload);
        } elsif ($opcode == CLOSE) {
            finish(substr $payload, 0, 2);
        } elsif ($opcode <= BINARY) {
            fail(1002, 'fragments out of order') if ($opcode == CONTINUATION) == !defined $kind;
            $kind = $opcode if $opcode != CONTINUATION;
            $message .= $payload;
            last if $final;
        } elsif ($opcode != PONG) {
            fail(1002, 'unknown opcode');
        }
    }
    if ($kind == TEXT) {
        my $copy = $message;    # decode takes away what it has decoded
        eval { decode('UTF-8', $copy, FB_CROAK); 1 } or fail(1007, 'text is not UTF-8');
    }
    return ($kind, $message);
}

sub receive_frame {
    my ($room) = @_;
    my ($first, $second) = unpack 'CC', get(2);
    my ($final, $opcode, $length) = ($first & 0x80, $first & 0x0f, $second & 0x7f);
    fail(1002, 'malformed frame')
        if $first & 0x70 || !($second & 0x80) || $opcode & 8 && (!$final || $length > 125);
    $length = unpack 'n',  get(2) if $length == 126;
    $length = unpack 'Q>', get(8) if $length == 127;
    fail(1009, 'message is too large') if $opcode < 8 && $length > $room;
    my $mask    = get(4);
    my $payload = get($length);
    return ($final, $opcode, $payload ^ substr $mask x ($length / 4 + 1), 0, $length);
}

sub send_frame {
    my ($opcode, $payload) = @_;
    my $length = length $payload;
    my $head =
          $length < 126   ? pack('CC',   0x80 | $opcode, $length)
        : $length < 65536 ? pack('CCn',  0x80 | $opcode, 126, $length)
        :                   pack('CCQ>', 0x80 | $opcode, 127, $length);
    print $head, $payload or exit;
}

sub fail {
    my ($code, $reason) = @_;
    finish(pack('n', $code) . $reason);
}

sub finish {
    send_frame(CLOSE, $_[0]);
    exit;
}

sub get {
    my ($count) = @_;
    my $got = read(STDIN, my $data, $count);
    exit if !defined $got || $got < $count;    # the client left without a word
    return $data;
}
