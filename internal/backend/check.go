package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The defaults of [Check].
const (
	DefaultCheckTimeout = 5 * time.Second
	DefaultRise         = 2
	DefaultFall         = 3
)

// A Check connects to each backend again and again and may ask it something. It needs [Set.Start].
type Check struct {
	// Interval is the time between two checks of a backend. 0 = no checks.
	Interval time.Duration
	// Timeout bounds one check. 0 = 5 s, but at most Interval.
	Timeout time.Duration
	// Rise is how many checks in a row must succeed before a backend that was down gets sessions again, at once and
	// without a trial, and Fall how many must fail before it gets none. 0 = 2 and 3.
	Rise, Fall int
	// Probe uses the connection, on which the deadline is set, and says what is wrong. nil = being able
	// to connect is enough. There is [HTTPProbe], and fastcgi.Probe.
	Probe func(ctx context.Context, nc net.Conn) error
}

func (c *Check) defaults() {
	c.Timeout = min(or(c.Timeout, DefaultCheckTimeout), c.Interval)
	c.Rise = or(c.Rise, DefaultRise)
	c.Fall = or(c.Fall, DefaultFall)
}

// HTTPProbe asks an HTTP server for path, in the name of host, and wants status. "" = "/" and
// "localhost", 0 = any from 200 to 399.
func HTTPProbe(host, path string, status int) func(context.Context, net.Conn) error {
	if path == "" {
		path = "/"
	}
	if host == "" {
		host = "localhost"
	}
	question := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: wspawn-check\r\nConnection: close\r\n\r\n", path, host)
	return func(_ context.Context, nc net.Conn) error {
		if _, err := io.WriteString(nc, question); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(nc, 64<<10)), nil)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("no answer")
		case err != nil:
			return err
		case status == 0 && resp.StatusCode >= 200 && resp.StatusCode < 400 || resp.StatusCode == status:
			return nil
		}
		return fmt.Errorf("status %d", resp.StatusCode)
	}
}

// check checks all backends until ctx ends.
func (s *Set) check(ctx context.Context) {
	ticker := time.NewTicker(s.c.Check.Interval)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		members := slices.Clone(s.members)
		s.mu.Unlock()
		var all sync.WaitGroup
		for _, m := range members {
			all.Go(func() {
				if err := s.probe(ctx, m.addr); ctx.Err() == nil {
					s.checked(m, err)
				}
			})
		}
		all.Wait()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Set) probe(ctx context.Context, a Address) error {
	until := time.Now().Add(s.c.Check.Timeout)
	nc, err := s.dial(ctx, a, s.c.Check.Timeout)
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.c.Check.Probe == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	nc.SetDeadline(until)
	return s.c.Check.Probe(ctx, nc)
}
