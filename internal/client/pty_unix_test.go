//go:build linux || darwin || freebsd

package client

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/wspawn/wspawn/wsframe"
)

// A person sits at a terminal that a client runs on.
type person struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	done chan error // of the process

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	screen  screen
	raw     []byte
	eof     bool
}

func sitDown(t *testing.T, url string, env ...string) *person {
	t.Helper()
	cmd := childCommand(url, append([]string{"TERM=xterm", "NO_COLOR=1"}, env...)...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 40})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, cmd: cmd, pty: f, done: make(chan error, 1)}
	p.changed = sync.NewCond(&p.mu)
	p.screen.width = 40
	var watching sync.WaitGroup
	watching.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf) // on Linux EIO when the process is gone
			p.mu.Lock()
			p.raw = append(p.raw, buf[:n]...)
			p.screen.write(buf[:n])
			p.eof = err != nil
			p.mu.Unlock()
			p.changed.Broadcast()
			if err != nil {
				return
			}
		}
	})
	go func() { p.done <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		p.done <- <-p.done
		f.Close()
		watching.Wait()
	})
	if !slices.Contains(env, "TERM=dumb") {
		p.sees(">") // what is typed before is echoed by the kernel
	}
	return p
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.pty.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until the screen has these lines, without trailing blanks and empty lines at the end.
func (p *person) sees(lines ...string) {
	p.t.Helper()
	want := strings.Join(lines, "\n")
	late := time.AfterFunc(patience, func() {
		p.mu.Lock()
		p.eof = true
		p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.screen.String() != want {
		if p.eof {
			p.t.Fatalf("the screen has\n%s\n\nnot\n%s\n\nraw: %q", p.screen.String(), want, p.raw)
		}
		p.changed.Wait()
	}
}

// leaves waits for the end of the process and returns its status.
func (p *person) leaves() int {
	p.t.Helper()
	select {
	case err := <-p.done:
		p.done <- err
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		return 0
	case <-time.After(patience):
		p.t.Fatalf("the client does not end; the screen has\n%s", p.screen.String())
		return -1
	}
}

// A screen is as much of a terminal as the line editor needs, without height.
type screen struct {
	width int
	rows  [][]rune
	x, y  int
	rest  []byte // of a sequence
}

var sequence = regexp.MustCompile(`^\x1b\[\??([0-9]*)([A-Za-z])`)

func (s *screen) write(p []byte) {
	b := append(s.rest, p...)
	for len(b) > 0 {
		if b[0] == 0x1b {
			m := sequence.FindSubmatch(b)
			if m == nil {
				break
			}
			n, err := strconv.Atoi(string(m[1]))
			if err != nil {
				n = 1
			}
			s.control(m[2][0], n)
			b = b[len(m[0]):]
			continue
		}
		if !utf8.FullRune(b) {
			break
		}
		r, size := utf8.DecodeRune(b)
		b = b[size:]
		switch r {
		case '\r':
			s.x = 0
		case '\n':
			s.y++
		default:
			if s.x == s.width {
				s.x, s.y = 0, s.y+1
			}
			row := s.row()
			for len(*row) <= s.x {
				*row = append(*row, ' ')
			}
			(*row)[s.x] = r
			s.x++
		}
	}
	s.rest = append([]byte(nil), b...)
}

func (s *screen) row() *[]rune {
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
	return &s.rows[s.y]
}

func (s *screen) control(c byte, n int) {
	switch c {
	case 'A':
		s.y = max(0, s.y-n)
	case 'B':
		s.y += n
	case 'C':
		s.x = min(s.x+n, s.width-1)
	case 'D':
		s.x = max(0, min(s.x, s.width-1)-n)
	case 'K':
		if row := s.row(); len(*row) > s.x {
			*row = (*row)[:s.x]
		}
	}
}

func (s *screen) String() string {
	var lines []string
	for _, row := range s.rows {
		lines = append(lines, strings.TrimRight(string(row), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func TestLinesCanBeEditedAndBroughtBack(t *testing.T) {
	p := sitDown(t, serve(t, nil, echo))
	p.types("wrld\x1b[D\x1b[D\x1b[Do\x01hello \x05!\r") // left, Ctrl-A, Ctrl-E
	p.sees("> hello world!", "< hello world!", ">")
	p.types("a line to forget\x15") // Ctrl-U
	p.sees("> hello world!", "< hello world!", ">")
	p.types("two words\x17things\r") // Ctrl-W
	p.sees("> hello world!", "< hello world!", "> two things", "< two things", ">")
	p.types("\x1b[A\x1b[A") // twice up
	p.sees("> hello world!", "< hello world!", "> two things", "< two things", "> hello world!")
	p.types("\x1b[B\r") // down
	p.sees("> hello world!", "< hello world!", "> two things", "< two things", "> two things", "< two things", ">")
	p.types("\x04") // Ctrl-D
	if status := p.leaves(); status != 0 {
		t.Errorf("status %d", status)
	}
	p.sees("> hello world!", "< hello world!", "> two things", "< two things", "> two things", "< two things")
}

func TestMessagesDoNotDisturbTheLineThatIsEdited(t *testing.T) {
	send := make(chan []byte)
	url := serve(t, nil, func(c *wsframe.Conn) {
		for {
			var m []byte
			select {
			case m = <-send:
			case <-t.Context().Done():
				return
			}
			if m == nil {
				break
			}
			op := wsframe.OpText
			if len(m) > 0 && m[0] == 0 {
				op = wsframe.OpBinary
			}
			c.WriteMessage(op, m)
		}
		_, p, _ := c.ReadMessage(nil)
		c.Close(4000, string(p))
	})
	p := sitDown(t, url)
	p.types("half a th")
	p.sees("> half a th")
	send <- []byte("first\nsecond line\x1b[2J")
	p.sees("< first", `  second line\x1b[2J`, "> half a th")
	send <- []byte("\x00bc")
	p.sees("< first", `  second line\x1b[2J`,
		"< 00000000  00 62 63", "                      |.bc|", // the terminal wraps
		"> half a th")
	p.types("ought \x1b[D\x1b[D, twice as long as the screen is wide") // the cursor is inside of the line
	line := []string{"> half a though, twice as long as the sc", "reen is widet"}
	head := []string{"< first", `  second line\x1b[2J`, "< 00000000  00 62 63", "                      |.bc|"}
	p.sees(append(head, line...)...)
	send <- []byte("third")
	head = append(head[:4:4], "< third")
	p.sees(append(head, line...)...)
	close(send)
	p.types("\r")
	if status := p.leaves(); status != StatusApplication {
		t.Errorf("status %d", status)
	}
	p.sees(append(append(head, line...), "wspawn: closed by the peer: 4000: half a", " though, twice as long as the screen is", "widet")...)
}

func TestAPasteOfSeveralLinesIsSeveralMessages(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) {
		_, one, _ := c.ReadMessage(nil)
		_, two, _ := c.ReadMessage(nil)
		c.WriteMessage(wsframe.OpText, fmt.Appendf(nil, "%q and %q", one, two))
		drain(c)
	})
	p := sitDown(t, url)
	p.types("\x1b[200~one\rtwo\tthree\x1b[201~\r")
	p.sees("> one", "> two\tthree", `< "one" and "two\tthree"`, ">")
}

func TestCtrlCSaysGoodbye(t *testing.T) {
	got := make(chan *wsframe.CloseError, 1)
	p := sitDown(t, serve(t, nil, func(c *wsframe.Conn) { got <- drain(c) }))
	p.types("unsent")
	p.sees("> unsent")
	p.types("\x03")
	if status := p.leaves(); status != 0 {
		t.Errorf("status %d", status)
	}
	if e := <-got; e.Code != wsframe.CloseNormal {
		t.Errorf("peer got %v", e)
	}
	p.sees("> unsent")
}

func TestTheSecondCtrlCEndsTheClient(t *testing.T) {
	asked := make(chan struct{})
	release := make(chan struct{})
	url := serve(t, nil, func(c *wsframe.Conn) {
		// A read sees the Close, but a suppressed answer is what a hanging server looks like.
		raw := make([]byte, 64)
		n, _ := c.NetConn().Read(raw)
		if n > 0 {
			close(asked)
		}
		<-release
	})
	defer close(release)
	p := sitDown(t, url)
	p.types("\x03")
	<-asked
	p.types("\x03")
	if status := p.leaves(); status != StatusAbnormal {
		t.Errorf("status %d", status)
	}
	p.sees("wspawn: stopped before the close handsha", "ke was complete")
}

func TestTheTerminalIsLeftAsItWas(t *testing.T) {
	got := make(chan string, 1)
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.Close(1000, "")
	})
	// A shell sees the terminal behind the client.
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `before=$(stty -g); "$0"; [ "$before" = "$(stty -g)" ] && echo same`, self)
	cmd.Env = append(os.Environ(), childEnv+"="+url, "TERM=xterm")
	f, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go func() {
		var all []byte
		buf := make([]byte, 1024)
		for {
			n, err := f.Read(buf)
			if all = append(all, buf[:n]...); err != nil {
				got <- string(all)
				return
			}
		}
	}()
	cmd.Wait()
	out := <-got
	if !strings.Contains(out, "same") || !strings.Contains(out, "\x1b[?2004h") || !strings.Contains(out, "\x1b[?2004l") {
		t.Errorf("output %q", out)
	}
}

func TestTheNewWidthIsUsed(t *testing.T) {
	p := sitDown(t, serve(t, nil, echo))
	if err := pty.Setsize(p.pty, &pty.Winsize{Rows: 24, Cols: 20}); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.screen.width = 20
	p.mu.Unlock()
	// The signal needs its time. A line that is longer shows when it has come.
	for end := time.Now().Add(patience); ; {
		p.types("0123456789012345678901234567890")
		p.cmd.Process.Signal(syscall.SIGWINCH)
		p.types("\x15")
		time.Sleep(10 * time.Millisecond)
		p.mu.Lock()
		wrapped := strings.Contains(string(p.raw), "> 012345678901234567\r\n")
		p.mu.Unlock()
		if wrapped {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("raw: %q", p.raw)
		}
	}
}

func TestThePrefixHasAColourUnlessThatIsUnwanted(t *testing.T) {
	for env, want := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false} {
		p := sitDown(t, serve(t, nil, echo), env)
		p.types("x\r")
		p.sees("> x", "< x", ">")
		p.mu.Lock()
		if strings.Contains(string(p.raw), "\x1b[36m< \x1b[0mx") != want {
			t.Errorf("%s: raw %q", env, p.raw)
		}
		p.mu.Unlock()
	}
}

