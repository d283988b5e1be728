//go:build unix

package host

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/wsframe"
)

// counters returns the lines of a server that are about WebSockets.
func counters(t *testing.T, h *Host) string {
	t.Helper()
	resp, err := http.Get(h.AdminURL() + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	return string(text)
}

// counted waits until a server has counted something: that can be after the client knows of it.
func counted(t *testing.T, h *Host, lines ...string) {
	t.Helper()
	for _, line := range lines {
		eventually(t, "the counters have "+line, func() bool { return strings.Contains(counters(t, h), "\n"+line+"\n") })
	}
}

func TestSessionsOfAllKindsAreCounted(t *testing.T) {
	c := everyKind(t, t.TempDir())
	c.Admin = "127.0.0.1:0"
	h, _ := run(t, c)
	h2 := plain(t, h)
	for _, kind := range kinds {
		old := dial(t, h, "/"+kind, nil)
		modern, _ := connect(t, h2, "/"+kind)
		counted(t, h, `wspawn_sessions_total{route="/`+kind+`"} 2`, `wspawn_sessions{route="/`+kind+`"} 2`)
		old.CloseNow()
		modern.CloseNow()
		counted(t, h, `wspawn_sessions{route="/`+kind+`"} 0`)
	}
}

func TestRefusalsAreCountedByReason(t *testing.T) {
	strict := stdioRoute("/strict", "cat")
	strict.RequireOrigin = true
	full := stdioRoute("/full", "cat")
	full.Limits.Sessions = 1
	closed := stdioRoute("/closed", "cat")
	closed.Auth = config.New[config.Auth]()
	closed.Auth.Hook = config.New[config.AuthHook]()
	closed.Auth.Hook.Command = []string{"false"}
	broken := stdioRoute("/broken", "cat")
	broken.WebSocket.MaxMessage = 3
	c := routes(strict, full, closed, broken)
	c.Admin, c.Hosts = "127.0.0.1:0", nil
	var log strings.Builder
	h, stop := runLogged(t, c, slog.New(slog.NewTextHandler(&log, nil)))

	ask := func(path string, header ...string) {
		t.Helper()
		o := &wsframe.DialOptions{Header: http.Header{}}
		for i := 0; i < len(header); i += 2 {
			o.Header.Add(header[i], header[i+1])
		}
		conn, resp, err := wsframe.Dial(t.Context(), strings.TrimSuffix(h.URLs("ws")[0], "/")+path, o)
		if err == nil {
			conn.CloseNow()
			t.Fatalf("%s %q: accepted", path, header)
		}
		if resp == nil || resp.Header.Get(rejectReason) == "" {
			t.Errorf("%s %q: refused without a reason: %v", path, header, err)
		}
	}
	ask("/strict")
	ask("/strict", "Origin", "https://evil.test")
	ask("/strict", "Origin", "https://evil.test")
	ask("/strict", "Origin", "https://a.test", "Origin", "https://b.test")
	one := dial(t, h, "/full", nil)
	ask("/full")
	ask("/closed")
	ask("/nowhere")
	ask("/full", "Host", "evil.test")
	for _, fields := range []h2test.Fields{{":method", "CONNECT", ":authority", "a.test:443"}, h2test.WebSocket("*")} {
		plain(t, h).Open(fields, false).Response()
	}
	conn := dial(t, h, "/broken", nil)
	conn.WriteMessage(wsframe.OpText, []byte("four"))
	conn.ReadMessage(nil)
	counted(t, h,
		`wspawn_refused_total{reason="origin missing",route="/strict",status="400"} 1`,
		`wspawn_refused_total{reason="origin not allowed",route="/strict",status="403"} 2`,
		`wspawn_refused_total{reason="several Origin headers",route="/strict",status="400"} 1`,
		`wspawn_refused_total{reason="server is full",route="/full",status="503"} 1`,
		`wspawn_refused_total{reason="this server is no proxy",route="",status="405"} 1`,
		`wspawn_refused_total{reason="the path of a WebSocket begins with a slash",route="",status="400"} 1`,
		`wspawn_closed_total{code="1009",route="/broken"} 1`)
	for _, part := range []string{`route="/closed",status="403"} 1`, `route="",status="421"} 1`, `route="",status="404"} 1`} {
		if !strings.Contains(counters(t, h), part) {
			t.Errorf("no %s", part)
		}
	}
	one.CloseNow()
	conn.CloseNow()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if want := `msg="requests refused since the start"`; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), `"origin not allowed"=2`) {
		t.Errorf("the log does not say what was refused:\n%s", log.String())
	}
}

