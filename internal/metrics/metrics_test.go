package metrics

import (
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	return string(text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, text)
		}
	}
}

func TestWhatPrometheusSees(t *testing.T) {
	m := New(func() Now {
		return Now{Sessions: map[string]int{"/": 2, "/a": 0}, Waiting: 3, Processes: 5, Workers: map[string]int{"p": 4}}
	})
	m.Opened("/")
	m.Closed("/", 1008)
	m.Refused("/", 400, "a subprotocol is needed: a, b")
	m.Refused("/", 400, "a subprotocol is needed: a, b")
	m.Refused("", 421, "no such host")
	m.Refused("/", 403, "a backend may say \xff")
	expect(t, scrape(t, m),
		`wspawn_sessions{route="/"} 2`, `wspawn_sessions{route="/a"} 0`, `wspawn_sessions_waiting 3`, `wspawn_processes 5`,
		`wspawn_pool_workers{pool="p"} 4`, `wspawn_sessions_total{route="/"} 1`, `wspawn_closed_total{code="1008",route="/"} 1`,
		`wspawn_refused_total{reason="a subprotocol is needed",route="/",status="400"} 2`,
		`wspawn_refused_total{reason="no such host",route="",status="421"} 1`,
		`wspawn_refused_total{reason="a backend may say �",route="/",status="403"} 1`, "# TYPE go_goroutines gauge")
}

// A backend that makes up reasons does not take memory without bound.
func TestReasonsAreBounded(t *testing.T) {
	m := New(func() Now { return Now{} })
	for i := range 10 * maxReasons {
		m.Refused("/", 403, fmt.Sprint("reason ", i))
	}
	text := scrape(t, m)
	expect(t, text, fmt.Sprintf(`wspawn_refused_total{reason="other",route="/",status="403"} %d`, 9*maxReasons))
	if n := strings.Count(text, "wspawn_refused_total{"); n != maxReasons+1 {
		t.Errorf("%d reasons", n)
	}
}

func TestALineSaysWhatWasRefused(t *testing.T) {
	m := New(func() Now { return Now{} })
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	if m.LogRefused(log); out.Len() > 0 {
		t.Errorf("nothing was refused, and the log has %s", out.String())
	}
	m.Refused("/a", 403, "no")
	m.Refused("/b", 403, "no")
	m.Refused("/b", 429, "too many")
	m.LogRefused(log)
	if want := `msg="requests refused since the start" no=2 "too many"=1`; !strings.Contains(out.String(), want) {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
