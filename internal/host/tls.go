package host

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"

	"github.com/wspawn/wspawn/cgi"
)

// withTLS tells programs what the TLS connection of a request is like, with the names that Apache's mod_ssl has
// given to it.
func withTLS(r *http.Request) *http.Request {
	t := r.TLS
	if t == nil {
		return r
	}
	vars := []cgi.Var{
		{Name: "SSL_PROTOCOL", Value: strings.Replace(tls.VersionName(t.Version), " ", "v", 1)}, {Name: "SSL_CIPHER", Value: tls.CipherSuiteName(t.CipherSuite)},
		{Name: "SSL_CLIENT_VERIFY", Value: "NONE"},
	}
	if t.ServerName != "" {
		vars = append(vars, cgi.Var{Name: "SSL_TLS_SNI", Value: t.ServerName})
	}
	if len(t.PeerCertificates) > 0 {
		c := t.PeerCertificates[0]
		vars[2].Value = "SUCCESS" // a client with another certificate does not come so far
		vars = append(vars,
			cgi.Var{Name: "SSL_CLIENT_S_DN", Value: c.Subject.String()}, cgi.Var{Name: "SSL_CLIENT_S_DN_CN", Value: c.Subject.CommonName},
			cgi.Var{Name: "SSL_CLIENT_I_DN", Value: c.Issuer.String()}, cgi.Var{Name: "SSL_CLIENT_M_SERIAL", Value: fmt.Sprintf("%X", c.SerialNumber)},
			cgi.Var{Name: "SSL_CLIENT_SHA256", Value: fmt.Sprintf("%x", sha256.Sum256(c.Raw))}) // mod_ssl has no such name
	}
	return r.WithContext(cgi.WithVars(r.Context(), vars...))
}
