package origin

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func entries(t *testing.T, list ...string) []Entry {
	t.Helper()
	var es []Entry
	for _, s := range list {
		e, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, e)
	}
	return es
}

func loose(list ...string) []Entry {
	var es []Entry
	for _, s := range list {
		if e, ok := ParseLoose(s); ok {
			es = append(es, e)
		}
	}
	return es
}

func request(host, origin string, secure bool) *http.Request {
	r := &http.Request{Host: host, Header: http.Header{}}
	if origin != "-" {
		r.Header.Set("Origin", origin)
	}
	if secure {
		r.TLS = &tls.ConnectionState{}
	}
	return r
}

func TestDefaultPolicy(t *testing.T) {
	tests := []struct {
		name, host, origin string
		tls, want          bool
	}{
		{name: "no origin", host: "a.test", origin: "-", want: true},
		{name: "empty origin", host: "a.test", origin: "", want: true},
		{name: "same host", host: "a.test", origin: "http://a.test", want: true},
		{name: "same host and port", host: "a.test:8080", origin: "http://a.test:8080", want: true},
		{name: "case does not matter", host: "A.test", origin: "http://a.TEST", want: true},
		{name: "default port spelt out by the page", host: "a.test", origin: "http://a.test:80", want: true},
		{name: "default port spelt out by the client", host: "a.test:80", origin: "http://a.test", want: true},
		{name: "secure page behind a proxy that ends TLS", host: "a.test", origin: "https://a.test", want: true},
		{name: "secure page over TLS", host: "a.test", origin: "https://a.test", tls: true, want: true},
		{name: "plain page over TLS", host: "a.test", origin: "http://a.test", tls: true, want: false},
		{name: "plain page over TLS with the secure port", host: "a.test:443", origin: "http://a.test:443", tls: true, want: false},
		{name: "IPv6", host: "[::1]:80", origin: "http://[::1]", want: true},
		{name: "IPv6 with another port", host: "[::1]:80", origin: "http://[::1]:81", want: false},
		{name: "other port", host: "a.test:8080", origin: "http://a.test:8081", want: false},
		{name: "other host", host: "a.test", origin: "http://b.test", want: false},
		{name: "subdomain", host: "a.test", origin: "http://x.a.test", want: false},
		{name: "suffix that is no subdomain", host: "a.test", origin: "http://xa.test", want: false},
		{name: "prefix", host: "a.test", origin: "http://a.test.evil", want: false},
		{name: "user part does not count as host", host: "a.test", origin: "http://a.test@evil", want: false},
		{name: "a user", host: "a.test", origin: "http://evil.test@a.test", want: false},
		{name: "an empty user", host: "a.test", origin: "http://@a.test", want: false},
		{name: "a user in the Host", host: "evil.test@a.test", origin: "http://a.test", want: false},
		{name: "an escaped dot", host: "a.test", origin: "http://a%2etest", want: false},
		{name: "a backslash", host: "a.test", origin: "http://a.test\\.evil.test", want: false},
		{name: "a dot at the end of both", host: "a.test.", origin: "http://a.test.", want: true},
		{name: "a dot at the end of one", host: "a.test", origin: "http://a.test.", want: false},
		{name: "an international name", host: "xn--bcher-kva.test", origin: "http://xn--bcher-kva.test", want: true},
		{name: "a zone", host: "[fe80::1]", origin: "http://[fe80::1%25eth0]", want: false},
		{name: "null", host: "a.test", origin: "null", want: false},
		{name: "file", host: "a.test", origin: "file://", want: false},
		{name: "extension", host: "a.test", origin: "chrome-extension://a.test", want: false},
		{name: "no origin at all in the value", host: "a.test", origin: "a.test", want: false},
		{name: "garbage", host: "a.test", origin: "http://[::1", want: false},
		{name: "host with a bad port", host: "a.test:x", origin: "http://a.test", want: false},
		{name: "no host", host: "", origin: "http://", want: false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Policy
			check(t, &p, request(tt.host, tt.origin, tt.tls), tt.want)
		})
	}
}

