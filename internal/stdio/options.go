package stdio

import (
	"fmt"
	"time"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

// Options say how messages and streams are turned into each other. The zero value is text in lines.
type Options struct {
	framing.Options

	// PassStderr sends the lines of both output streams as JSON objects with "stream" and "data".
	// It works with [framing.Lines] only, sends each piece of a line that is split as an object of its own, and needs programs with [spawner.StderrPipe]. The session then ends
	// when both streams and the program have ended.
	PassStderr bool

	// Events tells the program about the session: with JSON, an "open" object with the request
	// comes first, and a "close" object with code and reason last.
	Events bool

	// RequestMessage makes the "open" object the first line the program gets, with the framings json and
	// lines, and adds the variables of the request (Target.Env) as "env". A program that was started
	// ahead, see [Target].Spares, learns of the request in no other way.
	RequestMessage bool

	// Queue is how many bytes wait for a program that does not read its input, so that pings and a
	// Close frame behind them are seen; 0 = 1 MiB. When it is full, the client is held back.
	Queue int64

	// StallTimeout is how long the program may then take nothing at all, before the session ends
	// with 1013; 0 = 5 min. It is 2 s once the client has left.
	StallTimeout time.Duration

	// CloseCodes are the close codes for exit statuses: -1 stands for a signal. The default for 0
	// is 1000, for all others 1011.
	CloseCodes map[int]wsframe.CloseCode
}

func (o *Options) queue() int {
	if o.Queue <= 0 {
		return 1 << 20
	}
	return int(o.Queue)
}

func (o *Options) stallTimeout() time.Duration {
	if o.StallTimeout <= 0 {
		return 5 * time.Minute
	}
	return o.StallTimeout
}

// Check returns what is contradictory in the options.
func (o *Options) Check() error {
	switch {
	case o.PassStderr && o.Framing != framing.Lines:
		return fmt.Errorf("passing stderr on works with the framing lines only, not with %v", o.Framing)
	case o.PassStderr && o.Binary:
		return fmt.Errorf("passing stderr on sends JSON in text messages, so it excludes binary")
	case o.Events && o.Framing != framing.JSON:
		return fmt.Errorf("events need the framing json, not %v", o.Framing)
	case o.RequestMessage && o.Framing != framing.JSON && o.Framing != framing.Lines:
		return fmt.Errorf("a request message needs the framing json or lines, not %v", o.Framing)
	case o.Framing == framing.Base64:
		return fmt.Errorf("the framing base64 is for tunnels")
	case o.Queue < 0 || o.StallTimeout < 0:
		return fmt.Errorf("negative limit")
	}
	for status, code := range o.CloseCodes {
		if !code.Sendable() {
			return fmt.Errorf("close code %d for exit status %d may not be sent: use 1000, 1001, 1011 or 3000 to 4999", code, status)
		}
	}
	return o.Options.Check()
}
