package auth

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Certificate knows clients by their TLS certificate, which the listener must have verified (tls.VerifyClientCertIfGiven
// or tls.RequireAndVerifyClientCert). The zero value lets everybody pass who has one. Where browsers are not
// known to have certificates, do not ask them for one: some fail WebSockets then.
type Certificate struct {
	// User says what of the certificate is the name of the user. Empty: "cn".
	User CertificateName
	// Allow are the names that may pass, of those whose certificate is good. Nil: all.
	Allow []string
}

// CertificateName is a part of a certificate.
type CertificateName string

// The names that a certificate can have.
const (
	CommonName CertificateName = "cn"
	Subject    CertificateName = "dn"    // all of it, as RFC 4514 writes it
	Email      CertificateName = "email" // the first one
	DNSName    CertificateName = "dns"   // the first one
	URI        CertificateName = "uri"   // the first one
)

// Authenticate looks at the certificate of the connection.
func (c *Certificate) Authenticate(r *http.Request) (*Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return nil, &Refusal{Status: http.StatusForbidden, Reason: "client certificate is not verified", Wrong: true}
	}
	leaf := r.TLS.PeerCertificates[0]
	if time.Now().After(leaf.NotAfter) { // a connection can be older than that
		return nil, &Refusal{Status: http.StatusForbidden, Reason: "client certificate has expired"}
	}
	user, err := c.name(leaf)
	if err != nil {
		return nil, &Refusal{Status: http.StatusForbidden, Reason: "client certificate has no name", Err: err, Wrong: true}
	}
	if c.Allow != nil && !slices.Contains(c.Allow, user) {
		return nil, &Refusal{Status: http.StatusForbidden, Reason: "client certificate is not on the list", Err: fmt.Errorf("name %q", user)}
	}
	return &Identity{User: user, Type: "Certificate", Expires: leaf.NotAfter}, nil
}

func (c *Certificate) name(leaf *x509.Certificate) (string, error) {
	var names []string
	switch c.User {
	case CommonName, "":
		names = []string{leaf.Subject.CommonName}
	case Subject:
		names = []string{leaf.Subject.String()}
	case Email:
		names = leaf.EmailAddresses
	case DNSName:
		names = leaf.DNSNames
	case URI:
		for _, u := range leaf.URIs {
			names = append(names, u.String())
		}
	default:
		return "", fmt.Errorf("unknown kind of name %q", c.User)
	}
	if len(names) == 0 || names[0] == "" {
		return "", fmt.Errorf("no %s in %q", or(c.User, CommonName), leaf.Subject)
	}
	return names[0], nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Challenge is empty: HTTP has none for certificates.
func (c *Certificate) Challenge() string { return "" }

// Strip does nothing: certificates are no secrets.
func (c *Certificate) Strip(*http.Request) {}