func check(t *testing.T, p *Policy, r *http.Request, want bool) {
	t.Helper()
	err := p.Check(r)
	if (err == nil) != want {
		t.Fatalf("got %v, want admitted: %v", err, want)
	}
	var oe *Error
	if err != nil && !errors.As(err, &oe) {
		t.Fatalf("%v is a %T", err, err)
	}
	if o := strings.Join(r.Header.Values("Origin"), ", "); err != nil && o != "" && oe.Origin != o {
		t.Fatalf("the error is about %q, not about %q", oe.Origin, o)
	}
}

func TestLists(t *testing.T) {
	tests := []struct {
		name, entry, origin string
		want                bool
	}{
		{"exact", "https://a.test", "https://a.test", true},
		{"exact, default port spelt out", "https://a.test", "https://a.test:443", true},
		{"exact, default port in the entry", "https://a.test:443", "https://a.test", true},
		{"exact, other port", "https://a.test", "https://a.test:8443", false},
		{"exact, other scheme", "https://a.test", "http://a.test", false},
		{"exact, other scheme with its port", "https://a.test", "http://a.test:443", false},
		{"exact, case", "HTTPS://A.Test", "https://a.test", true},
		{"no scheme, http", "a.test", "http://a.test", true},
		{"no scheme, https", "a.test", "https://a.test", true},
		{"no scheme, port", "a.test", "http://a.test:81", false},
		{"no scheme, other scheme", "a.test", "ftp://a.test", false},
		{"port", "a.test:81", "http://a.test:81", true},
		{"port, missing in the origin", "a.test:81", "http://a.test", false},
		{"port 80 and https", "a.test:80", "https://a.test", false},
		{"any port", "a.test:*", "https://a.test:4711", true},
		{"any port, none given", "a.test:*", "https://a.test", true},
		{"any port, other host", "a.test:*", "https://b.test:4711", false},
		{"pattern", "*.a.test", "https://x.a.test", true},
		{"pattern, deep", "*.a.test", "https://y.x.a.test", true},
		{"pattern, the host itself", "*.a.test", "https://a.test", false},
		{"pattern, suffix without a dot", "*.a.test", "https://xa.test", false},
		{"pattern, only a dot", "*.a.test", "https://.a.test", false},
		{"pattern, more behind", "*.a.test", "https://x.a.test.evil", false},
		{"pattern, port", "*.a.test", "https://x.a.test:81", false},
		{"pattern with scheme and any port", "https://*.a.test:*", "https://x.a.test:81", true},
		{"pattern with scheme, other scheme", "https://*.a.test", "http://x.a.test", false},
		{"pattern, case", "*.A.test", "https://x.a.TEST", true},
		{"pattern, path", "https://*.a.test", "https://evil.test/.a.test", false},
		{"pattern, port that looks like a host", "https://*.a.test", "https://evil.test:1.a.test", false},
		{"pattern, user that looks like a host", "https://*.a.test:*", "https://x.a.test@evil.test", false},
		{"star in the middle", "https://a.*.test", "https://a.b.c.test", true},
		{"star in the middle, port", "https://a.*.test", "https://a.b.test:81", false},
		{"star in the middle, default port spelt out", "https://a.*.test", "https://a.b.test:443", true},
		{"star in the middle, case", "https://A.*.test", "https://a.B.TEST", true},
		{"star in the middle of a host without scheme", "a.*.test:*", "http://a.b.test:81", true},
		{"star in the middle of a host without scheme, other scheme", "a.*.test:*", "ftp://a.b.test", false},
		{"star before a name, as InspIRCd", "https://*a.test", "https://evila.test", true},
		{"star before a name, the name", "https://*a.test", "https://a.test", true},
		{"star before a name, only a dot", "https://*a.test", "https://.a.test", false},
		{"two stars", "https://*.x.*", "https://a.x.test", true},
		{"two stars, none of the first", "https://*.x.*", "https://x.test", false},
		{"question mark", "https://a?.test", "https://ab.test", true},
		{"question mark, nothing", "https://a?.test", "https://a.test", false},
		{"question mark, two", "https://a?.test", "https://abc.test", false},
		{"port pattern", "http://a.test:80??", "http://a.test:8042", true},
		{"port pattern, short", "http://a.test:80??", "http://a.test", false},
		{"port pattern, default", "http://a.test:8*", "http://a.test", true},
		{"scheme pattern", "http*://a.test", "https://a.test", true},
		{"scheme pattern, other port", "http*://a.test", "https://a.test:80", false},
		{"scheme pattern, other scheme", "http*://a.test", "ftp://a.test", false},
		{"any scheme", "*://a.test", "ftp://a.test", true},
		{"any scheme and host, none", "*://*:*", "file://", false},
		{"any host", "https://*", "https://b.test", true},
		{"any host, plain", "https://*", "http://b.test", false},
		{"address pattern", "http://192.168.*.*:*", "http://192.168.7.1:8080", true},
		{"address pattern, a name that looks so", "http://192.168.*.?", "http://192.168.evil.test", false},
		{"IPv6 pattern", "http://[fd00:*]:81", "http://[fd00::1]:81", true},
		{"a pattern does not admit null", "*://n*", "null", false},
		{"IPv6", "http://[::1]:81", "http://[::1]:81", true},
		{"IPv6, other port", "http://[::1]:81", "http://[::1]", false},
		{"extension", "chrome-extension://abc", "chrome-extension://abc", true},
		{"extension, other", "chrome-extension://abc", "chrome-extension://abd", false},
		{"null", "null", "null", true},
		{"null is no host", "null", "http://null", false},
		{"a host does not admit null", "a.test", "null", false},
		{"the server's own pages stay welcome", "a.test", "http://self.test", true},
		{"no origin stays welcome", "a.test", "-", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Allow: entries(t, tt.entry)}
			check(t, &p, request("self.test", tt.origin, false), tt.want)
		})
	}
}

