package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestTwoAuthorizationLinesAreOneTooMany(t *testing.T) {
	m, err := NewBasic(BasicConfig{File: write(t, "users", passwords)})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m)
	g.refuses(t, g.ask("/", basic("sha", "secret"), "Authorization: Bearer of-somebody-else"), 400, "more than one")
	g.refuses(t, g.ask("/", "Authorization: Bearer x", basic("sha", "secret")), 400, "more than one")
}

// A user with a login of their own guesses the password of somebody else.
func TestWrongCredentialsCountBesideGoodOnes(t *testing.T) {
	m, err := NewBasic(BasicConfig{File: write(t, "users", passwords)})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m, &fake{id: &Identity{User: "mallory", Type: "T"}})
	g.Failures = &limit.Failures{Burst: 3, Every: time.Hour}
	for range 3 {
		g.passes(t, g.ask("/", basic("sha", "guess")), "mallory", "T")
	}
	g.refuses(t, g.ask("/", basic("sha", "secret")), 429, "too many")

	g = guard(&fake{err: unavailable(errors.New("down"))}, &fake{id: &Identity{User: "alice", Type: "T"}})
	g.Failures = &limit.Failures{Burst: 3, Every: time.Hour}
	for range 10 {
		g.passes(t, g.ask("/"), "alice", "T")
	}
}

// Clients whose token has expired try again and again.
func TestTokensOfYesterdayAreNoGuesses(t *testing.T) {
	g := guard(newJWT(t, JWTConfig{SecretFile: write(t, "secret", string(hmacSecret))}))
	g.Failures = &limit.Failures{Burst: 3, Every: time.Hour}
	ask := func(key any, changes jwt.MapClaims) *http.Response {
		return g.ask("/", "Authorization: Bearer "+signed(t, jwt.SigningMethodHS256, key, changes))
	}
	expired := jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}
	for range 20 {
		g.refuses(t, ask(hmacSecret, expired), 401, "expired")
	}
	g.passes(t, ask(hmacSecret, nil), "alice", "Bearer")
	for range 3 {
		g.refuses(t, ask([]byte("guess"), expired), 401, "wrong signature")
	}
	g.refuses(t, ask(hmacSecret, nil), 429, "too many")
}

func TestNamesOfUsersForgeNoLines(t *testing.T) {
	for _, name := range []string{"alice\nroot", "alice\r", "\x00", "a\x1b[2J", "a\u0085b"} {
		g := guard(&fake{id: &Identity{User: name}})
		g.refuses(t, g.ask("/"), 403, "control characters")
	}
	g := guard(&fake{id: &Identity{User: "Jürgen", Type: "T"}})
	g.passes(t, g.ask("/"), "Jürgen", "T")
}

// A server of a neighbouring name can set a cookie that browsers send first.
func TestSeveralCookiesOfOneName(t *testing.T) {
	j := newJWT(t, JWTConfig{SecretFile: write(t, "secret", string(hmacSecret)), Cookie: "session"})
	alice := "session=" + signed(t, jwt.SigningMethodHS256, hmacSecret, nil)
	mallory := "session=" + signed(t, jwt.SigningMethodHS256, hmacSecret, jwt.MapClaims{"sub": "mallory"})
	for _, lines := range [][]string{
		{"Cookie: " + mallory + "; " + alice}, {"Cookie: " + alice + "; a=b; " + mallory}, {"Cookie: " + alice, "Cookie: " + mallory}, {"Cookie: session=x; " + alice},
	} {
		g := guard(j)
		g.Failures = &limit.Failures{Burst: 1, Every: time.Hour} // which must not become a way to lock alice out
		for range 3 {
			g.refuses(t, g.ask("/", lines...), 401, "several cookies")
		}
	}
	for _, line := range []string{alice + "; " + alice, "session=; " + alice, alice + "; Session=x; xsession=y"} {
		g := guard(j)
		g.passes(t, g.ask("/", "Cookie: "+line), "alice", "Bearer")
		if left := g.last.Header.Get("Cookie"); strings.Contains(left, "eyJ") {
			t.Errorf("left: %q", left)
		}
	}
}

// What some servers believe about the request is not what its client says.
func TestForwardTellsWhatIsAskedFor(t *testing.T) {
	smuggled := []string{
		"X-Original-URL: https://public.test/", "X-Original-Method: GET", "x_original_uri: /public", "X-Rewrite-URL: /public", "X_Real_IP: 127.0.0.1",
		"X_Forwarded_Host: public.test", "X-HTTP-Method-Override: OPTIONS", "Sec_WebSocket_Key: x",
	}
	var got http.Header
	g := asker(t, ForwardConfig{}, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("Remote-User", "alice")
	})
	g.passes(t, g.ask("/private", append(smuggled, "X-Original: stays")...), "alice", "Forward")
	for _, line := range smuggled {
		name, _, _ := strings.Cut(line, ":")
		if v := got.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	if got.Get("X-Original") == "" || got.Get("X-Forwarded-Uri") != "/private" {
		t.Errorf("%v", got)
	}
}

