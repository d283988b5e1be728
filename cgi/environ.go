package cgi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// DefaultSoftware is SERVER_SOFTWARE where [Vars] names none.
const DefaultSoftware = "wspawn"

// Vars is what the caller knows about a request beyond the request itself.
// The zero value is usable: everything that can be derived is derived.
type Vars struct {
	// ScriptName is the part of the URL path that stands for the program,
	// decoded: SCRIPT_NAME, always present, empty for the root.
	ScriptName string
	// PathInfo is the rest of the URL path, decoded: PATH_INFO. Empty: the
	// variable is absent.
	PathInfo string
	// PathTranslated is PathInfo as a file name: PATH_TRANSLATED. Empty:
	// DocumentRoot followed by PathInfo, absent when either is empty.
	PathTranslated string
	// ScriptFilename is the file behind ScriptName: SCRIPT_FILENAME. Empty:
	// absent.
	ScriptFilename string
	// DocumentRoot is the directory that the URL "/" stands for:
	// DOCUMENT_ROOT. Empty: absent.
	DocumentRoot string
	// RequestURI replaces the request target as received. Empty: that target.
	RequestURI string
	// RedirectURI is the target after an internal rewrite: REDIRECT_URI.
	// Empty: absent.
	RedirectURI string

	// Software is SERVER_SOFTWARE. Empty: [DefaultSoftware].
	Software string
	// Scheme is "http" or "https", for a server that learnt it from a trusted
	// proxy. Empty: "https" when the connection itself is TLS.
	Scheme string
	// ServerName and ServerPort replace what would be derived. Empty: the
	// address the connection was accepted on, which a client cannot choose.
	ServerName string
	ServerPort string
	// HostAsServer takes SERVER_NAME and SERVER_PORT from the Host field
	// instead. The client controls both then: do not let programs trust
	// them, for instance in links or mails.
	HostAsServer bool

	// RemoteAddr is the address of the client without a port, for a server
	// that learnt it from a trusted proxy. Empty: the peer's address.
	RemoteAddr string
	// RemotePort belongs to RemoteAddr. Empty: the peer's port; with a
	// RemoteAddr of the caller's, absent.
	RemotePort string
	// RemoteHost is the client's host name: REMOTE_HOST. Empty: absent.
	RemoteHost string

	// AuthType is how the server authenticated the user ("Basic"):
	// AUTH_TYPE. When set, the Authorization field is not handed on: it has
	// done its work, and the program needs no password. Empty: absent.
	AuthType string
	// RemoteUser is the name of that user: REMOTE_USER. Empty: absent.
	RemoteUser string

	// UniqueID is UNIQUE_ID. Empty: a new [NewUniqueID].
	UniqueID string

	// Extra is appended in this order, behind the variables of [WithVars]. A name
	// that exists already gets the new value in its old place.
	Extra []Var
}

type varsKey struct{}

// WithVars returns a context for requests that are to be described with these variables
// as well. It is for what stands in front of an endpoint of whatever kind and has found
// something out, such as who the user is: REMOTE_USER and AUTH_TYPE among them mean the
// same as those of [Vars], and win over them. Variables that ctx has already stay, unless
// they have the same name.
func WithVars(ctx context.Context, vars ...Var) context.Context {
	all := slices.Clone(contextVars(ctx))
	for _, v := range vars {
		all.Set(v.Name, v.Value)
	}
	return context.WithValue(ctx, varsKey{}, all)
}

func contextVars(ctx context.Context) List {
	l, _ := ctx.Value(varsKey{}).(List)
	return l
}

// Environ returns [Variables] as "NAME=value" strings, the environment of a
// program. Nothing of the server's own environment is in it.
func Environ(r *http.Request, v Vars) ([]string, error) {
	list, err := Variables(r, v)
	if err != nil {
		return nil, err
	}
	return list.Environ(), nil
}

