package fastcgi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/wspawn/wspawn/cgi"
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
func (b *backend) probe(ctx context.Context) (multiplexing, error) {
	nc, err := b.dial(ctx)
	if err != nil {
		return multiplexing{}, err
	}
	defer nc.Close()
	until := time.Now().Add(or(b.c.ProbeTimeout, DefaultProbeTimeout))
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	nc.SetDeadline(until)
	question := AppendPairs(nil, cgi.List{{Name: valueMaxReqs}, {Name: valueMpxs}, {Name: valueWindow}})
	if _, err := nc.Write(AppendRecord(nil, TypeGetValues, 0, question)); err != nil {
		return no(err)
	}
	can, err := readValues(bufio.NewReaderSize(nc, 512))
	if err != nil {
		return no(err)
	}
	return can, nil
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
