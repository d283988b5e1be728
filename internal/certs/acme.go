package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// acmeProtocol is what an authority offers when it looks who answers for a name (RFC 8737).
const acmeProtocol = "acme-tls/1"

// ACME says from which authority certificates come (RFC 8555). It proves that a name is ours by a TLS handshake
// with the listener itself (tls-alpn-01), so the authority has to reach that at port 443 of the name.
type ACME struct {
	// Names are what the certificates are for.
	Names []string
	// Directory is the URL of the authority. "" = Let's Encrypt.
	Directory string
	// Email is where the authority can reach somebody. Optional.
	Email string
	// Storage is the directory for keys and certificates; what is in it is used again. "" = "wspawn" in the user's
	// directory for such data.
	Storage string
	// Roots is a file in PEM with the authorities that Directory is trusted by. "" = those of the system.
	Roots string
	// Address is that of the listener, HOST:PORT.
	Address string
	// Check is how often it is looked whether a certificate should be renewed, which it is when a third of its time is
	// left. 0 = 10 min.
	Check time.Duration
}

// An authority is ACME in use.
type authority struct {
	c      *ACME
	cache  *certmagic.Cache
	config *certmagic.Config
	ctx    context.Context // from start to close; see stop
	stop   context.CancelFunc
}

func newAuthority(c *ACME, log *slog.Logger) (*authority, error) {
	if len(c.Names) == 0 {
		return nil, errors.New("ACME: no names")
	}
	_, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("ACME: %w", err)
	}
	a := &authority{c: c}
	zlog := zap.New(&toSlog{log: log})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: c.Check, Logger: zlog,
	})
	storage := c.Storage
	if storage == "" {
		storage = filepath.Join(userData(), "wspawn")
	}
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: storage}, Logger: zlog, OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	issuer := certmagic.ACMEIssuer{
		CA: c.Directory, TestCA: c.Directory, Email: c.Email, Agreed: true, DisableHTTPChallenge: true, Logger: zlog,
	}
	if issuer.CA == "" {
		issuer.CA, issuer.TestCA = certmagic.LetsEncryptProductionCA, certmagic.LetsEncryptStagingCA
	}
	if issuer.AltTLSALPNPort, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("ACME: port %q: %w", port, err)
	}
	if c.Roots != "" {
		pem, err := os.ReadFile(c.Roots)
		if err != nil {
			return nil, fmt.Errorf("ACME: %w", err)
		}
		issuer.TrustedRoots = x509.NewCertPool()
		if !issuer.TrustedRoots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ACME: %s has no certificate in PEM", c.Roots)
		}
	}
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, issuer)}
	return a, nil
}

// userData is where programs keep what belongs to a user.
func userData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "."
	}
	return filepath.Join(home, ".local", "share")
}

// start asks for what is missing, again and again, in the background.
func (a *authority) start() error {
	a.ctx, a.stop = context.WithCancel(context.Background())
	if err := a.config.ManageAsync(a.ctx, a.c.Names); err != nil {
		return fmt.Errorf("ACME: %w", err)
	}
	return nil
}

func (a *authority) close() {
	if a.stop != nil {
		a.stop()
	}
	a.cache.Stop()
}

// answers reports whether a handshake is for one of the names, or by the authority itself.
func (a *authority) answers(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(hello.SupportedProtos, acmeProtocol) ||
		slices.ContainsFunc(a.c.Names, func(name string) bool { return strings.EqualFold(name, hello.ServerName) })
}

// toSlog writes the log of certmagic to ours.
type toSlog struct {
	log   *slog.Logger
	attrs []slog.Attr
}

func level(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

func (t *toSlog) Enabled(l zapcore.Level) bool {
	return t.log != nil && t.log.Enabled(context.Background(), level(l))
}

func (t *toSlog) With(fields []zapcore.Field) zapcore.Core {
	return &toSlog{t.log, append(slices.Clone(t.attrs), attrs(fields)...)}
}

func (t *toSlog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) {
		return ce.AddCore(e, t)
	}
	return ce
}

func (t *toSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	t.log.LogAttrs(context.Background(), level(e.Level), "certificates: "+e.Message, append(slices.Clone(t.attrs), attrs(fields)...)...)
	return nil
}

func (t *toSlog) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	var list []slog.Attr
	for _, f := range fields {
		if v, ok := m.Fields[f.Key]; ok {
			list = append(list, slog.Any(f.Key, v))
		}
	}
	return list
}
