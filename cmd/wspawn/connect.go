package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wspawn/wspawn/internal/client"
	"github.com/wspawn/wspawn/internal/config"
)

func connectCommand() *cobra.Command {
	var c client.Config
	var headers []string
	var maxMessage string
	var history bool
	cmd := &cobra.Command{
		Use:   "connect [flags] URL",
		Short: "Talk to a WebSocket server",
		Long: `connect sends each line of its input as a text message and prints each message
that arrives as a line.

After the end of the input, what arrives within a second is still printed; then the
connection is closed. A server that needs longer for its answer should be given the
time with --wait or --one.

On a terminal lines can be edited, and the arrow keys bring back earlier ones.
Messages have "< " in front then, bytes are shown as a hex dump. Ctrl-D closes the
connection, and so does Ctrl-C; a second Ctrl-C does not wait for the server.

The URL may be abbreviated: 8080/chat is ws://localhost:8080/chat, and http:// is
ws://.

Exit status:
  0  closed with 1000 by the server, or by this side (1001 for SIGTERM) and answered
  1  no connection; with --one: no message; or the output cannot be written
  2  wrong usage, or a line of the input that is not UTF-8
  3  the connection ended without a Close frame (1006)
  4  closed with 1001 by the server, or with 1002 to 1015
  5  closed with 3000 to 4999`,
		Example: `  wspawn connect :8080                              try a server by hand
  echo hello | wspawn connect --one :8080           one question, one answer, no wait
  wspawn connect --wait -1s :8080/feed </dev/null   print all that comes
  wspawn connect --binary --unix /run/app.sock / <in >out`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(errors.New("connect takes one URL, for example: wspawn connect :8080 (see wspawn connect --help)"))
			}
			return nil
		},
		ValidArgsFunction:     cobra.NoFileCompletions,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.One && !cmd.Flags().Changed("wait") {
				c.Wait = 0 // the message itself is waited for
			}
			c.URL = args[0]
			c.UserAgent = "wspawn/" + versionString()
			var err error
			if c.Header, err = client.ParseHeader(headers); err != nil {
				return usageError(fmt.Errorf("--header: %w", err))
			}
			if c.MaxMessage, err = config.ParseSize(maxMessage); err != nil {
				return usageError(fmt.Errorf("--max-message: %w", err))
			}
			if history {
				if c.HistoryFile, err = client.HistoryFile(); err != nil {
					return usageError(fmt.Errorf("--history: %w", err))
				}
			}
			signals, stop := client.Signals()
			defer stop()
			c.Signals = signals
			return connectError(client.Run(cmd.Context(), c))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&c.Binary, "binary", "b", false, "send chunks of the input as binary messages, write messages without newlines")
	f.BoolVarP(&c.One, "one", "1", false, "close after the first message")
	f.DurationVarP(&c.Wait, "wait", "w", time.Second, "receive for `DURATION` after the end of the input; negative: until the server closes")
	f.StringArrayVarP(&headers, "header", "H", nil, "`\"Name: value\"` for the request (repeatable)")
	f.StringVar(&c.Origin, "origin", "", "`ORIGIN` to send, as pages of it would: https://example.com")
	f.StringArrayVar(&c.Protocols, "subprotocol", nil, "`NAME` of a subprotocol to ask for, best first (repeatable)")
	f.StringVar(&c.UnixSocket, "unix", "", "connect to the Unix socket `PATH`; the URL may be a path then")
	f.StringVar(&c.CAFile, "ca", "", "trust the certificates in `FILE` (PEM), and no others")
	f.BoolVar(&c.Insecure, "insecure", false, "accept every certificate: anybody on the way can read and change everything")
	f.BoolVar(&c.NoProxy, "no-proxy", false, "connect directly, whatever HTTP_PROXY and HTTPS_PROXY say")
	f.DurationVar(&c.Timeout, "timeout", 0, "how long, as a `DURATION`, the handshake may take (default 10s)")
	f.StringVar(&maxMessage, "max-message", "0", "largest message to receive, `SIZE` in bytes; 0 is no limit")
	f.BoolVar(&c.Compress, "compress", false, "compress messages if the server can do it (permessage-deflate)")
	f.DurationVar(&c.Ping, "ping", 0, "print the round-trip time of a ping each `INTERVAL`")
	f.BoolVar(&history, "history", false, "keep typed lines for the next time")
	f.BoolVarP(&c.Verbose, "verbose", "v", false, "print the headers of the handshake and control frames")
	f.SortFlags = false
	return cmd
}

// connectError prints what went wrong, and what to try next on a line of its own.
func connectError(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	printError(e, false)
	if e.Hint != "" {
		fmt.Fprintf(os.Stderr, "wspawn: %s\n", e.Hint)
	}
	return &exitError{code: e.Status}
}
