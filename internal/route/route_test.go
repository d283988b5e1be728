package route

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// say answers with the name of a route and the named parts.
func say(r Route) Route {
	r.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, r.Name)
		for _, p := range Parts(r.Path) {
			fmt.Fprintf(w, " %s=%s", p, req.PathValue(p))
		}
	})
	return r
}

func ask(t *Table, method, host, path string) string {
	r := httptest.NewRequest(method, "http://h/", nil)
	r.Host = host
	r.URL.Path, r.URL.RawPath, _ = strings.Cut(path, " raw ")
	w := httptest.NewRecorder()
	t.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code)
	}
	b, _ := io.ReadAll(w.Body)
	return string(b)
}

func TestMostSpecificRouteAnswersInAnyOrder(t *testing.T) {
	routes := []Route{
		{Name: "root", Path: "/"},
		{Name: "chat", Path: "/chat"},
		{Name: "files", Path: "/files/"},
		{Name: "deep", Path: "/files/deep/"},
		{Name: "room", Path: "/rooms/{room}"},
		{Name: "lobby", Path: "/rooms/lobby"},
		{Name: "rest", Path: "/rest/{more...}"},
		{Name: "php", Path: "/app/", Suffixes: []string{".php"}},
		{Name: "app", Path: "/app/"},
		{Name: "tar", Path: "/app/", Suffixes: []string{".gz", ".tar.gz"}},
		{Name: "post", Path: "/form", Methods: []string{"POST", "PUT"}},
		{Name: "digits", Path: "/id/{id}", Match: map[string]*regexp.Regexp{"id": regexp.MustCompile(`[0-9]+`)}},
		{Name: "host", Path: "/chat", Hosts: []string{"Example.com"}},
		{Name: "below", Path: "/chat", Hosts: []string{"*.example.com"}},
		{Name: "deeper", Path: "/", Hosts: []string{"*.a.example.com"}},
	}
	for i := range routes {
		routes[i] = say(routes[i])
	}
	backwards := slices.Clone(routes)
	slices.Reverse(backwards)
	for order, routes := range map[string][]Route{"as written": routes, "backwards": backwards} {
		table, err := New(routes)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ method, host, path, want string }{
			{"GET", "h", "/", "root"},
			{"GET", "h", "/nothing/else", "root"},
			{"GET", "h", "/chat", "chat"},
			{"GET", "h", "/chat/", "root"},
			{"GET", "h", "/chat/below", "root"},
			{"GET", "h", "/files", "files"},
			{"POST", "h", "/files", "files"},
			{"GET", "h", "/files/", "files"},
			{"GET", "h", "/files/a/b", "files"},
			{"GET", "h", "/files/deep", "deep"},
			{"GET", "h", "/files/deep/x", "deep"},
			{"GET", "h", "/files/../chat", "chat"},
			{"GET", "h", "//chat", "chat"},
			{"GET", "h", "/files/./deep//x", "deep"},
			{"GET", "h", "/rooms/lobby", "lobby"},
			{"GET", "h", "/rooms/blue", "room room=blue"},
			{"GET", "h", "/rooms/b.l-u_e", "room room=b.l-u_e"},
			{"GET", "h", "/rooms/-rf", "404"},
			{"GET", "h", "/rooms/.git", "404"},
			{"GET", "h", "/rooms/a b", "404"},
			{"GET", "h", "/rooms/a/b raw /rooms/a%2Fb", "404"},
			{"GET", "h", "/rooms/a/b", "root"},
			{"GET", "h", "/rest/a/b/c", "rest more=a/b/c"},
			{"GET", "h", "/rest/", "rest more="},
			{"GET", "h", "/app/index.php", "php"},
			{"GET", "h", "/app/index.php/path/info", "php"},
			{"GET", "h", "/app/x.tar.gz", "tar"},
			{"GET", "h", "/app/x.gz", "tar"},
			{"GET", "h", "/app/other", "app"},
			{"GET", "h", "/id/123", "digits id=123"},
			{"GET", "h", "/id/12x", "404"},
			{"POST", "h", "/form", "post"},
			{"PUT", "h", "/form", "post"},
			{"GET", "h", "/form", "root"},
			{"GET", "example.com", "/chat", "host"},
			{"GET", "EXAMPLE.com.:8080", "/chat", "host"},
			{"GET", "example.com", "/", "root"},
			{"GET", "x.example.com", "/chat", "below"},
			{"GET", "x.y.example.com:1", "/chat", "below"},
			{"GET", "x.a.example.com", "/chat", "deeper"},
			{"GET", "x.a.example.com", "/rooms/lobby", "deeper"},
			{"GET", "notexample.com", "/chat", "chat"},
			{"GET", "[::1]:80", "/chat", "chat"},
		} {
			if got := ask(table, test.method, test.host, test.path); got != test.want {
				t.Errorf("%s: %s %s%s: got %s, want %s", order, test.method, test.host, test.path, got, test.want)
			}
		}
	}
}

func TestMethodThatNoRouteHasIsRefused(t *testing.T) {
	table, err := New([]Route{say(Route{Name: "post", Path: "/form", Methods: []string{"POST"}})})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(table, "GET", "h", "/form"); got != "405" {
		t.Errorf("got %s, want 405", got)
	}
	if got := ask(table, "GET", "h", "/"); got != "404" {
		t.Errorf("got %s, want 404", got)
	}
}

func TestRoutesForTheSameRequestsAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		routes []Route
		a, b   int
	}{
		{"twice the same path", []Route{{Path: "/x"}, {Path: "/y"}, {Path: "/x"}}, 0, 2},
		{"twice the same host", []Route{{Path: "/x", Hosts: []string{"a", "b"}}, {Path: "/x", Hosts: []string{"B"}}}, 0, 1},
		{"twice the same suffix", []Route{{Path: "/", Suffixes: []string{".php"}}, {Path: "/", Suffixes: []string{".cgi", ".php"}}}, 0, 1},
		{"twice the same method", []Route{{Path: "/", Methods: []string{"GET"}}, {Path: "/", Methods: []string{"POST", "GET"}}}, 0, 1},
		{"neither is more specific", []Route{{Path: "/{a}/x"}, {Path: "/x/{b}"}}, 0, 1},
		{"other names of the same parts", []Route{{Path: "/{a}"}, {Path: "/{b}"}}, 0, 1},
	} {
		for i := range test.routes {
			test.routes[i] = say(test.routes[i])
		}
		_, err := New(test.routes)
		var c *ConflictError
		if !errors.As(err, &c) || c.A != test.a || c.B != test.b {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := New([]Route{say(Route{Path: "/x", Hosts: []string{"a"}}), say(Route{Path: "/x"}), say(Route{Path: "/x", Hosts: []string{"*.a"}})}); err != nil {
		t.Errorf("other hosts: %v", err)
	}
}

func TestBadPatternsAreRefused(t *testing.T) {
	const named = ": a named part is written /{name}, or /{name...} at the end; a name has letters, digits and _, and is there once"
	for p, reason := range map[string]string{
		"": " does not begin with a slash", "chat": " does not begin with a slash", "http://x/a": " does not begin with a slash",
		"/a//b": ` is the same as "/a/b": write that`, "/a/../b": ` is the same as "/b": write that`,
		"/{": named, "/{}": named, "/{a}{b}": named, "/x{a}": named, "/{a...}/b": named, "/{a}/{a}": named, "/{a-b}": named,
		"/x?y=1": ": a path ends in front of the ?: leave that and what follows it away",
		"/x#y":   ": a path ends in front of the #: leave that and what follows it away",
		"/a/*":   ": a * is no pattern here: /a/ is for everything below it, and /a/{name} for one part",
		"/a b":   ": write %20 instead of ' '", "/\x1b": `: write %1B instead of '\x1b'`,
	} {
		if err := CheckPath(p); err == nil || err.Error() != fmt.Sprintf("path %q%s", p, reason) {
			t.Errorf("%q: %v, want %s", p, err, reason)
		}
	}
	for _, p := range []string{"/", "/{$}", "/{a}/{b...}", "/ä", "/%3F%23%2A%20"} {
		if err := CheckPath(p); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be written as it is can be written in another way.
func TestEscapedCharactersOfPatterns(t *testing.T) {
	table, err := New([]Route{{Path: "/%3F%2A%20", Handler: http.NotFoundHandler()}, {Path: "/", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if table.ServeHTTP(w, httptest.NewRequest("GET", "/%3f*%20", nil)); w.Code != 404 {
		t.Error("another route has it")
	}
}

func TestPrefixIsWhatThePatternStandsFor(t *testing.T) {
	for _, test := range []struct{ pattern, path, prefix, rest string }{
		{"/", "/", "", "/"},
		{"/", "/a/b", "", "/a/b"},
		{"/chat", "/chat", "/chat", ""},
		{"/chat/", "/chat", "/chat", ""},
		{"/chat/", "/chat/", "/chat", "/"},
		{"/chat/", "/chat/a/b", "/chat", "/a/b"},
		{"/a/{b}/", "/a/x/y", "/a/x", "/y"},
		{"/a/{b}", "/a/x", "/a/x", ""},
		{"/a/{b...}", "/a/x/y", "/a", "/x/y"},
		{"/a/{b...}", "/a/", "/a", "/"},
	} {
		if prefix, rest := Prefix(test.pattern, test.path); prefix != test.prefix || rest != test.rest {
			t.Errorf("%s of %s: %q and %q, want %q and %q", test.pattern, test.path, prefix, rest, test.prefix, test.rest)
		}
	}
}

// rejectReason is spelled as package wsframe does.
var rejectReason = "X-WebSocket-Reject-Reason"

// Who asks for a WebSocket is told why there is none, also where ordinary requests learn of other methods.
func TestRefusalsOfWebSocketsSayWhy(t *testing.T) {
	table, err := New([]Route{{Path: "/post", Methods: []string{"POST"}, Handler: http.NotFoundHandler()}, {Path: "/{part}/x", Handler: http.NotFoundHandler()}})
	if err != nil {
		t.Fatal(err)
	}
	for path, plain := range map[string]int{"/post": 405, "/nothing": 404, "/-bad/x": 404} {
		for _, upgrade := range []bool{false, true} {
			r := httptest.NewRequest("GET", path, nil)
			want, reason := plain, []string(nil)
			if upgrade {
				r.Header.Set("Upgrade", "websocket")
				want, reason = 404, []string{"there is nothing at this path"}
			}
			w := httptest.NewRecorder()
			table.ServeHTTP(w, r)
			if got := w.Header()[rejectReason]; w.Code != want || !slices.Equal(got, reason) {
				t.Errorf("%s, upgrade %v: %d %q, want %d %q", path, upgrade, w.Code, got, want, reason)
			}
		}
	}
}
