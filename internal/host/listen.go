package host

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/certs"
	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/listen"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/internal/xconnect"
)

// Times and sizes that protect the HTTP side.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// http2Config is how many streams a connection has, and what waits in memory for those who read them. A stream that is
// not read must not hold up the others of its connection, so that there is room for all of them.
var http2Config = http.HTTP2Config{
	MaxConcurrentStreams:          256,
	MaxReceiveBufferPerStream:     64 << 10,
	MaxReceiveBufferPerConnection: 256 * 64 << 10,
	MaxReadFrameSize:              64 << 10,
	WriteByteTimeout:              time.Minute, // a deadline of a stream cannot end a write that TCP holds up
}

// net/http has read it.
func init() { xconnect.Restore() }

// A listener is an address with its HTTP server.
type listener struct {
	net.Listener
	c       *config.Listener
	admin   bool // tells how the server is, and nothing else
	server  *http.Server
	waiting waiting
	tls     atomic.Pointer[secured] // nil: no TLS
	serving bool                    // belongs to Host.mu
	closed  atomic.Bool
}

// secured is what new connections of a listener get that speaks TLS.
type secured struct {
	certs  *certs.Certs
	config *tls.Config
}

func newSecured(cs *certs.Certs, http2 bool) *secured {
	c := &tls.Config{NextProtos: []string{"http/1.1"}}
	if http2 {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	cs.Apply(c)
	return &secured{cs, c}
}

// sameSocket reports whether a listener can go on as another one is described: certificates may change.
func sameSocket(a, b *config.Listener) bool {
	return a.Address == b.Address && a.Mode == b.Mode && a.Owner == b.Owner && slices.Equal(a.ProxyProtocol, b.ProxyProtocol) &&
		a.HTTP2 == b.HTTP2 && a.Redirect == b.Redirect && a.Secure() == b.Secure()
}

// listen opens the listeners of a configuration, and takes over those of before that it still has. Certificates are
// read again: they are used for new connections.
func (h *Host) listen(c *config.Config, before []*listener) (all []*listener, err error) {
	defer func() {
		if err != nil {
			h.dropListeners(all, before)
		}
	}()
	fresh := make(map[*listener]*certs.Certs)
	defer func() {
		for l, cs := range fresh {
			if err != nil {
				cs.Close()
			} else if old := l.tls.Swap(newSecured(cs, l.c.HTTP2)); old != nil {
				old.certs.Close()
			}
		}
	}()
	admin := c.AdminListener()
	configured := c.Listeners()
	if admin != nil {
		configured = append(configured, admin)
	}
	replaced := slices.DeleteFunc(slices.Clone(before), func(l *listener) bool {
		return slices.ContainsFunc(configured, func(lc *config.Listener) bool { return sameSocket(l.c, lc) })
	})
	for i, lc := range configured {
		there := slices.IndexFunc(before, func(l *listener) bool {
			return sameSocket(l.c, lc) && l.admin == (lc == admin) && !slices.Contains(all, l)
		})
		var l *listener
		if there >= 0 {
			l = before[there]
		} else {
			// One that is something else now, as with TLS, has its port still.
			var from net.Listener
			if i := slices.IndexFunc(replaced, func(l *listener) bool { return l.c.Address == lc.Address }); i >= 0 {
				from = replaced[i].Listener
				replaced = slices.Delete(replaced, i, i+1)
			}
			if l, err = h.newListener(lc, lc == admin, from); err != nil {
				setting := "admin"
				if lc != admin {
					setting = c.AddressSetting(i)
				}
				return all, &config.Problem{Setting: setting, Err: err}
			}
		}
		all = append(all, l)
		if !lc.Secure() {
			continue
		}
		cs, err := certs.New(h.certificates(lc, l.Addr().String()))
		if err != nil {
			return all, err
		}
		fresh[l] = cs
	}
	for _, cs := range fresh {
		if err := cs.Start(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// certificates says which certificates a listener has.
func (h *Host) certificates(lc *config.Listener, address string) certs.Config {
	cc := certs.Config{ClientCA: string(lc.ClientCA), ClientOptional: lc.ClientCertificate == "optional", Log: h.log.With("listener", lc.Address)}
	if lc.Certificate != "" {
		cc.Files = append(cc.Files, certs.Pair{Certificate: string(lc.Certificate), Key: string(lc.Key)})
	}
	for _, p := range lc.Certificates {
		cc.Files = append(cc.Files, certs.Pair{Certificate: string(p.Certificate), Key: string(p.Key)})
	}
	if lc.SelfSigned {
		cc.SelfSigned = []string{}
		if host, _, err := net.SplitHostPort(lc.Address); err == nil && host != "" {
			cc.SelfSigned = []string{"localhost", "127.0.0.1", "::1", host}
		}
	}
	if a := lc.ACME; a != nil {
		cc.ACME = &certs.ACME{Names: a.Names, Directory: a.Directory, Email: a.Email, Storage: string(a.Storage), Roots: string(a.Roots), Address: address}
	}
	return cc
}

// newListener opens a listener, with the socket of from if that is not nil.
func (h *Host) newListener(lc *config.Listener, admin bool, from net.Listener) (*listener, error) {
	o := listen.Options{Owner: lc.Owner, From: from}
	if bits, set := lc.Mode.Bits(); set {
		o.Mode = os.FileMode(bits)
	}
	if len(lc.ProxyProtocol) > 0 {
		peers, err := clientip.ParsePeers(lc.ProxyProtocol)
		if err != nil {
			return nil, err
		}
		o.Proxies = &peers
		var said atomic.Bool // the first one; health checks come all the time
		o.Refused = func(peer net.Addr, err error) {
			level := slog.LevelDebug
			if !said.Swap(true) {
				level = slog.LevelWarn
			}
			h.log.Log(context.Background(), level, "connection refused, as proxy_protocol expects a header of this peer",
				"listener", lc.Address, "remote", peer.String(), "err", err)
		}
	}
	ln, err := listen.Open(lc.Address, o)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: ln, c: lc, admin: admin}
	var handler http.Handler = h
	switch {
	case admin:
		handler = h.admin()
	case lc.Redirect != "":
		handler = redirect(lc.Redirect)
	}
	l.server = &http.Server{
		Addr:              lc.Address, // byListener finds its table by it
		Handler:           h.patient(&stream.Normalizer{Next: handler, Refused: h.refused}),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState: func(c net.Conn, state http.ConnState) {
			l.waiting.track(c, state)
			h.shared.memory.Changed()
		},
		ErrorLog:  slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
		Protocols: new(http.Protocols),
		HTTP2:     &http2Config,
	}
	secure := lc.Secure()
	l.server.Protocols.SetHTTP1(true)
	l.server.Protocols.SetHTTP2(secure && lc.HTTP2)
	l.server.Protocols.SetUnencryptedHTTP2(!secure && lc.HTTP2)
	if secure {
		l.server.TLSConfig = &tls.Config{
			NextProtos:         []string{"http/1.1"}, // and what net/http adds: the one below is what counts
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.tls.Load().config, nil },
			GetCertificate:     func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no certificate") },
		}
	}
	return l, nil
}

// redirect sends everybody elsewhere, with path and query. "https" is the same host with TLS, at its usual port.
func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base := to
		if to == "https" {
			name := r.Host
			if name == "" {
				http.Error(w, "400 a Host header is needed", http.StatusBadRequest)
				return
			}
			if host, _, err := net.SplitHostPort(name); err == nil {
				name = host
				if strings.Contains(name, ":") {
					name = "[" + name + "]"
				}
			}
			base = "https://" + name
		}
		http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusPermanentRedirect)
	})
}