func TestADumbTerminalGetsNoSequences(t *testing.T) {
	p := sitDown(t, serve(t, nil, echo), "TERM=dumb")
	p.types("x\n")
	p.sees("x", "x") // the kernel echoes, then the server
	p.types("\x04")
	if status := p.leaves(); status != 0 {
		t.Errorf("status %d", status)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.Contains(string(p.raw), "\x1b") {
		t.Errorf("raw %q", p.raw)
	}
}

func TestTypedLinesAreThereTheNextTime(t *testing.T) {
	file := "TEST_HISTORY=" + filepath.Join(t.TempDir(), "history")
	url := serve(t, nil, echo)
	p := sitDown(t, url, file)
	p.types("remember me\r")
	p.sees("> remember me", "< remember me", ">")
	p.types("\x04")
	p.leaves()
	p = sitDown(t, url, file)
	p.types("\x1b[A")
	p.sees("> remember me")
}

func TestOutputOnATerminalIsSafeWithoutAnEditorToo(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteMessage(wsframe.OpText, []byte("\x1b[31mred"))
		c.Close(1000, "")
	})
	cmd := childCommand(url)
	in, err := cmd.StdinPipe() // no terminal
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	f, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout = terminal
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	buf, n := make([]byte, 1024), 0
	for !strings.Contains(string(buf[:n]), "\n") {
		m, err := f.Read(buf[n:])
		if n += m; err != nil {
			break
		}
	}
	cmd.Wait()
	if got := string(buf[:n]); got != "\\x1b[31mred\r\n" {
		t.Errorf("output %q", got)
	}
}
