package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// A Config says where to connect and what to do with the connection. URL is required, the zero value
// of everything else works.
type Config struct {
	// URL of the server, in full or abbreviated: see [ExpandURL].
	URL string

	// Header has further lines of the request. Host replaces the host of the URL; the lines of the
	// handshake itself are refused.
	Header http.Header

	// Origin is sent as Origin header, as browsers do. Empty: none.
	Origin string

	// Protocols are the subprotocols to ask for, the best first.
	Protocols []string

	// UserAgent is sent as User-Agent unless Header has one. Empty: "wspawn".
	UserAgent string

	// UnixSocket is the path of a socket to connect to in place of the host of the URL.
	UnixSocket string

	// CAFile has the certificates, in PEM, that are trusted in place of the system's. Empty: those
	// of the system.
	CAFile string

	// Insecure accepts every certificate, so that anybody on the way can read and change everything.
	Insecure bool

	// NoProxy connects directly whatever HTTP_PROXY and HTTPS_PROXY say.
	NoProxy bool

	// Timeout bounds the way to the connection: name lookup, proxy, TLS and handshake. 0: 10 s.
	Timeout time.Duration

	// MaxMessage is the largest message that is received, in bytes; a larger one ends the connection
	// with 1009. 0: no limit, since messages are written as they come.
	MaxMessage int64

	// Compress compresses messages if the server can do it (permessage-deflate, RFC 7692), in both directions.
	Compress bool

	// Binary sends binary messages, one for each chunk that a read of the input brings (at most 64
	// KiB), and writes received payloads without anything between them. Typed lines are sent without
	// their newline. Otherwise a line of input, without its newline or CR LF, is a text message, and
	// each message is followed by a newline.
	Binary bool

	// One ends the connection after the first message. When the input ends before, it is waited for.
	One bool

	// Wait is how long to go on receiving after the end of the input. 0: not at all (with One, until
	// the message comes); negative: until the peer closes.
	Wait time.Duration

	// Ping is the time between pings whose round-trip times are written to Stderr. 0: none.
	Ping time.Duration

	// CloseTimeout is how long the peer may be silent after a Close frame was sent, and how long an
	// end by a signal takes at most. 0: 5 s.
	CloseTimeout time.Duration

	// Verbose writes the headers of the handshake, without credentials, and the control frames to
	// Stderr.
	Verbose bool

	// NoColor, or a set NO_COLOR, keeps colours out of the terminal.
	NoColor bool

	// HistoryFile keeps typed lines from one run to the next: see [HistoryFile]. Empty: nowhere.
	HistoryFile string

	// The streams; nil: those of the process. The line editor is used when Stdin and Stdout are
	// both terminals (and TERM is not dumb). Run may leave a goroutine behind that waits in
	// Stdin.Read, and after a signal one in Stdout.Write, until those return.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Signals end the connection: the first in an orderly way, by 1000 for an interrupt and 1001 for
	// others, the second at once. See [Signals]. nil: none.
	Signals <-chan os.Signal
}

// check fills in the defaults of a copy and refuses what makes no sense.
func (c Config) check() (*Config, error) {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"timeout", c.Timeout}, {"ping interval", c.Ping}, {"close timeout", c.CloseTimeout}} {
		if d.value < 0 {
			return nil, fmt.Errorf("%s %v is negative", d.name, d.value)
		}
	}
	if c.MaxMessage < 0 {
		return nil, fmt.Errorf("largest message of %d bytes is negative", c.MaxMessage)
	}
	if c.Insecure && c.CAFile != "" {
		return nil, errors.New("to trust a certificate authority and to trust everybody exclude each other")
	}
	if strings.HasPrefix(c.URL, "/") && c.UnixSocket != "" && !strings.HasPrefix(c.URL, "//") {
		c.URL = "ws://localhost" + c.URL
	}
	var err error
	if c.URL, err = ExpandURL(c.URL); err != nil {
		return nil, err
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = wsframe.DefaultCloseTimeout
	}
	if c.UserAgent == "" {
		c.UserAgent = "wspawn"
	}
	if c.Stdin == nil {
		c.Stdin = os.Stdin
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	c.NoColor = c.NoColor || os.Getenv("NO_COLOR") != ""
	return &c, nil
}

// ParseHeader reads lines like "Name: value" as flags give them. Several values of a name are kept in
// order, an empty value is one.
func ParseHeader(lines []string) (http.Header, error) {
	h := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("header %q is not like 'Name: value'", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}