func (l *listener) serve() error {
	ln := rawio.Listener(l.Listener)
	if l.c.Secure() {
		return l.server.ServeTLS(ln, "", "")
	}
	return l.server.Serve(ln)
}

// Close stops listening. Connections go on.
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

func (l *listener) url(scheme string) string {
	if l.c.Secure() {
		scheme += "s"
	}
	if a, ok := l.Addr().(*net.UnixAddr); ok {
		return scheme + "+unix:" + a.Name
	}
	return scheme + "://" + l.Addr().String() + "/"
}

// dropListeners closes those that are not kept. Requests on their connections are answered, and then the
// connections end.
func (h *Host) dropListeners(listeners, kept []*listener) {
	for _, l := range listeners {
		if slices.Contains(kept, l) {
			continue
		}
		l.Close()
		if l.serving {
			h.serving.Go(func() {
				// Who has connected a moment ago has a request on the way, which Shutdown would not answer.
				l.server.SetKeepAlivesEnabled(false)
				for end := time.Now().Add(time.Second); !l.waiting.empty() && time.Now().Before(end); {
					time.Sleep(20 * time.Millisecond)
				}
				l.waiting.close()
				ctx, cancel := context.WithTimeout(context.Background(), idleTimeout)
				defer cancel()
				l.server.Shutdown(ctx)
			})
		}
		l.closeCerts()
	}
}

// closeCerts ends what keeps certificates fresh.
func (l *listener) closeCerts() {
	if t := l.tls.Load(); t != nil {
		t.certs.Close()
	}
}