// Variables returns the meta-variables of a request, those of [WithVars] among
// them. Errors caused by the client are of type [*RequestError]. The request is not changed.
//
// A request body of unknown length (ContentLength below zero) has no
// CONTENT_LENGTH; a caller that needs one first reads the body. Upgrades have
// CONTENT_LENGTH 0 although bytes follow.
func Variables(r *http.Request, v Vars) (List, error) {
	headers, err := Headers(r)
	if err != nil {
		return nil, err
	}
	ctype, hasType, err := contentType(r.Header)
	if err != nil {
		return nil, err
	}
	found := contextVars(r.Context())
	if user, ok := found.Lookup("REMOTE_USER"); ok {
		v.RemoteUser = user
	}
	if how, ok := found.Lookup("AUTH_TYPE"); ok {
		v.AuthType = how
	}
	scheme := v.Scheme
	if scheme == "" {
		scheme = schemeOf(r)
	}
	server := serverOf(r, v, scheme)

	l := make(List, 0, 24+len(headers)+len(found)+len(v.Extra))
	add := func(name, value string) { l = append(l, Var{name, value}) }
	addIf := func(name, value string) {
		if value != "" {
			add(name, value)
		}
	}

	// 4.1.2. "0" also without a body: SCGI cannot do without, and for the
	// others it means the same as a missing one.
	if r.ContentLength >= 0 {
		add("CONTENT_LENGTH", strconv.FormatInt(r.ContentLength, 10))
	}
	add("QUERY_STRING", r.URL.RawQuery) // 4.1.7, not decoded, may be empty
	add("REQUEST_URI", requestURI(r, v))
	addIf("REDIRECT_URI", v.RedirectURI)
	add("REDIRECT_STATUS", "200")    // php-cgi refuses to run without it
	add("SCRIPT_NAME", v.ScriptName) // 4.1.13
	addIf("PATH_INFO", v.PathInfo)   // 4.1.5
	if t := translated(v); t != "" {
		add("PATH_TRANSLATED", t) // 4.1.6
	}
	addIf("SCRIPT_FILENAME", v.ScriptFilename)
	addIf("DOCUMENT_ROOT", v.DocumentRoot)
	add("REQUEST_METHOD", r.Method) // 4.1.12
	add("SERVER_PROTOCOL", r.Proto) // 4.1.16

	software := v.Software
	if software == "" {
		software = DefaultSoftware
	}
	add("SERVER_SOFTWARE", software)    // 4.1.17
	add("GATEWAY_INTERFACE", "CGI/1.1") // 4.1.4
	add("REQUEST_SCHEME", scheme)
	if scheme == "https" {
		add("HTTPS", "on")
	}
	add("SERVER_PORT", server.port) // 4.1.15
	addIf("SERVER_ADDR", server.addr)
	add("SERVER_NAME", server.name) // 4.1.14

	addr, port := v.RemoteAddr, v.RemotePort
	if addr == "" {
		addr, port = splitAddress(r.RemoteAddr)
		if v.RemotePort != "" {
			port = v.RemotePort
		}
	}
	add("REMOTE_ADDR", addr) // 4.1.8
	addIf("REMOTE_PORT", port)
	addIf("REMOTE_HOST", v.RemoteHost) // 4.1.9

	if hasType {
		add("CONTENT_TYPE", ctype) // 4.1.3
	}
	for _, h := range headers { // 4.1.18
		if h.Name == "HTTP_AUTHORIZATION" && v.AuthType != "" {
			continue
		}
		l = append(l, h)
	}

	addIf("AUTH_TYPE", v.AuthType)     // 4.1.1
	addIf("REMOTE_USER", v.RemoteUser) // 4.1.11
	id := v.UniqueID
	if id == "" {
		id = NewUniqueID()
	}
	add("UNIQUE_ID", id)

	for _, e := range found {
		l.Set(e.Name, e.Value)
	}
	for _, e := range v.Extra {
		l.Set(e.Name, e.Value)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// NewUniqueID returns 128 random bits as 32 hexadecimal digits. Nobody can
// guess one, so a program may use it to name a session.
func NewUniqueID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func requestURI(r *http.Request, v Vars) string {
	switch {
	case v.RequestURI != "":
		return v.RequestURI
	case r.RequestURI != "":
		return r.RequestURI
	default:
		return r.URL.RequestURI()
	}
}

func translated(v Vars) string {
	switch {
	case v.PathInfo == "":
		return "" // 4.1.6: without PATH_INFO there is nothing to translate
	case v.PathTranslated != "":
		return v.PathTranslated
	case v.DocumentRoot == "":
		return ""
	default:
		return strings.TrimSuffix(v.DocumentRoot, "/") + v.PathInfo
	}
}

type serverAddress struct {
	name string // as in a URL: IPv6 in brackets (RFC 3875 section 4.1.14)
	port string
	addr string // bare address; the path for a Unix socket
}

// serverOf describes the address the request came in on.
func serverOf(r *http.Request, v Vars, scheme string) serverAddress {
	var s serverAddress
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	unix := false
	if local != nil {
		s.addr, s.port = splitAddress(local.String())
		if unix = local.Network() == "unix"; unix {
			s.addr, s.port = local.String(), ""
		}
		s.name = bracketed(s.addr)
	}
	// A Unix socket has no name and no port that a client could use, so the
	// Host field is the best there is.
	if v.HostAsServer || local == nil || unix {
		if name, port := splitHost(r.Host); name != "" {
			s.name, s.port = name, port
		} else if unix || local == nil {
			s.name, s.port = "localhost", ""
		}
	}
	if v.ServerName != "" {
		s.name = v.ServerName
	}
	if v.ServerPort != "" {
		s.port = v.ServerPort
	}
	if s.port == "" {
		s.port = defaultPort(scheme)
	}
	return s
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// splitAddress splits what net.Addr.String gives for a TCP address. Peers of
// Unix sockets have no address; they are called "unix:".
func splitAddress(s string) (addr, port string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if s == "" || s[0] == '@' || s[0] == '/' {
			return "unix:", ""
		}
		return s, ""
	}
	return host, port
}

// splitHost splits a Host field. The name keeps the brackets of an IPv6
// address. What is no host, or has a port that is no number, gives nothing.
func splitHost(host string) (name, port string) {
	name = host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", ""
		}
	}
	if strings.IndexByte(name, ':') >= 0 && !(name[0] == '[' && name[len(name)-1] == ']') {
		return "", ""
	}
	return name, port
}

func bracketed(addr string) string {
	if strings.IndexByte(addr, ':') >= 0 {
		return "[" + addr + "]"
	}
	return addr
}