// An issuer may have keys of kinds that are not known here, beside others (RFC 7517, section 5).
func TestKeysThatAreOfNoUseDoNotSpoilTheOthers(t *testing.T) {
	weak := map[string]string{"kty": "RSA", "kid": "weak", "n": b64(new(big.Int).Lsh(big.NewInt(1), 1000).Bytes()), "e": "AQAB"}
	curve := map[string]string{"kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA"}
	garbage := map[string]string{"kty": "RSA", "kid": "garbage", "n": "?", "e": "?"}
	file := write(t, "set", keySet(t, weak, curve, jwk(t, "good", ecPair), garbage))
	g := guard(newJWT(t, JWTConfig{KeyFile: file}))
	g.passes(t, g.ask("/", "Authorization: Bearer "+signed(t, jwt.SigningMethodES256, ecPair, nil, "kid", "good")), "alice", "Bearer")
	g.refuses(t, g.ask("/", "Authorization: Bearer "+signed(t, jwt.SigningMethodES256, ecPair, nil, "kid", "k1")), 401, "unknown key")
}

// Made-up names of keys make nobody ask the server again and again.
func TestNamesOfKeysThatAreMadeUp(t *testing.T) {
	var asked atomic.Int32
	set := keySet(t, jwk(t, "one", rsaPair))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		time.Sleep(50 * time.Millisecond) // so that many come meanwhile
		io.WriteString(w, set)
	}))
	defer srv.Close()
	j := newJWT(t, JWTConfig{KeyURL: srv.URL, Transport: &http.Transport{DisableKeepAlives: true}})
	good := signed(t, jwt.SigningMethodRS256, rsaPair, nil, "kid", "one")
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for k := range 20 {
				token, known := good, i%2 == 0
				if !known {
					token = signed(t, jwt.SigningMethodRS256, otherRSA, nil, "kid", fmt.Sprint(i, k))
				}
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				if id, err := j.Authenticate(r); (id != nil) != known || (err == nil) != known {
					t.Errorf("known %v: %v, %v", known, id, err)
				}
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestTheFirstLineOfAUserCounts(t *testing.T) {
	var log streamtest.Buffer
	file := write(t, "users", "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nsha:{SHA}"+base64.StdEncoding.EncodeToString(make([]byte, 20))+"\n")
	m, err := NewBasic(BasicConfig{File: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m)
	g.passes(t, g.ask("/", basic("sha", "secret")), "sha", "Basic")
	if !strings.Contains(log.String(), "line=2") {
		t.Errorf("log: %q", log.String())
	}
}

// htpasswd empties the file before it writes.
func TestFilesAreNotReadWhileTheyAreWritten(t *testing.T) {
	const line = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := NewBasic(BasicConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m)
	for range 5 {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			f.WriteString(line)
			f.Close()
		}()
		g.passes(t, g.ask("/", basic("alice", "secret")), "alice", "Basic")
		<-written
	}
}

// Guesses that come at the same time do not all take their time from others.
func TestGuessesAtTheSameTimeAreNotAllChecked(t *testing.T) {
	failures := &limit.Failures{Burst: 2}
	file := filepath.Join(t.TempDir(), "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("anna:"+string(hash)), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := NewBasic(BasicConfig{File: file, Failures: failures})
	if err != nil {
		t.Fatal(err)
	}
	m.turn = make(chan struct{}, 1)
	m.turn <- struct{}{}
	const n = 50
	var let sync.WaitGroup // the guard has let all of them pass
	let.Add(n)
	g := &Guard{Methods: []Method{passing{&let}, m}, Failures: failures}
	var checked atomic.Int32
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			r := httptest.NewRequest("GET", "/", nil)
			r.SetBasicAuth("anna", "guess")
			w := httptest.NewRecorder()
			switch g.ServeHTTP(w, r); {
			case w.Code == 401:
				checked.Add(1)
			case w.Code != 429 || w.Header().Get("Retry-After") == "":
				t.Errorf("status %d, %v", w.Code, w.Header())
			}
		})
	}
	let.Wait()
	<-m.turn
	all.Wait()
	if got := checked.Load(); got < 2 || got == n {
		t.Errorf("%d of %d were checked", got, n)
	}
}

// passing knows nobody, and says that it was asked.
type passing struct{ asked *sync.WaitGroup }

func (p passing) Authenticate(*http.Request) (*Identity, error) { p.asked.Done(); return nil, nil }
func (passing) Challenge() string                               { return "" }
func (passing) Strip(*http.Request)                             {}