func TestSwitches(t *testing.T) {
	list := entries(t, "http://a.test", "http://self.test")
	tests := []struct {
		name   string
		p      Policy
		origin string
		want   bool
	}{
		{"any admits others", Policy{Any: true}, "http://b.test", true},
		{"any admits null", Policy{Any: true}, "null", true},
		{"any admits a missing origin", Policy{Any: true}, "-", true},
		{"any does not admit garbage", Policy{Any: true}, "b.test", false},
		{"any beside a list is the list", Policy{Any: true, Allow: list}, "http://b.test", false},
		{"any beside same required is same required", Policy{Any: true, Same: SameRequired}, "http://b.test", false},
		{"same required admits the same", Policy{Same: SameRequired}, "http://self.test", true},
		{"same required refuses null", Policy{Same: SameRequired}, "null", false},
		{"same required and listed: same but not listed", Policy{Same: SameRequired, Allow: entries(t, "http://a.test")}, "http://self.test", false},
		{"same required and listed: listed but not same", Policy{Same: SameRequired, Allow: list}, "http://a.test", false},
		{"same required and listed: both", Policy{Same: SameRequired, Allow: list}, "http://self.test", true},
		{"same ignored: listed", Policy{Same: SameIgnored, Allow: entries(t, "http://a.test")}, "http://a.test", true},
		{"same ignored: same", Policy{Same: SameIgnored, Allow: entries(t, "http://a.test")}, "http://self.test", false},
		{"same ignored and no list admits no page", Policy{Same: SameIgnored}, "http://self.test", false},
		{"missing refused", Policy{RefuseMissing: true}, "-", false},
		{"empty is missing", Policy{RefuseMissing: true}, "", false},
		{"missing refused, page admitted", Policy{RefuseMissing: true}, "http://self.test", true},
		{"case sensitive", Policy{CaseSensitive: true}, "http://SELF.test", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, &tt.p, request("self.test", tt.origin, false), tt.want)
		})
	}
	r := request("self.test", "http://self.test", false)
	r.Header.Add("Origin", "http://self.test")
	check(t, &Policy{Any: true}, r, false)
}

