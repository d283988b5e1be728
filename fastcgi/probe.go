package fastcgi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
)

// The variables of GET_VALUES (section 4.1), and ours.
const (
	valueMaxConns = "FCGI_MAX_CONNS"
	valueMaxReqs  = "FCGI_MAX_REQS"
	valueMpxs     = "FCGI_MPXS_CONNS"
	valueWindow   = "WSPAWN_WINDOW"
)

// probe asks a backend on a connection of its own, because some close it over
// the question, and some only answer when they have a process to spare.
//
// Whatever it says but yes is a no. The error is os.ErrDeadlineExceeded when it
// says nothing in time; others come from dialing.
func (at *site) probe(ctx context.Context, l *backend.Lease) (multiplexing, error) {
	nc, err := at.dial(ctx, l)
	if err != nil {
		return multiplexing{}, err
	}
	defer nc.Close()
	until := time.Now().Add(or(at.c.ProbeTimeout, DefaultProbeTimeout))
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	nc.SetDeadline(until)
	can, err := question(nc)
	if err != nil {
		return no(err)
	}
	return can, nil
}

// Probe asks the application at the other end of nc what it can do (GET_VALUES), and wants an answer. It is for
// backend.Check; note that some applications answer only when they have a process to spare, and some never.
func Probe(_ context.Context, nc net.Conn) error {
	_, err := question(nc)
	return err
}

func question(nc net.Conn) (multiplexing, error) {
	list := AppendPairs(nil, cgi.List{{Name: valueMaxReqs}, {Name: valueMpxs}, {Name: valueWindow}})
	if _, err := nc.Write(AppendRecord(nil, TypeGetValues, 0, list)); err != nil {
		return multiplexing{}, err
	}
	return readValues(bufio.NewReaderSize(nc, 512))
}

func no(err error) (multiplexing, error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return multiplexing{}, os.ErrDeadlineExceeded
	}
	return multiplexing{}, nil
}

// readValues reads the answer to the question.
func readValues(r io.Reader) (can multiplexing, err error) {
	var head [HeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return can, err
	}
	h, err := ParseHeader(head[:])
	if err != nil {
		return can, err
	}
	if h.Type != TypeGetValuesResult || h.ID != 0 || h.Length > 4096 {
		return can, protocolError("%s instead of GET_VALUES_RESULT", h.Type)
	}
	content := make([]byte, h.Length)
	if _, err := io.ReadFull(r, content); err != nil {
		return can, err
	}
	list, err := ParsePairs(content)
	if err != nil {
		return can, err
	}
	number := func(name string) int {
		v, _ := list.Lookup(name)
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return 0
		}
		return int(n)
	}
	can.shares = number(valueMpxs) == 1
	can.requests = number(valueMaxReqs)
	can.window = min(number(valueWindow), maxWindow)
	return can, nil
}
