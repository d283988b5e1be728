package spawner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// recorder is a log handler that keeps what it gets. block holds it up as long as it is locked.
type recorder struct {
	block sync.Mutex

	mu      sync.Mutex // guards the fields below
	records []slog.Record
}

func (h *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (h *recorder) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *recorder) WithGroup(string) slog.Handler            { return h }

func (h *recorder) Handle(_ context.Context, r slog.Record) error {
	h.block.Lock()
	defer h.block.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, r)
	return nil
}

// lines returns the attributes of the records with message msg, each as one string without the pid.
func (h *recorder) lines(msg string) (lines []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		if r.Message != msg {
			continue
		}
		var b strings.Builder
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "line" {
				b.WriteString(a.Value.String())
			} else if a.Key != "pid" {
				fmt.Fprintf(&b, " %v", a)
			}
			return true
		})
		lines = append(lines, b.String())
	}
	return lines
}

func init() {
	// longline writes 10 MB to stderr without a line end, then says so on stdout.
	helpers["longline"] = func() {
		os.Stderr.Write(bytes.Repeat([]byte("x"), 10<<20))
		os.Stdout.WriteString("written\n")
		os.Stderr.WriteString("\nnext\n")
	}
	// manylines writes 200,000 lines to stderr, then says so on stdout.
	helpers["manylines"] = func() {
		os.Stderr.Write(bytes.Repeat([]byte("one of very many lines on stderr\n"), 200_000))
		os.Stdout.WriteString("written\n")
	}
}

func TestStderrGoesToTheLogLineByLine(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h), StderrLevel: slog.LevelWarn})
	p := start(t, s, sh(`printf 'one\ntwo\r\n\nthr' >&2; sleep 0.05; printf 'ee\nfour' >&2`),
		StartOptions{Label: []slog.Attr{slog.Int("session", 5)}})
	waitDone(t, p)
	p.Finish()
	got := strings.Join(h.lines("stderr"), "|")
	if got != "one session=5|two session=5| session=5|three session=5|four session=5" {
		t.Errorf("%s", got)
	}
	if r := h.records[0]; r.Level != slog.LevelWarn {
		t.Errorf("level %v", r.Level)
	}
	h.records[0].Attrs(func(a slog.Attr) bool {
		if a.Key == "pid" && a.Value.Int64() != int64(p.Pid()) {
			t.Errorf("pid %v", a.Value)
		}
		return true
	})
}

func TestStderrLinesAreCutAndHarmless(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	for _, c := range []struct{ in, want string }{
		{`12345678\n`, "12345678"},
		{`123456789\n`, "12345678 truncated=true"},
		{`123456789`, "12345678 truncated=true"},
		{`1234567\303\251\nnext\n`, "1234567 truncated=true|next"}, // never half a character
		{`123456\303\251\n`, "123456é"},
		{`\033[31mr\n`, `\x1b[31mr`},
		{`a\tb\n`, "a\tb"},
		{`a\001\177\n`, `a\x01\x7f`},
		{`\302\205\n`, `\u0085`},
		{`a\342\200\256b\n`, `a\u202eb`}, // right-to-left override
		{`a\342\200\250b\n`, `a\u2028b`}, // line separator
		{`a\377b\n`, `a\xffb`},
		{`a\rb\n`, `a\x0db`},
		{`a\000b\n`, `a\x00b`},
	} {
		h.records = nil
		prog := sh(`printf '` + c.in + `' >&2`)
		prog.MaxStderrLine = 8
		output(t, s, prog, StartOptions{})
		if got := strings.Join(h.lines("stderr"), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestALongStderrLineDoesNotBlockTheProgram(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	if got := output(t, s, helper(t, "longline"), StartOptions{}); got != "written\n" {
		t.Errorf("%q", got)
	}
	if got, want := h.lines("stderr"), strings.Repeat("x", 4096)+" truncated=true"; len(got) != 2 || got[0] != want || got[1] != "next" {
		t.Errorf("%d lines: %.100q", len(got), got)
	}
}

func TestASlowLogDoesNotBlockTheProgram(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	h.block.Lock()
	noisy := start(t, s, helper(t, "manylines"), StartOptions{})
	if b, err := io.ReadAll(noisy.Stdout); string(b) != "written\n" {
		t.Errorf("%q, %v", b, err)
	}
	// Others are not affected either.
	if got := output(t, s, sh("echo quiet >&2; echo ok"), StartOptions{}); got != "ok\n" {
		t.Errorf("%q", got)
	}
	waitDone(t, noisy)
	noisy.Finish()
	h.block.Unlock()
	s.log.flush(s.log.added)

	lines := h.lines("stderr")
	total := len(lines) - 1 // without the quiet one
	if lines[len(lines)-1] != "quiet" && lines[len(lines)-2] != "quiet" {
		t.Errorf("the noisy program displaced the quiet one")
	}
	for _, d := range h.lines("stderr lines dropped") {
		n, err := strconv.Atoi(strings.TrimPrefix(d, " lines="))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != 200_000 {
		t.Errorf("%d lines logged or counted as dropped", total)
	}
}

func TestStderrModes(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	prog := sh("echo out; echo err >&2")
	prog.Stderr = StderrPipe
	p := start(t, s, prog, StartOptions{})
	if b, err := io.ReadAll(p.Stderr); string(b) != "err\n" {
		t.Errorf("%q, %v", b, err)
	}
	waitDone(t, p)
	p.Finish()

	prog = sh("echo out; echo err >&2")
	prog.Stderr = StderrDiscard
	if got := output(t, s, prog, StartOptions{}); got != "out\n" {
		t.Errorf("%q", got)
	}
	prog = sh("readlink /proc/self/fd/2")
	prog.Stderr = StderrInherit
	want, err := os.Readlink("/proc/self/fd/2")
	if got := output(t, s, prog, StartOptions{}); err == nil && got != want+"\n" {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(h.lines("stderr")); n > 0 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestAProgramMayCloseStderr(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	p := start(t, s, sh("echo last >&2; exec 2>&-; read x; exit 5"), StartOptions{})
	eventually(t, "stderr is closed on our side", func() bool {
		s.stderrMu.Lock()
		defer s.stderrMu.Unlock()
		return p.sys.stderr < 0
	})
	p.CloseStdin()
	waitDone(t, p)
	p.Finish()
	if got := strings.Join(h.lines("stderr"), "|"); got != "last" || p.ExitState().Code != 5 {
		t.Errorf("%q, %v", got, p.ExitState())
	}
}