// Whatever refuses, the line of the log is the same.
func TestRefusalsAreLoggedInOneWay(t *testing.T) {
	open, guarded, busy := stdioRoute("/open", "cat"), stdioRoute("/guarded", "cat"), stdioRoute("/busy", "cat")
	guarded.Auth = config.New[config.Auth]()
	guarded.Auth.Hook = config.New[config.AuthHook]()
	guarded.Auth.Hook.Command = []string{"false"}
	busy.Limits.Rate = 1e-6 // one session, and the next one in eleven days
	c := routes(open, guarded, busy)
	c.Hosts = []string{"app.example"}
	c.Client.TrustedProxies, c.Client.Strict = []string{"loopback"}, true
	var log strings.Builder
	h, stop := runLogged(t, c, slog.New(slog.NewJSONHandler(&log, nil)))
	type line struct {
		Msg, Route, Remote, Reason string
		Status                     int
	}
	var want []line
	for _, test := range []struct {
		path, host, client, origin, version string
		want                                line
	}{
		{"/open", "evil.test", "192.0.2.7", "", "13", line{Status: 421, Reason: "this server does not answer to this host name"}},
		{"/open", "app.example", "somebody", "", "13", line{Status: 400, Reason: "the proxy does not say who the client is"}},
		{"/open", "app.example", "192.0.2.7", "http://evil.test", "13", line{Route: "/open", Status: 403, Reason: "origin not allowed"}},
		{"/guarded", "app.example", "192.0.2.7", "", "13", line{Route: "/guarded", Status: 403, Reason: "not allowed"}},
		{"/open", "app.example", "192.0.2.7", "", "8", line{Route: "/open", Status: 426, Reason: "Sec-WebSocket-Version is not 13"}},
		{"/busy", "app.example", "192.0.2.7", "", "8", line{Route: "/busy", Status: 426, Reason: "Sec-WebSocket-Version is not 13"}},
		{"/busy", "app.example", "192.0.2.7", "", "13", line{Route: "/busy", Status: 503, Reason: "server is busy"}},
	} {
		r, err := http.NewRequest("GET", strings.TrimSuffix(h.URLs("http")[0], "/")+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = test.host
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": test.version,
			"X-Forwarded-For": test.client, "Origin": test.origin,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		test.want.Msg = "request refused"
		want = append(want, test.want)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var got []line
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Status == 0 {
			continue
		}
		if l.Remote == "" {
			t.Errorf("nobody is refused: %s", text)
		}
		l.Remote = ""
		got = append(got, l)
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%+v, want\n%+v", got, want)
	}
}

// A flood of refusals is no flood of lines.
func TestALogIsNotFlooded(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	var log strings.Builder
	h, stop := runLogged(t, c, slog.New(slog.NewTextHandler(&log, nil)))
	const n = 20 * refusalsLogged
	for range n {
		_, _, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], &wsframe.DialOptions{Header: http.Header{"Origin": {"https://evil.test"}}})
		if err == nil {
			t.Fatal("accepted")
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(log.String(), "request refused")
	if lines < 2*refusalsLogged || lines >= n {
		t.Errorf("%d lines for %d refusals", lines, n)
	}
	if want := `"origin not allowed"=400`; !strings.Contains(log.String(), want) {
		t.Errorf("no %s:\n%s", want, log.String())
	}
}

func TestTheAdminAddressTellsNothingToPagesOfOthers(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	c.Admin = "127.0.0.1:0"
	h, _ := run(t, c)
	for _, test := range []struct {
		path, host string
		want       int
	}{
		{"healthz", "", 200}, {"metrics", "", 200}, {"metrics", "localhost", 200},
		{"metrics", "evil.test", 421}, {"", "", 404},
	} {
		req, err := http.NewRequest("GET", h.AdminURL()+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = test.host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("%s for %q: %d, want %d", test.path, test.host, resp.StatusCode, test.want)
		}
	}
	if got := status(t, h, "/metrics"); got == 200 {
		t.Error("everybody can read the counters")
	}
	c2 := routes(stdioRoute("/", "cat"))
	c2.Listen = c.Listen
	before := h.AdminURL()
	if err := h.Reload(c2); err != nil {
		t.Fatal(err)
	}
	if h.AdminURL() != "" {
		t.Error("the address is still there")
	}
	if resp, err := http.Get(before + "healthz"); err == nil {
		resp.Body.Close()
		t.Error("and it answers")
	}
}
