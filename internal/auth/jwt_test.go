package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	rsaPair, _   = rsa.GenerateKey(rand.Reader, 2048)
	otherRSA, _  = rsa.GenerateKey(rand.Reader, 2048)
	ecPair, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384Pair, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, edPair, _ = ed25519.GenerateKey(rand.Reader)
	hmacSecret   = []byte("0123456789abcdef0123456789abcdef")
)

func publicPEM(t *testing.T, keys ...crypto.Signer) string {
	t.Helper()
	var b strings.Builder
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	return b.String()
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk describes a public key.
func jwk(t *testing.T, id string, k crypto.Signer) map[string]string {
	t.Helper()
	m := map[string]string{"kid": id, "use": "sig"}
	switch k := k.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", k.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	return m
}

func keySet(t *testing.T, keys ...map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// signed returns a token of claims that are good, but for changes; a claim of nil is left out.
func signed(t *testing.T, method jwt.SigningMethod, key any, changes jwt.MapClaims, header ...string) string {
	t.Helper()
	claims := jwt.MapClaims{
		"sub": "alice", "aud": "wspawn", "iss": "https://issuer.test", "exp": time.Now().Add(time.Hour).Unix(),
		"email": "a@b.test", "level": 7, "admin": true, "groups": []string{"x", "y"},
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(method, claims)
	for i := 0; i+1 < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newJWT(t *testing.T, c JWTConfig) *JWT {
	t.Helper()
	j, err := NewJWT(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTokens(t *testing.T) {
	public := publicPEM(t, rsaPair, ecPair, edPair)
	keys := JWTConfig{KeyFile: write(t, "keys", public), Audience: []string{"other", "wspawn"}, Issuer: "https://issuer.test"}
	secret := JWTConfig{SecretFile: write(t, "secret", string(hmacSecret)+"\r\n")}
	only := keys
	only.Algorithms = []string{"ES256"}
	lax := keys
	lax.Forever = true
	email := keys
	email.User = "email"
	set := JWTConfig{KeyFile: write(t, "set", keySet(t, jwk(t, "r", rsaPair), jwk(t, "e", ecPair), jwk(t, "e3", ec384Pair), jwk(t, "ed", edPair), map[string]string{"kty": "oct", "k": b64(hmacSecret)}))}
	pinned := jwk(t, "r", rsaPair)
	pinned["alg"] = "RS512"
	pinnedSet := JWTConfig{KeyFile: write(t, "pinned", keySet(t, pinned))}

	now := time.Now()
	hs, rs, es := jwt.SigningMethodHS256, jwt.SigningMethodRS256, jwt.SigningMethodES256
	good := signed(t, rs, rsaPair, nil)
	parts := strings.Split(good, ".")
	tests := []struct {
		name   string
		config JWTConfig
		token  string
		want   string // the user, or the reason with status 401
	}{
		{"RS256", keys, good, "alice"},
		{"PS384", keys, signed(t, jwt.SigningMethodPS384, rsaPair, nil), "alice"},
		{"ES256", keys, signed(t, es, ecPair, nil), "alice"},
		{"EdDSA", keys, signed(t, jwt.SigningMethodEdDSA, edPair, nil), "alice"},
		{"HS256", secret, signed(t, hs, hmacSecret, nil), "alice"},
		{"a key of a set by its name", set, signed(t, rs, rsaPair, nil, "kid", "r"), "alice"},
		{"a key of a set without its name", set, signed(t, jwt.SigningMethodES384, ec384Pair, nil), "alice"},
		{"an Ed25519 key of a set", set, signed(t, jwt.SigningMethodEdDSA, edPair, nil, "kid", "ed"), "alice"},
		{"the name of another key of the set", set, signed(t, rs, rsaPair, nil, "kid", "e"), "unknown key"},
		{"a name that is not in the set", set, signed(t, rs, rsaPair, nil, "kid", "nobody"), "unknown key"},
		{"a secret in a set", set, signed(t, hs, hmacSecret, nil), "wrong signature"},
		{"another algorithm than that of the key", pinnedSet, signed(t, rs, rsaPair, nil, "kid", "r"), "unknown key"},
		{"the algorithm of the key", pinnedSet, signed(t, jwt.SigningMethodRS512, rsaPair, nil, "kid", "r"), "alice"},
		{"another user claim", email, good, "a@b.test"},
		{"clocks that differ", keys, signed(t, rs, rsaPair, jwt.MapClaims{"exp": now.Add(-10 * time.Second).Unix()}), "alice"},
		{"two audiences", keys, signed(t, rs, rsaPair, jwt.MapClaims{"aud": []string{"x", "wspawn"}}), "alice"},
		{"no expiry, allowed", lax, signed(t, rs, rsaPair, jwt.MapClaims{"exp": nil}), "alice"},

		{"none", keys, signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "wrong signature"},
		{"none and a secret", secret, signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "wrong signature"},
		{"the public key as a secret", keys, signed(t, hs, []byte(public), nil), "wrong signature"},
		{"an algorithm that is not pinned", only, good, "wrong signature"},
		{"an algorithm that does not fit the secret", secret, good, "wrong signature"},
		{"another key", keys, signed(t, rs, otherRSA, nil), "wrong signature"},
		{"another secret", secret, signed(t, hs, []byte("x"), nil), "wrong signature"},
		{"a curve that there is no key of", keys, signed(t, jwt.SigningMethodES384, ec384Pair, nil), "unknown key"},
		{"an extension that has to be understood", keys, signed(t, rs, rsaPair, nil, "crit", "b64", "b64", "x"), "needs an extension"},
		{"a name of a key that is a path", set, signed(t, rs, rsaPair, nil, "kid", "../../../dev/null"), "unknown key"},
		{"a token that brings its key", set, signed(t, rs, otherRSA, nil, "kid", "r", "jku", "https://evil.test/", "x5u", "https://evil.test/"), "wrong signature"},
		{"a signature that was cut off", keys, parts[0] + "." + parts[1] + ".", "wrong signature"},
		{"claims that were changed", keys, parts[0] + "." + b64([]byte(`{"sub":"root","exp":99999999999}`)) + "." + parts[2], "wrong signature"},
		{"expired", keys, signed(t, rs, rsaPair, jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), "expired"},
		{"expired, allowed to have no expiry", lax, signed(t, rs, rsaPair, jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), "expired"},
		{"no expiry", keys, signed(t, rs, rsaPair, jwt.MapClaims{"exp": nil}), "lacks a claim"},
		{"not yet", keys, signed(t, rs, rsaPair, jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()}), "not valid yet"},
		{"another audience", keys, signed(t, rs, rsaPair, jwt.MapClaims{"aud": "elsewhere"}), "for somebody else"},
		{"no audience", keys, signed(t, rs, rsaPair, jwt.MapClaims{"aud": nil}), "lacks a claim"},
		{"another issuer", keys, signed(t, rs, rsaPair, jwt.MapClaims{"iss": "https://evil.test"}), "from somebody else"},
		{"no issuer", keys, signed(t, rs, rsaPair, jwt.MapClaims{"iss": nil}), "lacks a claim"},
		{"no user", keys, signed(t, rs, rsaPair, jwt.MapClaims{"sub": nil}), "who the user is"},
		{"an empty user", keys, signed(t, rs, rsaPair, jwt.MapClaims{"sub": ""}), "who the user is"},
		{"garbage", keys, "garbage", "malformed"},
		{"three dots", keys, "..", "malformed"},
		{"very long", keys, strings.Repeat("x", 20_000), "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guard(newJWT(t, tt.config))
			res := g.ask("/", "Authorization: bearer "+tt.token)
			if strings.Contains(g.log.String(), tt.token) {
				t.Errorf("the token is in the log: %s", g.log.String())
			}
			if tt.want == "alice" || tt.want == "a@b.test" {
				g.passes(t, res, tt.want, "Bearer")
				if id := From(g.last.Context()); id.Expires.IsZero() != (tt.config.Forever) {
					t.Errorf("expires %v", id.Expires)
				}
				return
			}
			g.refuses(t, res, 401, tt.want)
			if res.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("challenge %q", res.Header.Get("WWW-Authenticate"))
			}
		})
	}
	g := guard(newJWT(t, keys))
	g.refuses(t, g.ask("/"), 401, "authentication required")
}

func TestWhereTokensAre(t *testing.T) {
	j := newJWT(t, JWTConfig{
		SecretFile: write(t, "secret", string(hmacSecret)), Protocol: "bearer.", Query: "access_token", Cookie: "session",
		Vars: map[string]string{"email": "REMOTE_EMAIL", "level": "LEVEL", "admin": "ADMIN", "groups": "GROUPS", "missing": "MISSING"},
	})
	token := signed(t, jwt.SigningMethodHS256, hmacSecret, nil)
	tests := []struct {
		name, target string
		lines        []string
		uri          string // as programs see it
		header       map[string]string
	}{
		{"the header", "/a?b=c", []string{"Authorization: Bearer " + token}, "/a?b=c", nil},
		{"a subprotocol", "/a", []string{"Sec-WebSocket-Protocol: chat, bearer." + token + ", other"}, "/a", map[string]string{"Sec-Websocket-Protocol": "chat, other"}},
		{"a subprotocol on a line of its own", "/a", []string{"Sec-WebSocket-Protocol: bearer." + token, "Sec-WebSocket-Protocol: chat"}, "/a", map[string]string{"Sec-Websocket-Protocol": "chat"}},
		{"the only subprotocol", "/a", []string{"Sec-WebSocket-Protocol: bearer." + token}, "/a", nil},
		{"a parameter", "/a?x=%20y&access_token=" + token + "&z", nil, "/a?x=%20y&z", nil},
		{"a parameter with an odd spelling", "/a?%61ccess_token=" + token, nil, "/a", nil},
		{"a cookie", "/a", []string{"Cookie: a=b; session=" + token + "; c=d"}, "/a", map[string]string{"Cookie": "a=b; c=d"}},
		{"the only cookie", "/a", []string{"Cookie: session=" + token}, "/a", nil},
		{"everywhere", "/a?access_token=" + token, []string{"Authorization: Bearer " + token, "Cookie: session=" + token, "Sec-WebSocket-Protocol: bearer." + token}, "/a", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guard(j)
			vars := g.passes(t, g.ask(tt.target, tt.lines...), "alice", "Bearer")
			if vars["REQUEST_URI"] != tt.uri {
				t.Errorf("REQUEST_URI is %q", vars["REQUEST_URI"])
			}
			if vars["REMOTE_EMAIL"] != "a@b.test" || vars["LEVEL"] != "7" || vars["ADMIN"] != "true" || vars["GROUPS"] != `["x","y"]` {
				t.Errorf("variables %v", vars)
			}
			if _, ok := vars["MISSING"]; ok {
				t.Error("a claim that is not there became a variable")
			}
			for name, value := range vars {
				if strings.Contains(value, token) {
					t.Errorf("%s has the token", name)
				}
			}
			if len(g.last.Header) != len(tt.header) {
				t.Errorf("header %v", g.last.Header)
			}
			for name, value := range tt.header {
				if got := g.last.Header.Get(name); got != value {
					t.Errorf("%s is %q", name, got)
				}
			}
			if strings.Contains(g.log.String(), token) {
				t.Error("the token is in the log")
			}
		})
	}
	g := guard(newJWT(t, JWTConfig{SecretFile: j.c.SecretFile}))
	g.refuses(t, g.ask("/?access_token="+token, "Cookie: session="+token, "Sec-WebSocket-Protocol: bearer."+token), 401, "required")
}

func TestBadTokenConfigurations(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(rsaPair)
	if err != nil {
		t.Fatal(err)
	}
	good := write(t, "good", publicPEM(t, rsaPair))
	secret := write(t, "secret", string(hmacSecret))
	short := jwk(t, "e", ecPair)
	short["x"] = short["x"][4:]
	off := jwk(t, "e", ecPair)
	off["x"], off["y"] = off["y"], off["x"]
	tests := []struct {
		name   string
		config JWTConfig
		want   string
	}{
		{"no key", JWTConfig{}, "one of"},
		{"two keys", JWTConfig{KeyFile: good, SecretFile: secret}, "one of"},
		{"no file", JWTConfig{KeyFile: good + "x"}, "no such file"},
		{"an empty file", JWTConfig{KeyFile: write(t, "x", "")}, "neither PEM nor JSON"},
		{"a private key", JWTConfig{KeyFile: write(t, "x", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))}, "not a public key"},
		{"a weak key", JWTConfig{KeyFile: write(t, "x", publicPEM(t, weak))}, "too weak"},
		{"a short secret", JWTConfig{SecretFile: write(t, "x", "hello\n")}, "needs 32"},
		{"an empty set", JWTConfig{KeyFile: write(t, "x", `{"keys":[]}`)}, "no key"},
		{"no set", JWTConfig{KeyFile: write(t, "x", `{"keys":`)}, "unexpected end"},
		{"a key that was cut", JWTConfig{KeyFile: write(t, "x", keySet(t, short))}, "wrong length"},
		{"a point that is not on the curve", JWTConfig{KeyFile: write(t, "x", keySet(t, off))}, "point"},
		{"public keys as a secret", JWTConfig{SecretFile: good}, "not a secret"},
		{"a key set as a secret", JWTConfig{SecretFile: write(t, "x", keySet(t, jwk(t, "r", rsaPair)))}, "not a secret"},
		{"no URL", JWTConfig{KeyURL: "file:///etc/passwd"}, "not an http or https URL"},
		{"none", JWTConfig{KeyFile: good, Algorithms: []string{"none"}}, "not one of"},
		{"an algorithm for secrets", JWTConfig{KeyFile: good, Algorithms: []string{"HS256"}}, "not one of"},
		{"an algorithm for keys", JWTConfig{SecretFile: secret, Algorithms: []string{"RS256"}}, "not one of"},
		{"a bad variable", JWTConfig{KeyFile: good, Vars: map[string]string{"a": "A-B"}}, "no name of a variable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewJWT(tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestKeysFromAServer(t *testing.T) {
	var asked atomic.Int32
	var answer atomic.Value
	answer.Store(keySet(t, jwk(t, "one", rsaPair)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if s := answer.Load().(string); s == "" {
			w.WriteHeader(http.StatusInternalServerError)
		} else {
			fmt.Fprint(w, s)
		}
	}))
	defer srv.Close()
	transport := &http.Transport{DisableKeepAlives: true}
	j := newJWT(t, JWTConfig{KeyURL: srv.URL, Transport: transport})
	g := guard(j)
	one := "Authorization: Bearer " + signed(t, jwt.SigningMethodRS256, rsaPair, nil, "kid", "one")
	two := "Authorization: Bearer " + signed(t, jwt.SigningMethodES256, ecPair, nil, "kid", "two")
	for range 5 {
		g.passes(t, g.ask("/", one), "alice", "Bearer")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	g.refuses(t, g.ask("/", two), 401, "unknown key") // and is not asked for within 30 s
	u := j.keys.(*keyURL)
	u.asked = time.Now().Add(-time.Minute)
	answer.Store(keySet(t, jwk(t, "one", rsaPair), jwk(t, "two", ecPair)))
	g.passes(t, g.ask("/", two), "alice", "Bearer")
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	// The server is down, and the keys are older than the cache time: they still count, for a day.
	answer.Store("")
	u.asked, u.got = time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)
	g.passes(t, g.ask("/", two), "alice", "Bearer")
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
	u.asked, u.got = time.Now().Add(-time.Hour), time.Now().Add(-25*time.Hour)
	g.refuses(t, g.ask("/", two), 503, "not possible now")

	for _, bad := range []string{"", "nonsense", `{"keys":[]}`, strings.Repeat(" ", 2<<20)} {
		answer.Store(bad)
		g := guard(newJWT(t, JWTConfig{KeyURL: srv.URL, Transport: transport}))
		g.refuses(t, g.ask("/", one), 503, "not possible now")
	}
	srv.Close()
	g = guard(newJWT(t, JWTConfig{KeyURL: srv.URL, Transport: transport}))
	g.refuses(t, g.ask("/", one), 503, "not possible now")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A server that does not answer must not hold up clients whose key is known, and others not for long.
func TestAKeyServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJWT(t, JWTConfig{KeyURL: "http://keys.test/", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		g := guard(j)
		token := "Authorization: Bearer " + signed(t, jwt.SigningMethodRS256, rsaPair, nil, "kid", "one")
		start := time.Now()
		g.refuses(t, g.ask("/", token), 503, "not possible now")
		if d := time.Since(start); d != keysTimeout {
			t.Errorf("it took %v", d)
		}
		u := j.keys.(*keyURL)
		u.keys, u.got = []publicKey{{id: "one", public: rsaPair.Public()}}, time.Now().Add(-time.Hour)
		time.Sleep(time.Minute)
		done := make(chan struct{})
		go func() {
			defer close(done)
			guard(j).ask("/", token)
		}()
		synctest.Wait() // it asks
		start = time.Now()
		g.passes(t, g.ask("/", token), "alice", "Bearer")
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		<-done
	})
}
