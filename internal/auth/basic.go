package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/tg123/go-htpasswd"

	"github.com/wspawn/wspawn/internal/limit"
)

// BasicConfig is the configuration of [NewBasic].
type BasicConfig struct {
	// File has a line "user:hash" for each user, as htpasswd(1) writes it: bcrypt (the one to take), {SSHA}, {SHA},
	// MD5 ($1$, $apr1$) and SHA-2 ($5$, $6$). Passwords in the clear are not accepted. Empty lines and those that
	// begin with "#" are skipped, and so are further lines of a user. It is read again when it has changed. Required.
	File string
	// Realm is what browsers show to the user. Empty: "wspawn".
	Realm string
	// Failures are those of the [Guard]. Checks wait for their turn, and what has come at the same time as too many wrong
	// passwords is not worth one. Nil: all are checked.
	Failures *limit.Failures
	// Log is told of lines that are wrong, without what is in them. Nil logs nothing.
	Log *slog.Logger
}

// Basic checks user and password against a file (RFC 7617).
type Basic struct {
	realm    string
	users    live[*users]
	failures *limit.Failures
	turn     chan struct{} // holds one element for each check that runs: they are meant to be slow
	seed     []byte        // of the digests
}

type users struct {
	byName map[string]*user
	decoy  *user // takes as long as a real one; nil: there are none
}

type user struct {
	password htpasswd.EncodedPasswd
	last     atomic.Pointer[[sha256.Size]byte] // digest of the password that was right last
}

// NewBasic reads the file for the first time.
func NewBasic(c BasicConfig) (*Basic, error) {
	b := &Basic{realm: c.Realm, failures: c.Failures, turn: make(chan struct{}, runtime.GOMAXPROCS(0)), seed: make([]byte, 32)}
	if b.realm == "" {
		b.realm = "wspawn"
	}
	rand.Read(b.seed) // never fails
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b.users.path = c.File
	b.users.parse = func(data []byte) (*users, error) { return parseUsers(data, c.File, log), nil }
	if _, err := b.users.get(); err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	return b, nil
}

var hashes = []htpasswd.PasswdParser{
	htpasswd.AcceptBcrypt, htpasswd.AcceptMd5, htpasswd.AcceptSha, htpasswd.AcceptSsha, htpasswd.AcceptCryptSha,
}

func parseUsers(data []byte, file string, log *slog.Logger) *users {
	all := &users{byName: make(map[string]*user)}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		var found htpasswd.EncodedPasswd
		for _, accept := range hashes {
			p, err := accept(hash)
			if err != nil {
				break
			}
			if p != nil {
				found = p
				break
			}
		}
		if found == nil || name == "" {
			log.Warn("line of password file is not understood", "file", file, "line", n)
			continue
		}
		if all.byName[name] != nil {
			log.Warn("line of password file is for a user who has one already", "file", file, "line", n)
			continue // the first one counts, as in Apache
		}
		all.decoy = &user{password: found}
		all.byName[name] = &user{password: found}
	}
	return all
}

// maxPassword bounds user and password together, in bytes: some hashes take long for long ones.
const maxPassword = 1024

// Authenticate checks the Authorization header if it is about Basic.
func (b *Basic) Authenticate(r *http.Request) (*Identity, error) {
	if !hasScheme(r, "Basic") {
		return nil, nil
	}
	name, password, ok := r.BasicAuth()
	if !ok || len(name)+len(password) > maxPassword {
		return nil, wrong("malformed credentials", nil)
	}
	all, err := b.users.get()
	if err != nil {
		return nil, unavailable(err)
	}
	ok, err = b.check(r, all, name, password)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		// The same whether there is such a user or not. The name may be a password typed into the wrong field.
		return nil, wrong("wrong user or password", nil)
	}
	return &Identity{User: name, Type: "Basic"}, nil
}

func (b *Basic) check(r *http.Request, all *users, name, password string) (bool, error) {
	u, known := all.byName[name]
	if !known {
		if u = all.decoy; u == nil {
			return false, nil
		}
	}
	mac := hmac.New(sha256.New, b.seed)
	mac.Write([]byte(password))
	digest := [sha256.Size]byte(mac.Sum(nil))
	if last := u.last.Load(); known && last != nil && hmac.Equal(last[:], digest[:]) {
		return true, nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-r.Context().Done():
		return false, late(r.Context().Err())
	}
	if b.failures != nil {
		if wait := b.failures.Blocked(r.RemoteAddr); wait > 0 {
			return false, blocked(wait)
		}
	}
	right := u.password.MatchesPassword(password)
	if !known || !right {
		return false, nil
	}
	u.last.Store(&digest)
	return true, nil
}

// Challenge asks for user and password.
func (b *Basic) Challenge() string {
	return "Basic realm=" + strconv.Quote(b.realm) + `, charset="UTF-8"`
}

// Strip removes the password.
func (b *Basic) Strip(r *http.Request) {
	if hasScheme(r, "Basic") {
		r.Header.Del("Authorization")
	}
}

// hasScheme reports whether the Authorization header has a scheme (RFC 9110, section 11.4).
func hasScheme(r *http.Request, scheme string) bool {
	got, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(got, scheme)
}
