package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

func TestLinesAreMessagesAndMessagesAreLines(t *testing.T) {
	url := serve(t, nil, echo)
	for in, want := range map[string]string{
		"":                       "",
		"one\ntwo\n":             "one\ntwo\n",
		"a\r\n\r\n\nend":         "a\n\n\nend\n",
		"grüße\n\x00\x1b[1m\n":   "grüße\n\x00\x1b[1m\n",
		"\r":                     "\r\n",
		strings.Repeat("x", 9e4): strings.Repeat("x", 9e4) + "\n",
	} {
		out, notes, err := connect(t, Config{URL: url, Stdin: strings.NewReader(in)})
		if err != nil || out != want || notes != "" {
			t.Errorf("input %.40q: output %.40q, notes %q, %v", in, out, notes, err)
		}
	}
}

func TestManyLinesGoThroughInOrder(t *testing.T) {
	var in bytes.Buffer
	for i := range 200_000 {
		fmt.Fprintf(&in, "line %d\n", i)
	}
	out, _, err := connect(t, Config{URL: serve(t, nil, echo), Stdin: bytes.NewReader(in.Bytes())})
	if err != nil || out != in.String() {
		t.Errorf("output of %d bytes for %d, %v", len(out), in.Len(), err)
	}
}

func TestBinaryPayloadsAreNotTouched(t *testing.T) {
	in := []byte("\x00\xff\r\n\xfe no newline")
	var ops []wsframe.Opcode
	url := serve(t, nil, func(c *wsframe.Conn) {
		op, p, _ := c.ReadMessage(nil)
		ops = append(ops, op)
		c.WriteMessage(op, p[:2])
		c.WriteMessage(wsframe.OpText, p[2:4])
		c.WriteMessage(op, p[4:])
		drain(c)
	})
	out, _, err := connect(t, Config{URL: url, Stdin: bytes.NewReader(in), Binary: true})
	if err != nil || out != string(in) || len(ops) != 1 || ops[0] != wsframe.OpBinary {
		t.Errorf("output %q, %v %v", out, ops, err)
	}
}

func TestEverythingBeforeTheCloseIsPrintedHoweverSlowTheOutput(t *testing.T) {
	var want bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&want, "message number %d\n", i)
	}
	url := serve(t, nil, func(c *wsframe.Conn) {
		for line := range bytes.Lines(want.Bytes()) {
			c.WriteMessage(wsframe.OpText, bytes.TrimSuffix(line, []byte("\n")))
		}
		c.Close(4000, "that was all")
	})
	// The input has ended as well, so the client is waiting for its Close to be answered, for a time
	// that is shorter than what the output takes.
	slow := &slowWriter{pause: 40 * time.Millisecond}
	_, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader(""), Stdout: slow, CloseTimeout: 200 * time.Millisecond})
	if slow.b.String() != want.String() {
		t.Errorf("%d bytes of %d, %v", slow.b.Len(), want.Len(), err)
	}
}

type slowWriter struct {
	b     bytes.Buffer
	pause time.Duration
}

func (s *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.b.Write(p)
}

func TestTheStatusTellsTheCloseCode(t *testing.T) {
	for _, test := range []struct {
		code   wsframe.CloseCode
		reason string
		status int
		words  string
	}{
		{1000, "bye", 0, ""},
		{1001, "", 4, "closed by the peer: 1001 (going away)"},
		{1002, "x", 4, "closed by the peer: 1002 (protocol error): x"},
		{1005, "", 4, "1005 (no code given)"},
		{1008, "no \x1b[31m red\nlines", 4, `no \x1b[31m red lines`},
		{1011, "program failed", 4, "1011 (internal error): program failed"},
		{3000, "", 5, "closed by the peer: 3000"},
		{4999, "mine", 5, "4999: mine"},
	} {
		url := serve(t, nil, func(c *wsframe.Conn) {
			c.WriteMessage(wsframe.OpText, []byte("last words"))
			c.Close(test.code, test.reason)
		})
		out, _, err := connect(t, Config{URL: url})
		wantEnd(t, err, test.status, test.words)
		if out != "last words\n" {
			t.Errorf("%d: output %q", test.code, out)
		}
	}
}

func TestAConnectionThatIsCutIsAbnormal(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("before"))
		c.CloseNow()
	})
	out, _, err := connect(t, Config{URL: url})
	wantEnd(t, err, StatusAbnormal, "1006 (no Close frame)")
	if out != "before\n" {
		t.Errorf("output %q", out)
	}
}

func TestAPeerThatDoesNotAnswerTheCloseIsNotWaitedForLong(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url := serve(t, nil, func(c *wsframe.Conn) { <-release })
	_, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader("x\n"), CloseTimeout: 50 * time.Millisecond})
	wantEnd(t, err, StatusAbnormal, "no answer to the Close frame")
}

func TestTheFirstSignalSaysGoodbye(t *testing.T) {
	for sig, code := range map[os.Signal]wsframe.CloseCode{os.Interrupt: 1000, syscall.SIGTERM: 1001, syscall.SIGHUP: 1001} {
		signals := make(chan os.Signal, 2)
		got := make(chan *wsframe.CloseError, 1)
		url := serve(t, nil, func(c *wsframe.Conn) {
			c.ReadMessage(nil) // the client has its connection
			signals <- sig
			got <- drain(c)
		})
		_, _, err := connect(t, Config{URL: url, Signals: signals, Stdin: strings.NewReader("x\n"), Wait: -1})
		wantEnd(t, err, 0, "")
		if e := <-got; e.Code != code {
			t.Errorf("%v: peer got %v", sig, e)
		}
	}
}

