package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wspawn/wspawn/cgi"
)

// JWTConfig is the configuration of [NewJWT]. Exactly one of KeyFile, SecretFile and KeyURL is required.
type JWTConfig struct {
	// KeyFile has public keys: PEM ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE") or a JSON Web Key Set (RFC 7517). It
	// is read again when it has changed.
	KeyFile string
	// SecretFile has the secret of HS256, HS384 and HS512, at least 32 bytes. A line end at its end does not
	// count. It is read again when it has changed.
	SecretFile string
	// KeyURL has a JSON Web Key Set. It is kept for CacheTime (0 = 10 min), and asked for again when a token names a key
	// that is not in it, at most every 30 s. When it cannot be had, the old one counts for a day.
	KeyURL    string
	CacheTime time.Duration
	// Transport asks for KeyURL. Nil: http.DefaultTransport.
	Transport http.RoundTripper

	// Algorithms are those that are accepted, as "RS256". Nil: with SecretFile the HS ones, otherwise all that
	// have a public key. What does not fit the kind of key is an error, and "none" always.
	Algorithms []string
	// Audience must have one of these. Nil: it does not matter, but then a token for another service will do.
	Audience []string
	// Issuer must be this. Empty: it does not matter.
	Issuer string
	// Leeway is by how much clocks may differ. 0 = 30 s, negative = none. A login lasts so much longer than its token.
	Leeway time.Duration
	// Forever accepts tokens without an expiry.
	Forever bool

	// A token is looked for in the header "Authorization: Bearer", and then where these say. In a URL it ends up in
	// histories and in the logs of proxies; as a cookie any page makes the browser send it.

	// Protocol is how a subprotocol begins whose rest is the token, as "bearer.": browsers can set no header of a
	// WebSocket, but these. A client has to ask for another subprotocol as well, that it can get. Empty: none.
	Protocol string
	// Query is the name of a parameter of the URL. Empty: none.
	Query string
	// Cookie is the name of a cookie. Empty: none.
	Cookie string

	// User is the claim that is REMOTE_USER, and has to be there. Empty: "sub".
	User string
	// Vars says which claims become which variables, as {"email": "REMOTE_EMAIL"}. What is no text, number or
	// truth value becomes JSON.
	Vars map[string]string
}

// JWT checks signed tokens (RFC 7519).
type JWT struct {
	c      JWTConfig // Leeway without its special values
	parser *jwt.Parser
	keys   keySource
}