// The rules of websocketd as settings of the same type.
func TestWebsocketdRules(t *testing.T) {
	policy := func(same bool, list ...string) Policy {
		p := Policy{Any: true, Same: SameIgnored, SchemeByTLS: true, CaseSensitive: true, Allow: loose(list...)}
		if same {
			p.Same = SameRequired
		}
		p.RefuseMissing = same || len(list) > 0
		return p
	}
	none, same := policy(false), policy(true)
	tests := []struct {
		name         string
		p            Policy
		host, origin string
		tls, want    bool
	}{
		{"nothing set, missing", none, "h", "-", false, true},
		{"nothing set, empty", none, "h", "", false, true},
		{"nothing set, null", none, "h", "null", false, true},
		{"nothing set, any", none, "h", "http://evil.test", false, true},
		{"nothing set, file", none, "h", "file://", false, true},
		{"nothing set, garbage", none, "h", "evil", false, false},
		{"nothing set, bad URL", none, "h", "http://a b", false, false},
		{"same, missing", same, "h", "-", false, false},
		{"same, null", same, "h", "null", false, false},
		{"same, equal", same, "h:8080", "http://h:8080", false, true},
		{"same, other port", same, "h:8080", "http://h:8081", false, false},
		{"same, default port", same, "h", "http://h", false, true},
		{"same, default port spelt out", same, "h:80", "http://h", false, true},
		{"same, https page and plain server", same, "h", "https://h", false, false},
		{"same, https page and TLS server", same, "h", "https://h", true, true},
		{"same, http page and TLS server", same, "h", "http://h", true, false},
		{"same, scheme is not compared", same, "h:443", "http://h:443", true, true},
		{"same, case counts", same, "h", "http://H", false, false},
		{"list, missing", policy(false, "a.test"), "h", "-", false, false},
		{"list, null", policy(false, "a.test"), "h", "null", false, false},
		{"list, null cannot be listed", policy(false, "null"), "h", "null", false, false},
		{"host, any port", policy(false, "a.test"), "h", "http://a.test:4711", false, true},
		{"host, any scheme", policy(false, "a.test"), "h", "ftp://a.test", false, true},
		{"host, other", policy(false, "a.test"), "h", "http://b.test", false, false},
		{"host, own origin is nothing special", policy(false, "a.test"), "h", "http://h", false, false},
		{"host, case counts", policy(false, "a.test"), "h", "http://A.test", false, false},
		{"host:port exact", policy(false, "a.test:81"), "h", "http://a.test:81", false, true},
		{"host:port, other", policy(false, "a.test:81"), "h", "http://a.test", false, false},
		{"host:80 is 80 only", policy(false, "a.test:80"), "h", "http://a.test:81", false, false},
		{"host:80, http", policy(false, "a.test:80"), "h", "http://a.test", false, true},
		{"host:80, https", policy(false, "a.test:80"), "h", "https://a.test", false, false},
		{"host:443, https", policy(false, "a.test:443"), "h", "https://a.test", false, true},
		{"host:80, unknown scheme", policy(false, "a.test:80"), "h", "ftp://a.test", false, true},
		{"scheme, 443", policy(false, "https://a.test"), "h", "https://a.test", false, true},
		{"scheme, 8443", policy(false, "https://a.test"), "h", "https://a.test:8443", false, true},
		{"scheme, other", policy(false, "https://a.test"), "h", "http://a.test", false, false},
		{"scheme and port", policy(false, "https://a.test:8443"), "h", "https://a.test", false, false},
		{"second entry", policy(false, "a.test", "b.test"), "h", "http://b.test", false, true},
		{"no wildcards", policy(false, "*.a.test"), "h", "http://x.a.test", false, false},
		{"star is no wildcard", policy(false, "*"), "h", "http://x.a.test", false, false},
		{"an entry with a path never matches", policy(false, "http://a.test/"), "h", "http://a.test", false, false},
		{"both, both pass", policy(true, "h"), "h", "http://h", false, true},
		{"both, list fails", policy(true, "a.test"), "h", "http://h", false, false},
		{"both, same fails", policy(true, "a.test"), "h", "http://a.test", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, &tt.p, request(tt.host, tt.origin, tt.tls), tt.want)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "*", "https://", "https://a.test/", "a.test/x", "a.test?x=1", "u@a.test", "a b", "*:*", "*:80", "a.test:x", "https://*.a.test/*", "+*://a.test",
		"a.test:123456", "1x://a.test", "://a.test", "a.test:80:*", "*.[::1]", "[::1", "[a]", "[::1]x", "a\\b", "bücher.test", "https://*.bücher.test", "\u212aa.test"} {
		if e, err := Parse(s); err == nil {
			t.Errorf("%q became %+v", s, e)
		}
	}
	for _, s := range []string{"", "http://", "a:b:c", "[::1"} {
		if e, ok := ParseLoose(s); ok {
			t.Errorf("ParseLoose: %q became %+v", s, e)
		}
	}
}

