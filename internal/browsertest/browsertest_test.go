package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProblemsOfAPageAreNoticed(t *testing.T) {
	for _, tt := range []struct{ name, policy, script, want string }{
		{"an exception", "", `throw new Error("oops")`, "oops"},
		{"a promise nobody waits for", "", `Promise.reject(new Error("oops"))`, "oops"},
		{"a violation of the policy", "default-src 'none'", `1`, "Content Security Policy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				if tt.policy != "" {
					w.Header().Set("Content-Security-Policy", tt.policy)
				}
				fmt.Fprintf(w, `<link rel="icon" href="data:,"><p>text</p><script>%s</script>`, tt.script)
			}))
			defer server.Close()
			p := New(t).Open(t, server.URL)
			p.Wait("true")
			if problems := strings.Join(p.Problems(), "\n"); !strings.Contains(problems, tt.want) {
				t.Errorf("problems are %q, want one with %q", problems, tt.want)
			}
		})
	}
}
