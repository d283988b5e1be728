package auth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// certificate returns one that is signed by the other, or by itself.
func certificate(t *testing.T, template *x509.Certificate, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(0xabc)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer, signKey := template, any(ecPair)
	if parent != nil {
		signer, signKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, ecPair.Public(), signKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ecPair, Leaf: leaf}
}

func TestCertificates(t *testing.T) {
	ca := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	u, _ := url.Parse("spiffe://a.test/alice")
	alice := certificate(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "alice", Organization: []string{"A, B"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, EmailAddresses: []string{"a@b.test"}, URIs: []*url.URL{u},
	}, ca)
	self := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mallory"}}, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)

	tests := []struct {
		name   string
		method Certificate
		mode   tls.ClientAuthType
		client *tls.Certificate
		user   string // "": refused
		reason string
	}{
		{"common name", Certificate{}, tls.VerifyClientCertIfGiven, alice, "alice", ""},
		{"required", Certificate{}, tls.RequireAndVerifyClientCert, alice, "alice", ""},
		{"all of the subject", Certificate{User: Subject}, tls.VerifyClientCertIfGiven, alice, `CN=alice,O=A\, B`, ""},
		{"mail address", Certificate{User: Email}, tls.VerifyClientCertIfGiven, alice, "a@b.test", ""},
		{"URI", Certificate{User: URI, Allow: []string{"spiffe://a.test/alice"}}, tls.VerifyClientCertIfGiven, alice, "spiffe://a.test/alice", ""},
		{"a name that it has not", Certificate{User: DNSName}, tls.VerifyClientCertIfGiven, alice, "", "has no name"},
		{"a kind of name that there is not", Certificate{User: "x"}, tls.VerifyClientCertIfGiven, alice, "", "has no name"},
		{"on no list", Certificate{Allow: []string{"bob"}}, tls.VerifyClientCertIfGiven, alice, "", "not on the list"},
		{"none", Certificate{}, tls.VerifyClientCertIfGiven, nil, "", "authentication required"},
		{"not verified", Certificate{}, tls.RequestClientCert, self, "", "not verified"},
		{"good, but not verified", Certificate{}, tls.RequireAnyClientCert, alice, "", "not verified"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guard(&tt.method)
			srv := httptest.NewUnstartedServer(g)
			srv.TLS = &tls.Config{ClientAuth: tt.mode, ClientCAs: pool}
			srv.StartTLS()
			defer srv.Close()
			client := srv.Client()
			config := tlsConfig(client)
			if tt.client != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.client, nil }
			}
			res, err := client.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if tt.user == "" {
				g.refuses(t, res, 403, tt.reason)
				return
			}
			if id := From(g.last.Context()); res.StatusCode != 200 || id.User != tt.user || !id.Expires.Equal(alice.Leaf.NotAfter) {
				t.Fatalf("status %d, %+v", res.StatusCode, id)
			}
		})
	}
}

// The certificate was good when the connection began.
func TestCertificatesExpire(t *testing.T) {
	old := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, NotAfter: time.Now().Add(-time.Second)}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{old}, VerifiedChains: [][]*x509.Certificate{{old}}}
	g := guard(&Certificate{})
	g.refuses(t, g.serve(r), 403, "has expired")
}
