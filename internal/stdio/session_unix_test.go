//go:build unix

package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func TestEcho(t *testing.T) {
	s := serve(t, sh("exec cat"), serviceOptions{})
	c := s.connect()
	c.SendText("a")
	c.Expect(text("a"))
	c.Send(messageIn(opText, "b€"), messageIn(opText, ""), fragments(opText, "c\nd", "e"))
	// The pong for the ping inside the last message comes when it likes.
	var got []frame
	for len(got) < 5 {
		got = append(got, c.Next())
	}
	got = slices.DeleteFunc(got, func(f frame) bool { return f.Op == wsframe.OpPong })
	if !slices.Equal(got, []frame{text("b€"), text(""), text("c"), text("de")}) {
		t.Errorf("got %v", got)
	}
	c.Leave()
	sum := s.summary(0)
	if sum.In != 13 || sum.Out != 13 || !sum.Exit.Success() || sum.Close.Code != 1000 || !sum.Close.Remote || sum.StopErr != nil || sum.Pid <= 0 {
		t.Errorf("%+v", sum)
	}
}

func TestExitStatusBecomesCloseCode(t *testing.T) {
	codes := map[int]wsframe.CloseCode{4: 4004, 5: 1000, -1: 4900}
	for _, tt := range []struct {
		name, script string
		codes        map[int]wsframe.CloseCode
		want         frame
	}{
		{"success", "exit 0", nil, closing(1000, "exit status 0")},
		{"failure", "exit 3", nil, closing(1011, "exit status 3")},
		{"the highest status", "exit 255", nil, closing(1011, "exit status 255")},
		{"killed", "kill -9 $$", nil, closing(1011, "signal: killed")},
		{"terminated", "kill -TERM $$", nil, closing(1011, "signal: terminated")},
		{"a status with a code", "exit 4", codes, closing(4004, "exit status 4")},
		{"a failure that is none", "exit 5", codes, closing(1000, "exit status 5")},
		{"a status without a code", "exit 6", codes, closing(1011, "exit status 6")},
		{"success, where others have codes", "exit 0", codes, closing(1000, "exit status 0")},
		{"a signal with a code", "kill -9 $$", codes, closing(4900, "signal: killed")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, sh("echo output; "+tt.script), serviceOptions{Options: Options{CloseCodes: tt.codes}})
			c := s.connect()
			c.Expect(text("output"))
			c.ExpectClose(tt.want)
			if got := s.summary(0).Exit.String(); got != tt.want.Payload[2:] {
				t.Errorf("exit %q", got)
			}
		})
	}
}

func TestProgramThatClosesItsOutputLivesOn(t *testing.T) {
	s := serve(t, sh("echo last; exec >&-; read line; exit ${#line}"), serviceOptions{})
	c := s.connect()
	c.Expect(text("last"))
	c.Send(masked(true, wsframe.OpPing, "alive"))
	c.Expect(pong("alive"))
	c.SendText("1234567")
	c.ExpectClose(closing(1011, "exit status 7"))
}

func TestClientThatClosesItsDirectionGetsTheRest(t *testing.T) {
	s := serve(t, sh("wc -c | tr -d ' '; seq 5000; exit 2"), serviceOptions{})
	c := s.connect()
	c.SendText("1234")
	c.NC.CloseWrite()
	got, end := c.All()
	if want := append([]frame{text("5")}, numbers(5000)...); !slices.Equal(got, want) {
		t.Errorf("got %d messages, want %d", len(got), len(want))
	}
	if end != closing(1011, "exit status 2") {
		t.Errorf("got %v", end)
	}
}

func TestDataInTheSegmentOfACloseFrameArrives(t *testing.T) {
	for _, leave := range []struct {
		name string
		last []byte
	}{{"close frame", masked(true, wsframe.OpClose, "\x03\xe9")}, {"end of the stream", nil}} {
		t.Run(leave.name, func(t *testing.T) {
			name, _ := signalFile(t)
			s := serve(t, waiting(`cat > "$1"`, name), serviceOptions{})
			c := s.connect()
			var frames [][]byte
			for _, n := range numbers(10000) {
				frames = append(frames, messageIn(opText, n.Payload))
			}
			c.Send(append(frames, leave.last)...)
			c.NC.CloseWrite()
			sum := s.summary(0)
			if got := readFile(t, name); got != payloadLines(numbers(10000)) {
				t.Errorf("the program got %d bytes, %+v", len(got), sum)
			}
		})
	}
}

func TestServiceThatRefusesAType(t *testing.T) {
	s := serve(t, sh("cat; echo end"), serviceOptions{})
	c := s.connect()
	c.Send(messageIn(opText, "a"), messageIn(opBin, "b"), messageIn(opText, "c"))
	before, end := c.All()
	if end != closing(1003, "this service does not take binary messages") {
		t.Errorf("got %v", end)
	}
	if len(before) > 1 || len(before) == 1 && before[0] != text("a") { // the Close frame does not wait for it
		t.Errorf("got %v", before)
	}
	if sum := s.summary(0); sum.In != 2 || sum.Close.Code != 1003 || sum.Close.Remote || !sum.Exit.Success() {
		t.Errorf("%+v", sum)
	}
}