func TestHasScheme(t *testing.T) {
	for s, want := range map[string]bool{"a.test": false, "http://a.test": true, "null": true, "*.a.test:*": false} {
		if got := entries(t, s)[0].HasScheme(); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	for s, want := range map[string]string{
		"https://a.test": "", "*.a.test": "", "https://*.a.test:*": "", "https://a-*.a.test": "", "*.localhost": "", "a.test:*": "", "http*://a.test": "",
		"https://*": "every site", "*://*:*": "every site", "https://*.*": "every site", "https://*a.test": `evila.test as well; "*.a.test" does not`,
		"*.com": "everybody who", "https://a.*": "everybody who", "https://*.a.te?t": "everybody who", "null": "any page",
	} {
		if got := entries(t, s)[0].Warning(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// As InspIRCd answers: 400 when it cannot tell, 403 when it can.
func TestStatus(t *testing.T) {
	p := Policy{RefuseMissing: true}
	several := request("self.test", "http://self.test", false)
	several.Header.Add("Origin", "http://self.test")
	for _, tt := range []struct {
		r    *http.Request
		want int
	}{
		{request("self.test", "-", false), 400}, {request("self.test", "", false), 400}, {several, 400},
		{request("self.test", "http://b.test", false), 403}, {request("self.test", "null", false), 403}, {request("self.test", "garbage", false), 403},
	} {
		var e *Error
		if err := p.Check(tt.r); !errors.As(err, &e) || e.Status != tt.want {
			t.Errorf("%v: %v", tt.r.Header, err)
		}
	}
	p.Same = SameRequired
	var e *Error
	if err := p.Check(request("self.test", "http://b.test", false)); !errors.As(err, &e) || e.Status != 403 {
		t.Error(err)
	}
}

// Behind a proxy that ends TLS, a page that came over http is foreign as well.
func TestSecureByProxy(t *testing.T) {
	p := Policy{Secure: func(*http.Request) bool { return true }}
	check(t, &p, request("self.test", "http://self.test", false), false)
	check(t, &p, request("self.test", "https://self.test", false), true)
	p.Secure = func(*http.Request) bool { return false }
	check(t, &p, request("self.test", "http://self.test", true), true)
}

func TestErrorsNameTheSettingThatWouldHelp(t *testing.T) {
	tests := []struct {
		name   string
		p      Policy
		origin string
		want   []string
	}{
		{"a page", Policy{}, "http://B.test:81/x", []string{`"http://B.test:81/x"`, `neither the origin of "self.test" nor in the list`, `add "http://B.test:81" to origins`}},
		{"a page, other name of the setting", Policy{Same: SameIgnored, Settings: Settings{Allow: "--origin"}}, "http://[::2]", []string{`add "http://[::2]" to --origin`}},
		{"null", Policy{}, "null", []string{`origin "null"`, `add "null" to origins`}},
		{"same required", Policy{Same: SameRequired, Settings: Settings{Same: "--sameorigin"}}, "http://b.test", []string{"switch off --sameorigin"}},
		{"same required, null", Policy{Same: SameRequired}, "null", []string{"switch off same-origin only"}},
		{"missing", Policy{RefuseMissing: true, Settings: Settings{Missing: "--x"}}, "-", []string{"request without an origin", "switch off --x"}},
		{"no help for garbage", Policy{}, "garbage", []string{`origin "garbage" refused: not an origin`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.p.Check(request("self.test", tt.origin, false))
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %s", err, want)
				}
			}
		})
	}
}

// FuzzParse checks that an entry without a star admits the origin it spells
// and none with a letter more.
func FuzzParse(f *testing.F) {
	f.Add("https://a.test:8443")
	f.Add("*.a.test")
	f.Add("[::1]:*")
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil || !strings.HasPrefix(s, "http") || strings.ContainsAny(s, "*?") || !e.HasScheme() {
			return
		}
		o, err := parseOrigin(s)
		if err != nil {
			return // net/url is stricter about hosts
		}
		if !e.match(o, false) {
			t.Errorf("%q does not admit itself", s)
		}
		o.host += "x"
		if e.match(o, false) {
			t.Errorf("%q admits %q", s, o)
		}
	})
}
