/* Echoes WebSocket messages, all by itself: a CGI program that does the
 * handshake and the framing (RFC 6455). The server only passes bytes on.
 *
 *   cc -O2 -o build/ws_echo examples/ws_echo/ws_echo.c && wspawn --cgi build/ws_echo --upgrade
 *
 * A frame is sent back as it comes, fragments as fragments. All frames that one
 * read brings are answered with one write.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CONTINUATION, TEXT, BINARY, CLOSE = 8, PING, PONG };
enum { LIMIT = 1 << 20 }; /* bytes of a frame */

/* ---- what the handshake needs: SHA-1 of up to 119 bytes, and base64 ---- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const unsigned char *msg, size_t len, unsigned char digest[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char m[128] = {0};
    size_t size = len < 56 ? 64 : 128;

    memcpy(m, msg, len);
    m[len] = 0x80;
    m[size - 2] = (unsigned char)(len * 8 >> 8);
    m[size - 1] = (unsigned char)(len * 8);
    for (unsigned char *p = m; p < m + size; p += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 80; i++)
            w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
            uint32_t t = rol(a, 5) + f + e + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64(const unsigned char in[20], char out[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, o = 0; i < 20; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | (i + 2 < 20 ? in[i + 2] : 0);
        for (int shift = 18; shift >= 0; shift -= 6)
            out[o++] = digits[v >> shift & 63];
    }
    memcpy(out + 27, "=", 2);
}

/* ---- output: collected, and written before the next read ---- */

static unsigned char out[LIMIT + 65536];
static size_t pending;

static void flush(void)
{
    for (size_t done = 0; done < pending;) {
        ssize_t n = write(STDOUT_FILENO, out + done, pending - done);
        if (n < 0)
            exit(0); /* the client left without a word */
        done += (size_t)n;
    }
    pending = 0;
}

static unsigned char *reserve(size_t n)
{
    if (pending + n > sizeof out)
        flush();
    pending += n;
    return out + pending - n;
}

static void send_frame(int first, const unsigned char *payload, const unsigned char mask[4], size_t len)
{
    int extra = len < 126 ? 0 : len < 65536 ? 2 : 8;
    unsigned char *p = reserve(2 + (size_t)extra + len);

    *p++ = (unsigned char)first;
    *p++ = extra == 0 ? (unsigned char)len : extra == 2 ? 126 : 127;
    for (int i = extra - 1; i >= 0; i--)
        *p++ = (unsigned char)((uint64_t)len >> (8 * i));
    for (size_t i = 0; i < len; i++)
        p[i] = payload[i] ^ mask[i & 3];
}

static void finish(int code, const char *reason)
{
    unsigned char payload[125] = {(unsigned char)(code >> 8), (unsigned char)code};
    size_t len = strlen(reason);

    memcpy(payload + 2, reason, len);
    send_frame(0x80 | CLOSE, payload, (const unsigned char[4]){0}, code ? 2 + len : 0);
    flush();
    exit(0);
}

/* ---- input ---- */

/* Whether text goes on to be UTF-8; state lasts from one fragment to the next. */
struct utf8 { int need; unsigned char low, high; };

static int utf8(struct utf8 *s, const unsigned char *p, const unsigned char mask[4], size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = p[i] ^ mask[i & 3];
        if (s->need) {
            if (c < s->low || c > s->high)
                return 0;
            s->need--;
            s->low = 0x80, s->high = 0xbf;
        } else if (c >= 0x80) {
            if (c < 0xc2 || c > 0xf4)
                return 0;
            s->need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
            s->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
            s->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        }
    }
    return 1;
}

/* Answers the frame at the start of in. Returns its size, or 0 if it is not
 * complete. */
static size_t answer(const unsigned char *in, size_t have)
{
    static int kind = -1; /* of the message whose fragments are coming */
    static struct utf8 text;
    size_t head = 6;

    if (have < 2)
        return 0;
    int final = in[0] & 0x80, opcode = in[0] & 0x0f;
    uint64_t len = in[1] & 0x7f;
    if (in[0] & 0x70 || !(in[1] & 0x80) || (opcode & 8 && (!final || len > 125)))
        finish(1002, "malformed frame");
    if (len > 125) {
        int extra = len == 126 ? 2 : 8;
        head += (size_t)extra;
        if (have < head)
            return 0;
        len = 0;
        for (int i = 0; i < extra; i++)
            len = len << 8 | in[2 + i];
        if (len > LIMIT)
            finish(1009, "frame is too large");
    }
    if (have < head + len)
        return 0;
    const unsigned char *payload = in + head, *mask = payload - 4;

    switch (opcode) {
    case PING:
        send_frame(0x80 | PONG, payload, mask, len);
        break;
    case PONG:
        break;
    case CLOSE:
        finish(len < 2 ? 0 : (payload[0] ^ mask[0]) << 8 | (payload[1] ^ mask[1]), "");
        break;
    case CONTINUATION:
    case TEXT:
    case BINARY:
        if ((opcode == CONTINUATION) == (kind < 0))
            finish(1002, "fragments out of order");
        if (opcode != CONTINUATION)
            kind = opcode;
        if (kind == TEXT && (!utf8(&text, payload, mask, len) || (final && text.need)))
            finish(1007, "text is not UTF-8");
        send_frame(in[0], payload, mask, len);
        if (final)
            kind = -1;
        break;
    default:
        finish(1002, "unknown opcode");
    }
    return head + len;
}

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

int main(void)
{
    static unsigned char in[LIMIT + 65536];
    const char *key = env("HTTP_SEC_WEBSOCKET_KEY");
    unsigned char digest[20];
    char proof[29], joined[100];
    size_t have = 0;
    ssize_t n;

    if (strcasecmp(env("HTTP_UPGRADE"), "websocket") != 0 || !*key || strlen(key) > 60) {
        puts("Status: 426 Upgrade Required\r\nUpgrade: websocket\r\n"
             "Content-Type: text/plain\r\n\r\nThis is a WebSocket.");
        return 0;
    }
    if (strcmp(env("HTTP_SEC_WEBSOCKET_VERSION"), "13") != 0) {
        puts("Status: 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n"
             "Content-Type: text/plain\r\n\r\nVersion 13, please.");
        return 0;
    }
    n = snprintf(joined, sizeof joined, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1((unsigned char *)joined, (size_t)n, digest);
    base64(digest, proof);
    printf("Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Accept: %s\r\n\r\n", proof);
    fflush(stdout);

    while ((n = read(STDIN_FILENO, in + have, sizeof in - have)) > 0) {
        size_t done = 0, size;
        have += (size_t)n;
        while ((size = answer(in + done, have - done)) > 0)
            done += size;
        memmove(in, in + done, have -= done);
        flush();
    }
    return 0;
}
