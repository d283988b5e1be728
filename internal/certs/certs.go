// Package certs gives TLS listeners their certificates: from files, chosen by the name that the client asks
// for; made on the spot, for development; or from an ACME authority, which it asks and asks again before they
// run out. It also says which certificates clients need.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// A Pair is a certificate, with those of its issuers behind it, and its key: two files in PEM.
type Pair struct{ Certificate, Key string }

// Config says which certificates there are. At least one of Files, SelfSigned and ACME is needed.
type Config struct {
	// Files are read by New. A client gets the first one that is for the name it asks for, or the first one of all.
	Files []Pair

	// SelfSigned makes a certificate for these names and addresses that nobody trusts, in memory. nil = none.
	SelfSigned []string

	// ACME asks an authority. nil = none.
	ACME *ACME

	// ClientCA is a file in PEM with the authorities of the certificates of clients. "" = clients are not asked for one.
	ClientCA string
	// ClientOptional lets clients without a certificate in. Those with one that ClientCA has not issued are refused in
	// any case.
	ClientOptional bool

	// Log gets what happens between here and the authority. nil = none.
	Log *slog.Logger
}

// Certs is a set of certificates. All its methods may be called at the same time.
type Certs struct {
	files   []tls.Certificate
	clients *x509.CertPool
	c       Config
	acme    *authority // nil: none
}

// New reads the files. An ACME authority is asked by Start.
func New(c Config) (*Certs, error) {
	s := &Certs{c: c}
	for _, p := range c.Files {
		cert, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", p.Certificate, err)
		}
		s.files = append(s.files, cert)
	}
	if c.SelfSigned != nil {
		cert, err := selfSigned(c.SelfSigned)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, cert)
	}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("authorities of clients: %w", err)
		}
		s.clients = x509.NewCertPool()
		if !s.clients.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("authorities of clients: %s has no certificate in PEM", c.ClientCA)
		}
	}
	var err error
	if c.ACME != nil {
		if s.acme, err = newAuthority(c.ACME, c.Log); err != nil {
			return nil, err
		}
	}
	if len(s.files) == 0 && s.acme == nil {
		return nil, errors.New("no certificates")
	}
	return s, nil
}

// Start begins to ask the ACME authority, if there is one, until Close.
func (s *Certs) Start() error {
	if s.acme == nil {
		return nil
	}
	return s.acme.start()
}

// Close ends what Start began.
func (s *Certs) Close() {
	if s.acme != nil {
		s.acme.close()
	}
}

// Apply sets what depends on the certificates: for connections to come, by way of tls.Config.GetConfigForClient too.
func (s *Certs) Apply(t *tls.Config) {
	t.MinVersion = tls.VersionTLS12
	t.GetCertificate = s.get
	if s.clients != nil {
		t.ClientCAs, t.ClientAuth = s.clients, tls.RequireAndVerifyClientCert
		if s.c.ClientOptional {
			t.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	if s.acme != nil {
		t.NextProtos = append(slices.Clone(t.NextProtos), acmeProtocol)
	}
}

// get finds the certificate for a handshake.
func (s *Certs) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.acme != nil && (len(s.files) == 0 || s.acme.answers(hello)) {
		return s.acme.config.GetCertificate(hello)
	}
	for i := range s.files {
		if hello.SupportsCertificate(&s.files[i]) == nil {
			return &s.files[i], nil
		}
	}
	return &s.files[0], nil
}

// selfSigned makes a certificate for a year.
func selfSigned(names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1", "::1"}
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0], Organization: []string{"wspawn, self-signed"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