func TestTheSecondSignalDoesNotWaitForAnything(t *testing.T) {
	signals := make(chan os.Signal, 2)
	release := make(chan struct{})
	defer close(release)
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("x"))
		<-release
	})
	r, w := io.Pipe() // nobody reads
	defer r.Close()
	hangs := writerFunc(func(p []byte) (int, error) {
		signals <- os.Interrupt
		signals <- os.Interrupt
		return w.Write(p)
	})
	_, _, err := connect(t, Config{URL: url, Signals: signals, Stdout: hangs, CloseTimeout: time.Hour})
	wantEnd(t, err, StatusAbnormal, "stopped")
}

func TestAfterASignalTheEndIsNearEvenIfTheOutputHangs(t *testing.T) {
	signals := make(chan os.Signal, 2)
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("x"))
		drain(c)
	})
	r, w := io.Pipe()
	defer r.Close()
	hangs := writerFunc(func(p []byte) (int, error) {
		signals <- syscall.SIGTERM
		return w.Write(p)
	})
	_, _, err := connect(t, Config{URL: url, Signals: signals, Stdout: hangs, CloseTimeout: 50 * time.Millisecond})
	wantEnd(t, err, StatusAbnormal, "stopped")
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestOneEndsAfterTheFirstMessage(t *testing.T) {
	got := make(chan *wsframe.CloseError, 1)
	url := serve(t, nil, func(c *wsframe.Conn) {
		_, p, _ := c.ReadMessage(nil) // the input has ended behind it, but one message is still waited for
		c.WriteMessage(wsframe.OpText, append([]byte("re: "), p...))
		c.WriteMessage(wsframe.OpText, []byte("too late"))
		got <- drain(c)
	})
	out, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader("hello\n"), One: true})
	wantEnd(t, err, 0, "")
	if out != "re: hello\n" {
		t.Errorf("output %q", out)
	}
	if e := <-got; e.Code != wsframe.CloseNormal {
		t.Errorf("peer got %v", e)
	}
}

func TestOneWithoutAMessageIsAFailure(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) { drain(c) })
	_, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader(""), One: true, Wait: 10 * time.Millisecond})
	wantEnd(t, err, StatusFailure, "no message has come within 10ms")

	url = serve(t, nil, func(c *wsframe.Conn) { c.Close(1000, "") })
	_, _, err = connect(t, Config{URL: url, One: true})
	wantEnd(t, err, StatusFailure, "no message has come before the connection was closed")
}

func TestWaitGoesOnReceivingAfterTheInput(t *testing.T) {
	for _, wait := range []time.Duration{time.Hour, -1} {
		ended := make(chan struct{})
		url := serve(t, nil, func(c *wsframe.Conn) {
			c.ReadMessage(nil)
			<-ended
			c.WriteMessage(wsframe.OpText, []byte("late"))
			c.Close(1000, "")
		})
		in := io.MultiReader(strings.NewReader("x\n"), readerFunc(func([]byte) (int, error) {
			close(ended)
			return 0, io.EOF
		}))
		out, _, err := connect(t, Config{URL: url, Stdin: in, Wait: wait})
		if err != nil || out != "late\n" {
			t.Errorf("output %q, %v", out, err)
		}
	}
	got := make(chan *wsframe.CloseError, 1)
	url := serve(t, nil, func(c *wsframe.Conn) { got <- drain(c) })
	_, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader(""), Wait: time.Millisecond})
	wantEnd(t, err, 0, "")
	if e := <-got; e.Code != wsframe.CloseNormal {
		t.Errorf("peer got %v", e)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAPipeThatNobodyReadsEndsQuietly(t *testing.T) {
	got := make(chan *wsframe.CloseError, 1)
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("x"))
		got <- drain(c)
	})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	_, notes, err := connect(t, Config{URL: url, Stdout: w})
	if err != nil || notes != "" {
		t.Errorf("notes %q, %v", notes, err)
	}
	if e := <-got; e.Code != wsframe.CloseNormal {
		t.Errorf("peer got %v", e)
	}
}

func TestAnOutputThatFailsIsAFailure(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("x"))
		drain(c)
	})
	full := writerFunc(func([]byte) (int, error) { return 0, errors.New("disk is full") })
	_, _, err := connect(t, Config{URL: url, Stdout: full})
	wantEnd(t, err, StatusFailure, "write output: disk is full")
}

func TestAMessageThatIsTooLargeEndsTheConnection(t *testing.T) {
	got := make(chan *wsframe.CloseError, 1)
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("fits"))
		c.WriteMessage(wsframe.OpText, []byte("too large"))
		got <- drain(c)
	})
	out, _, err := connect(t, Config{URL: url, MaxMessage: 8})
	wantEnd(t, err, StatusClosed, "closed: 1009 (message too big)")
	if hint := err.(*Error).Hint; !strings.Contains(hint, "--max-message") {
		t.Errorf("hint %q", hint)
	}
	if e := <-got; out != "fits\n" || e.Code != wsframe.CloseTooBig {
		t.Errorf("output %q, peer got %v", out, e)
	}
}

func TestRoundTripTimesArePrinted(t *testing.T) {
	stop := make(chan os.Signal, 1)
	var pings int
	o := &wsframe.AcceptOptions{Options: wsframe.Options{OnPing: func([]byte) bool {
		if pings++; pings == 3 {
			stop <- os.Interrupt
		}
		return false
	}}}
	_, notes, err := connect(t, Config{URL: serve(t, o, echo), Ping: time.Millisecond, Signals: stop})
	if err != nil || !strings.Contains(notes, "ping: ") || !strings.Contains(notes, "s\n") {
		t.Errorf("notes %q, %v", notes, err)
	}
}
