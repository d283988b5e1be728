package config

import (
	"net/url"
	"strings"

	"github.com/wspawn/wspawn/internal/stream"
)

// Auth says who may come. One of the ways that are there has to know the client, before anything is started for it;
// the name of the user is then in REMOTE_USER.
type Auth struct {
	// File with passwords, as htpasswd writes it (bcrypt is the kind to take). It is read again when it changes.
	Htpasswd Path `toml:"htpasswd"`

	// What browsers show when they ask for the password.
	Realm string `toml:"realm" default:"wspawn"`

	// End sessions when the login expires, with 1008 where wspawn speaks WebSocket: with the token (and its leeway), with the
	// certificate, or when the server or the program that was asked said so.
	EndSessions bool `toml:"end_sessions" default:"true"`

	JWT         *JWT             `toml:"jwt"`
	Certificate *AuthCertificate `toml:"certificate"`
	Forward     *AuthForward     `toml:"forward"`
	Hook        *AuthHook        `toml:"hook"`
}

// JWT takes signed tokens (RFC 7519) from the Authorization header and from wherever else it is told. It has one of key_file,
// secret_file and key_url.
type JWT struct {
	// File with public keys, in PEM or as a JSON Web Key Set. It is read again when it changes.
	KeyFile Path `toml:"key_file"`

	// File with the secret of HS256, HS384 and HS512, at least 32 bytes. It is read again when it changes.
	SecretFile Path `toml:"secret_file"`

	// URL of a JSON Web Key Set.
	KeyURL string `toml:"key_url"`

	// Algorithms that are accepted, as `RS256`. Without this key, those that fit the kind of key.
	Algorithms []string `toml:"algorithms"`

	// Who tokens have to be for: one of these. Without this key a token for another service will do.
	Audience []string `toml:"audience"`

	// Who tokens have to be from.
	Issuer string `toml:"issuer"`

	// By how much clocks may differ.
	Leeway Duration `toml:"leeway" default:"30s"`

	// Accept tokens without an expiry, too: they are good as long as their key is.
	Forever bool `toml:"forever"`

	// Take the token from a cookie of this name, too.
	Cookie string `toml:"cookie"`

	// Take the token from a parameter of the URL, too. It is neither logged nor passed on.
	Query string `toml:"query"`

	// Take the token from a subprotocol that begins so, as `bearer.`: browsers can set no header of a WebSocket but these. The
	// client has to ask for another one as well, that it can get.
	Subprotocol string `toml:"subprotocol"`

	// The claim that is the name of the user.
	User string `toml:"user" default:"sub"`

	// Claims that become variables, as `email = "REMOTE_EMAIL"`.
	Variables map[string]string `toml:"variables"`
}

// AuthCertificate knows clients by their TLS certificates. The listener needs client_ca.
type AuthCertificate struct {
	// The part of the certificate that is the name of the user.
	User string `toml:"user" default:"cn" enum:"cn,dn,email,dns,uri"`

	// Names that may come, of those with a good certificate. Without this key, all.
	Allow []string `toml:"allow"`
}

// AuthForward asks another server: status 2xx lets the client in. When it cannot be asked, nobody comes in.
type AuthForward struct {
	// It is asked with a GET that has the header of the client's request, and X-Forwarded-Method, -Proto, -Host, -Uri and -For. Its answer
	// may say when the login ends, in X-Auth-Expires: seconds since 1970, or as 2030-12-31T23:59:59Z. A refusal counts as a failed attempt
	// of the address when the client has sent an Authorization header, and with `X-Auth-Failed: true` in any case.
	URL string `toml:"url" required:"true"`

	// Headers of its answer that become variables. Without this key, Remote-User becomes REMOTE_USER.
	Variables map[string]string `toml:"variables"`

	// Headers of its answer that the client gets, with the answer that opens a WebSocket or any other, as `["Set-Cookie"]`. One that
	// the route or the program sets as well is theirs; cookies are all sent. A client that is refused gets Set-Cookie, Location,
	// WWW-Authenticate and Retry-After without this key.
	AnswerHeaders []string `toml:"answer_headers"`

	// How long it may take.
	Timeout Duration `toml:"timeout" default:"5s"`
}

// AuthHook asks a program: exit status 0 lets the client in. It gets the variables of a CGI program; lines of its output,
// `REMOTE_USER: name` or `Variable-NAME: value`, become variables, and `Expires: TIME` is the end of the login (as for forward).
//
// `Set-Cookie: name=value` and `Header-NAME: value` are for the client, with the answer that opens a WebSocket or any other, as
// `answer_headers` of forward. `Protocol: NAME` chooses the subprotocol; a client that does not ask for it gets 500. A client that
// is refused gets these headers as well, with `Status: 401` (400 to 499; else 403) and `Reason: TEXT`.
// That counts as a failed attempt of the address when the client has sent an Authorization header, and with `Failed: true` in any case.
type AuthHook struct {
	// The name of a `[program.NAME]`.
	Program string `toml:"program"`

	// Or the command itself.
	Command []string `toml:"command"`

	// How long it may take.
	Timeout Duration `toml:"timeout" default:"5s"`
}

func (a *Auth) check(c *Config, p *problems, at string) {
	if a.Htpasswd == "" && a.JWT == nil && a.Certificate == nil && a.Forward == nil && a.Hook == nil {
		p.addf(at, "nobody can be known: give htpasswd, jwt, certificate, forward or hook")
	}
	p.add(at+".htpasswd", readable(a.Htpasswd))
	if j := a.JWT; j != nil {
		given := 0
		for _, s := range []string{string(j.KeyFile), string(j.SecretFile), j.KeyURL} {
			if s != "" {
				given++
			}
		}
		if given != 1 {
			p.addf(at+".jwt", "give one of key_file, secret_file and key_url")
		}
		p.add(at+".jwt.key_file", readable(j.KeyFile))
		p.add(at+".jwt.secret_file", readable(j.SecretFile))
		checkURL(p, at+".jwt.key_url", j.KeyURL)
	}
	if f := a.Forward; f != nil {
		checkURL(p, at+".forward.url", f.URL)
		for _, name := range f.AnswerHeaders {
			if !token(name) || stream.Reserved(name) {
				p.addf(at+".forward.answer_headers", "%q is no header that a client can be given, as Set-Cookie", name)
			}
		}
	}
	if h := a.Hook; h != nil {
		known(p, at+".hook.program", "program", h.Program, c.Program)
		if command := c.Argv(h.Program, h.Command); len(command) == 0 {
			p.addf(at+".hook.command", "nothing to run: give a command, or a program that has one")
		} else if len(h.Command) > 0 {
			p.add(at+".hook.command", look(command))
		}
	}
	if a.Certificate != nil && !c.asksForCertificates() {
		p.addf(at+".certificate", "no listener asks for certificates: give one of them client_ca")
	}
}

func (c *Config) asksForCertificates() bool {
	for _, l := range c.Listener {
		if l.ClientCA != "" {
			return true
		}
	}
	return false
}

func checkURL(p *problems, at, s string) {
	if s == "" {
		return
	}
	if u, err := url.Parse(s); err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http") {
		p.addf(at, "%q is not a URL like https://auth.example/check", s)
	}
}