// NewJWT checks c and reads the file. The URL is asked when there is the first token.
func NewJWT(c JWTConfig) (*JWT, error) {
	j := &JWT{c: c}
	if j.c.User == "" {
		j.c.User = "sub"
	}
	kinds := 0
	for _, s := range []string{c.KeyFile, c.SecretFile, c.KeyURL} {
		if s != "" {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, errors.New("token keys: one of key file, secret file and key URL is needed")
	}
	var err error
	switch {
	case c.KeyFile != "":
		j.keys, err = newKeyFile(c.KeyFile, parseKeys)
	case c.SecretFile != "":
		j.keys, err = newKeyFile(c.SecretFile, parseSecret)
	default:
		j.keys, err = newKeyURL(c)
	}
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	algorithms, err := algorithms(c)
	if err != nil {
		return nil, err
	}
	for _, name := range c.Vars {
		if !isVariable(name) {
			return nil, fmt.Errorf("%q is no name of a variable", name)
		}
	}
	j.c.Leeway = max(or(c.Leeway, 30*time.Second), 0)
	options := []jwt.ParserOption{jwt.WithValidMethods(algorithms), jwt.WithLeeway(j.c.Leeway), jwt.WithStrictDecoding(), jwt.WithJSONNumber()}
	if !c.Forever {
		options = append(options, jwt.WithExpirationRequired())
	}
	if len(c.Audience) > 0 {
		options = append(options, jwt.WithAudience(c.Audience...))
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	j.parser = jwt.NewParser(options...)
	return j, nil
}

// A token that says itself how it is to be checked is a trap: a public key is no secret, and "none" is no signature.
var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	publicAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

func algorithms(c JWTConfig) ([]string, error) {
	fit := publicAlgorithms
	if c.SecretFile != "" {
		fit = secretAlgorithms
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(fit, a) {
			return nil, fmt.Errorf("token algorithm %q: not one of %s, which fit these keys", a, strings.Join(fit, ", "))
		}
	}
	if c.Algorithms != nil {
		fit = c.Algorithms
	}
	return fit, nil
}

// maxToken is how long a token may be, in bytes.
const maxToken = 16 << 10

// Authenticate checks the token of a request. It never says, and never logs, what is in it.
func (j *JWT) Authenticate(r *http.Request) (*Identity, error) {
	text, err := j.token(r)
	if text == "" || err != nil {
		return nil, err
	}
	if len(text) > maxToken {
		return nil, wrong("token is too long", nil)
	}
	var unavailableErr error
	claims := jwt.MapClaims{}
	_, err = j.parser.ParseWithClaims(text, claims, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, errCritical
		}
		id, _ := t.Header["kid"].(string)
		all, err := j.keys.get(r.Context(), id)
		if err != nil {
			unavailableErr = err
			return nil, err
		}
		var set jwt.VerificationKeySet
		for _, k := range all {
			if k.fits(id, t.Method.Alg()) {
				set.Keys = append(set.Keys, k.public)
			}
		}
		if set.Keys == nil {
			return nil, errNoKey
		}
		return set, nil
	})
	if unavailableErr != nil {
		return nil, unavailable(fmt.Errorf("token keys: %w", unavailableErr))
	}
	if err != nil {
		refusal := wrong(tokenProblem(err), nil)
		// Who is right about the signature does not guess. Clients whose token has expired come again and again, and must not
		// lock out others of their address.
		refusal.Wrong = !errors.Is(err, jwt.ErrTokenInvalidClaims)
		return nil, refusal
	}
	return j.identity(claims)
}

var (
	errNoKey    = errors.New("no such key")
	errCritical = errors.New("extension") // RFC 7515, section 4.1.11: one that is not understood, as all are here
)

// tokenProblem says what is wrong, without what the token says.
func tokenProblem(err error) string {
	for _, p := range []struct {
		is   error
		text string
	}{
		{errNoKey, "token is signed with an unknown key"},
		{errCritical, "token needs an extension"},
		{jwt.ErrTokenMalformed, "token is malformed"},
		{jwt.ErrTokenSignatureInvalid, "token has a wrong signature"},
		{jwt.ErrTokenExpired, "token has expired"},
		{jwt.ErrTokenNotValidYet, "token is not valid yet"},
		{jwt.ErrTokenInvalidAudience, "token is for somebody else"},
		{jwt.ErrTokenInvalidIssuer, "token is from somebody else"},
		{jwt.ErrTokenRequiredClaimMissing, "token lacks a claim"},
	} {
		if errors.Is(err, p.is) {
			return p.text
		}
	}
	return "token is not valid"
}

func (j *JWT) identity(claims jwt.MapClaims) (*Identity, error) {
	user, ok := claimText(claims[j.c.User])
	if !ok || user == "" {
		return nil, wrong("token does not say who the user is", nil)
	}
	id := &Identity{User: user, Type: "Bearer"}
	if exp, err := claims.GetExpirationTime(); err == nil && exp != nil {
		id.Expires = exp.Add(j.c.Leeway) // when it would be refused
	}
	for claim, name := range j.c.Vars {
		if v, ok := claimText(claims[claim]); ok {
			id.Vars = append(id.Vars, cgi.Var{Name: name, Value: v})
		}
	}
	slices.SortFunc(id.Vars, func(a, b cgi.Var) int { return strings.Compare(a.Name, b.Name) })
	return id, nil
}

func claimText(claim any) (string, bool) {
	switch v := claim.(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	}
	b, err := json.Marshal(claim)
	return string(b), err == nil
}

// Challenge asks for a token.
func (j *JWT) Challenge() string { return "Bearer" }
