//go:build unix

package auth

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/spawner"
)

// hook is a guard with a shell script, whose spawner has to be empty at the end.
func hook(t *testing.T, script string, h Hook) *guarded {
	t.Helper()
	h.Spawner = spawner.New(spawner.Config{})
	t.Cleanup(func() {
		if n := h.Spawner.Running(); n > 0 {
			t.Errorf("%d processes are left", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := h.Spawner.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if h.Program == nil {
		h.Program = &spawner.Program{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
	}
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	m, err := NewHook(h)
	if err != nil {
		t.Fatal(err)
	}
	return guard(m)
}

func TestHooks(t *testing.T) {
	tests := []struct {
		name, script string
		status       int
		user, reason string
	}{
		{"yes", `exit 0`, 200, "", ""},
		{"a user", `echo REMOTE_USER: alice`, 200, "alice", ""},
		{"a user as a variable", `echo variable-REMOTE_USER:alice; echo "Variable-LEVEL: 7"; echo`, 200, "alice", ""},
		{"who is in the request", `test "$HTTP_AUTHORIZATION" = "Bearer x" && test "$REQUEST_METHOD $REQUEST_URI $REMOTE_ADDR" = "GET /chat?a=b 192.0.2.1" && echo REMOTE_USER: alice`, 200, "alice", ""},
		{"input is empty", `read x && exit 1; echo REMOTE_USER: alice`, 200, "alice", ""},
		{"what is left behind does not hold up the answer", `sleep 1000 & echo REMOTE_USER: alice`, 200, "alice", ""},
		{"for a time", `echo REMOTE_USER: alice; echo expires: 1924991999`, 200, "alice", ""},
		{"for a time that is none", `echo REMOTE_USER: alice; echo expires: soon`, 503, "", "not possible now"},
		{"no", `echo REMOTE_USER: alice; exit 1`, 403, "", "not allowed"},
		{"no, with a status and a reason", `echo "Status: 401 Unauthorized"; echo "WWW-Authenticate: Basic realm=x"; echo Reason: who are you; exit 1`, 401, "", "who are you"},
		{"no, whatever the status says", `echo Status: 200; exit 3`, 403, "", "not allowed"},
		{"a crash", `echo REMOTE_USER: alice; kill -SEGV $$`, 503, "", "not possible now"},
		{"garbage", `echo hello`, 503, "", "not possible now"},
		{"a bad variable", `echo Variable-A=B: x`, 503, "", "not possible now"},
		{"a bad status", `echo Status: never`, 503, "", "not possible now"},
		{"a subprotocol of what is no WebSocket", `echo REMOTE_USER: alice; echo Protocol: chat`, 200, "alice", ""},
		{"much too much", `exec dd if=/dev/zero bs=1024 count=100 2>/dev/null`, 503, "", "not possible now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := hook(t, tt.script, Hook{})
			res := g.ask("/chat?a=b", "Authorization: Bearer x")
			if tt.status == 200 {
				vars := g.passes(t, res, tt.user, "Hook")
				if strings.Contains(tt.script, "LEVEL") && vars["LEVEL"] != "7" {
					t.Errorf("variables %v", vars)
				}
				if e := Expires(g.last); e.IsZero() == strings.Contains(tt.script, "expires") {
					t.Errorf("expires %v", e)
				}
				return
			}
			g.refuses(t, res, tt.status, tt.reason)
			if tt.status == 401 && res.Header.Get("WWW-Authenticate") != "Basic realm=x" {
				t.Errorf("header %v", res.Header)
			}
		})
	}
}

// Where the lines end up in answers of every kind is tested in internal/host.
func TestHooksSetLinesOfTheAnswer(t *testing.T) {
	for _, exit := range []int{0, 1} {
		g := hook(t, fmt.Sprintf(`printf 'set-cookie: a=1; Secure\r\nSet-Cookie:b=2\nheader-x-room:\t7 \nHeader-Set-Cookie: c=3\nHeader-Empty:\n'; exit %d`, exit), Hook{})
		res := g.ask("/")
		if want := []string{"a=1; Secure", "b=2", "c=3"}; !slices.Equal(res.Header["Set-Cookie"], want) || res.StatusCode != 200+203*exit {
			t.Errorf("status %d, cookies %q, want %q", res.StatusCode, res.Header["Set-Cookie"], want)
		}
		if got := res.Header["Empty"]; res.Header.Get("X-Room") != "7" || len(got) != 1 || got[0] != "" {
			t.Errorf("header %v", res.Header)
		}
	}
}

func TestHooksThatSetWhatTheyMustNot(t *testing.T) {
	for line, want := range map[string]string{
		`Header-Connection: close`:              "Connection belongs to the connection",
		`header-transfer-encoding: chunked`:     "transfer-encoding belongs",
		`Header-Content-Length: 5`:              "Content-Length belongs",
		`Header-Sec-WebSocket-Protocol: chat`:   "Sec-WebSocket-Protocol belongs",
		`Header-: x`:                            `\"\" is no name`,
		`Header-A B: x`:                         `\"A B\" is no name`,
		`Set-Cookie: secret=\033x`:              "the value of Set-Cookie has control characters",
		`Set-Cookie: secret=x\rSet-Cookie: b=2`: "the value of Set-Cookie has control characters",
		`Header-X-A: secret\0`:                  "the value of X-A has control characters",
	} {
		g := hook(t, `printf '%b\n' "REMOTE_USER: alice" "`+line+`"`, Hook{})
		g.refuses(t, g.ask("/"), 503, "not possible now")
		if log := g.log.String(); !strings.Contains(log, "line 2 of the output: "+want) || strings.Contains(log, "secret") {
			t.Errorf("%s: the log has %s", line, log)
		}
	}
}

func TestHooksThatTakeTooLong(t *testing.T) {
	for _, script := range []string{`sleep 1000`, `trap "" TERM; sleep 1000 & wait; sleep 1000`, `exec >&-; sleep 1000`, `echo REMOTE_USER: alice; sleep 1000`} {
		g := hook(t, script, Hook{Timeout: 200 * time.Millisecond})
		g.refuses(t, g.ask("/"), 504, "too long")
	}
}

func TestHooksThatCannotBeStarted(t *testing.T) {
	g := hook(t, "", Hook{Program: &spawner.Program{Path: filepath.Join(t.TempDir(), "missing")}})
	g.refuses(t, g.ask("/"), 503, "not possible now")

	g = hook(t, "exit 0", Hook{})
	h := g.Methods[0].(*Hook)
	if err := h.Spawner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.refuses(t, g.ask("/"), 503, "not possible now")

	for _, h := range []Hook{{}, {Program: &spawner.Program{Path: "x"}}, {Spawner: h.Spawner, Program: &spawner.Program{}}} {
		if _, err := NewHook(h); err == nil {
			t.Errorf("no error for %+v", h)
		}
	}
}

func TestHooksTakeTurns(t *testing.T) {
	dir := t.TempDir()
	// The first waits for a file, and the second has no time left when its turn would come.
	g := hook(t, fmt.Sprintf(`echo >%s/started; until test -e %[1]s/go; do sleep 0.01; done`, dir), Hook{Running: 1})
	h := g.Methods[0].(*Hook)
	done := make(chan error, 1)
	go func() {
		_, err := h.Authenticate(httptest.NewRequest("GET", "/", nil))
		done <- err
	}()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(dir + "/started"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	second := *h
	second.Timeout = 50 * time.Millisecond
	g.Methods = []Method{&second}
	g.refuses(t, g.ask("/"), 504, "too long")
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Guesses that are in a query or a cookie are known to the hook alone.
func TestHooksSayWhatIsAGuess(t *testing.T) {
	for script, counts := range map[string]bool{"exit 1": false, "echo failed: TRUE; exit 1": true, "echo Failed: false; exit 1": false} {
		g := hook(t, script, Hook{})
		g.Failures = &limit.Failures{Burst: 2}
		for range 2 {
			g.refuses(t, g.ask("/?guess"), 403, "not allowed")
		}
		if res := g.ask("/?guess"); (res.StatusCode == 429) != counts {
			t.Errorf("%s: status %d", script, res.StatusCode)
		}
	}
}