func TestJSONPrograms(t *testing.T) {
	s := serve(t, sh(`
		read -r open; echo '{"type":"binary","data":"AAEC"}'
		read -r first; read -r second
		printf '%s\n' "$first" "$second"
		echo '{"type":"ping","data":"p"}'
		echo '{"type":"close","code":4321,"reason":"done"}'
		read -r close; printf '%s\n%s\n' "$open" "$close" >&2`), serviceOptions{Options: Options{Options: framing.Options{Framing: framing.JSON}, Events: true}})
	c := s.connect()
	c.Expect(bin("\x00\x01\x02"))
	c.Send(messageIn(opText, "a\n\"€\\"), messageIn(opBin, "\xff"))
	c.Expect(text("a\n\"€\\"), bin("\xff"), frame{Fin: true, Op: wsframe.OpPing, Payload: "p"})
	c.ExpectClose(closing(4321, "done"))
	if sum := s.summary(0); !sum.Exit.Success() || sum.Close.Code != 4321 {
		t.Errorf("%+v", sum)
	}
	log := s.log.String()
	for _, part := range []string{`\"type\":\"open\",\"method\":\"GET\"`, `\"path\":\"/path\",\"query\":\"query\"`, `\"type\":\"close\",\"code\":4321,\"reason\":\"`} {
		if !strings.Contains(log, strings.ReplaceAll(part, `\"`, `\\\"`)) && !strings.Contains(log, part) {
			t.Errorf("no %s in the log:\n%s", part, log)
		}
	}
}

func TestStderrIsTagged(t *testing.T) {
	p := sh(`i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; echo $i >&2; done; printf unfinished >&2; exec >&-; echo late >&2`)
	p.Stderr = spawner.StderrPipe
	s := serve(t, p, serviceOptions{Options: Options{PassStderr: true}})
	all, end := s.connect().All()
	streams := map[string][]string{}
	for _, f := range all {
		var v struct{ Stream, Data string }
		if err := json.Unmarshal([]byte(f.Payload), &v); err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		streams[v.Stream] = append(streams[v.Stream], v.Data)
	}
	var want []string
	for _, n := range numbers(300) {
		want = append(want, n.Payload)
	}
	if !slices.Equal(streams["stdout"], want) {
		t.Errorf("stdout: %q", streams["stdout"])
	}
	if want = append(want, "unfinishedlate"); !slices.Equal(streams["stderr"], want) {
		t.Errorf("stderr: %q", streams["stderr"])
	}
	if end != closing(1000, "exit status 0") || len(streams) != 2 {
		t.Errorf("%v, %d streams", end, len(streams))
	}
	if sum := s.summary(0); sum.Out != 2*int64(len(payloadLines(numbers(300))))+int64(len("unfinishedlate\n")) {
		t.Errorf("%+v", sum)
	}
}

func TestStderrThatNobodyWouldRead(t *testing.T) {
	p := sh("echo never >&2")
	p.Stderr = spawner.StderrPipe
	for _, s := range []*service{
		serve(t, p, serviceOptions{}),
		serve(t, sh("echo never >&2"), serviceOptions{Options: Options{PassStderr: true}}),
	} {
		if _, resp := try(t, s.addr); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("got %v", resp.Status)
		}
		if !strings.Contains(s.log.String(), "stderr in a pipe") {
			t.Errorf("log: %s", s.log.String())
		}
	}
}

func TestOpenDecidesBeforeThe101(t *testing.T) {
	file := t.TempDir() + "/file"
	for _, tt := range []struct {
		name    string
		program *spawner.Program
		o       serviceOptions
		status  int
		retry   string
	}{
		{"a missing program", &spawner.Program{Path: file}, serviceOptions{}, 502, ""},
		{"a program that is a directory", &spawner.Program{Path: t.TempDir()}, serviceOptions{}, 502, ""},
		{"a missing directory", &spawner.Program{Path: "/bin/sh", Dir: file}, serviceOptions{}, 502, ""},
		{"rejected by Resolve", nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
			return nil, wsframe.Reject(http.StatusUnauthorized, "who are you?")
		}}, 401, ""},
		{"an error of Resolve", nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
			return nil, errors.New("/secret/path")
		}}, 502, ""},
		{"not found by Resolve", nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
			_, err := spawner.Look("no such program", "")
			return nil, err
		}}, 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.program, tt.o)
			_, resp := try(t, s.addr)
			reason := resp.Header.Get("X-WebSocket-Reject-Reason")
			if resp.StatusCode != tt.status || reason == "" || strings.Contains(reason, "/") {
				t.Errorf("got %v, %q", resp.Status, reason)
			}
			if n := s.spawner.Running(); n != 0 {
				t.Errorf("%d programs are running", n)
			}
		})
	}
}

func TestClientThatDoesNotWaitIsNoError(t *testing.T) {
	s := serve(t, sh("exec cat"), serviceOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &wsframe.Request{Request: httptest.NewRequestWithContext(ctx, "GET", "/", nil)}
	if _, err := s.handler.Endpoint.Open(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("log: %s", log)
	}
}

func TestTooManyPrograms(t *testing.T) {
	s := serve(t, sh("exec cat"), serviceOptions{spawn: spawner.Config{MaxProcesses: 1}})
	c := s.connect()
	_, resp := try(t, s.addr)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %v, %v", resp.Status, resp.Header)
	}
	c.Leave()
	c = s.connectWhenFree()
	c.SendText("a")
	c.Expect(text("a"))
}

func TestHandshakeThatFailsAfterOpenStopsTheProgram(t *testing.T) {
	// A response writer that cannot be taken over.
	hide := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})
	}
	s := serve(t, stubborn("trap '' TERM; while :; do sleep 1000; done"), serviceOptions{wrap: hide})
	if _, resp := try(t, s.addr); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("got %v", resp.Status)
	}
	sum := s.summary(0)
	if s.started != 0 || sum.Exit.Success() || sum.Close.Code != wsframe.CloseAbnormal || sum.StopErr != nil {
		t.Errorf("%d sessions, %+v", s.started, sum)
	}
	if n := s.spawner.Running(); n != 0 {
		t.Errorf("%d programs are running", n)
	}
}
