package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// ask sends requests on connections that are kept, one at a time on each, and
// checks what is answered.
func ask(ctx context.Context, s *versus.Server, backends []*versus.Server, conns int, length time.Duration) (*versus.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var count atomic.Int64
	var clients sync.WaitGroup
	for range conns {
		clients.Go(func() {
			if err := client(ctx, s, &count); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	defer clients.Wait()
	defer cancel(nil)
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := pause(length / 5); err != nil { // to warm up
		return nil, err
	}
	n := count.Load()
	before, err := versus.Sample(s, backends...)
	if err != nil {
		return nil, err
	}
	if err := pause(length); err != nil {
		return nil, err
	}
	n = count.Load() - n
	after, err := versus.Sample(s, backends...)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("no answers in %v", length)
	}
	return after.Since(before, int(n)), nil
}

func client(ctx context.Context, s *versus.Server, count *atomic.Int64) error {
	conn, err := net.Dial("tcp", s.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "GET /%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", s.Path, s.Address)
	br := bufio.NewReader(conn)
	body := make([]byte, len(hello)+1)
	for ctx.Err() == nil { // never in the middle of a request, which a server would log
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return err
		}
		n, err := io.ReadFull(resp.Body, body)
		if err != io.ErrUnexpectedEOF || resp.StatusCode != http.StatusOK || string(body[:n]) != hello {
			return fmt.Errorf("answer %s, %q, %v", resp.Status, body[:n], err)
		}
		if resp.Close {
			return fmt.Errorf("the connection is not kept")
		}
		count.Add(1)
	}
	return nil
}
