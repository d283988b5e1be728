//go:build unix

package host

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// keyPair writes one that signs itself, and its key, into dir.
func keyPair(t *testing.T, dir, name string) (cert, key config.Path) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.Path(filepath.Join(dir, "cert")), config.Path(filepath.Join(dir, "key"))
}

// secure makes the only listener one with TLS.
func secure(c *config.Config, change func(*config.Listener)) *config.Config {
	l := config.New[config.Listener]()
	l.Address = "127.0.0.1:0"
	change(l)
	c.Listen, c.Listener = nil, []*config.Listener{l}
	return c
}

// named asks a server which certificate it has for a name.
func named(t *testing.T, h *Host, name string) string {
	t.Helper()
	nc, err := tls.Dial("tcp", h.listeners[0].Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificatesAreChangedUnderLoad(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	cert, key := keyPair(t, dir, "old.example")
	cert2, key2 := keyPair(t, other, "other.example")
	configuration := func() *config.Config {
		return secure(routes(stdioRoute("/", "cat")), func(l *config.Listener) {
			l.Certificate, l.Key = cert, key
			l.Certificates = []*config.Certificate{{Certificate: cert2, Key: key2}}
		})
	}
	h, _ := run(t, configuration())
	if got := named(t, h, "other.example"); got != "other.example" {
		t.Errorf("certificate of %s", got)
	}
	o := &wsframe.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}}
	conns := []*wsframe.Conn{}
	for range 20 {
		conns = append(conns, dial(t, h, "/", o))
	}
	over := arrivals(t, h, o)
	keyPair(t, dir, "new.example")
	if err := h.Reload(configuration()); err != nil {
		t.Fatal(err)
	}
	if got := named(t, h, "none.example"); got != "new.example" {
		t.Errorf("the certificate of a new connection is that of %s", got)
	}
	for i, c := range conns {
		echo(t, c, fmt.Sprint(i))
	}
	if err := over(); err != nil {
		t.Errorf("a new session was refused: %v", err)
	}
}

// arrivals opens sessions again and again until the function it returns is called.
func arrivals(t *testing.T, h *Host, o *wsframe.DialOptions) func() error {
	stop := make(chan struct{})
	var err error
	var work sync.WaitGroup
	work.Go(func() {
		for err == nil {
			select {
			case <-stop:
				return
			default:
			}
			var c *wsframe.Conn
			if c, _, err = wsframe.Dial(t.Context(), h.URLs("ws")[0], o); err == nil {
				c.Close(wsframe.CloseNormal, "")
			}
		}
	})
	return func() error { close(stop); work.Wait(); return err }
}

func TestClientCertificatesAreToldToPrograms(t *testing.T) {
	server, client := t.TempDir(), t.TempDir()
	cert, key := keyPair(t, server, "localhost")
	clientCert, clientKey := keyPair(t, client, "anna")
	pair, err := tls.LoadX509KeyPair(string(clientCert), string(clientKey))
	if err != nil {
		t.Fatal(err)
	}
	h, _ := run(t, secure(routes(stdioRoute("/", "sh", "-c", `echo "$SSL_CLIENT_VERIFY $SSL_CLIENT_S_DN_CN $SSL_PROTOCOL $HTTPS $SSL_CLIENT_I_DN $SSL_CLIENT_M_SERIAL $SSL_CLIENT_SHA256"`)), func(l *config.Listener) {
		l.Certificate, l.Key, l.ClientCA, l.ClientCertificate = cert, key, clientCert, "optional"
	}))
	known := fmt.Sprintf("SUCCESS anna TLSv1.3 on %s %X %x", pair.Leaf.Issuer, pair.Leaf.SerialNumber, sha256.Sum256(pair.Leaf.Raw))
	for want, certs := range map[string][]tls.Certificate{"NONE  TLSv1.3 on   ": nil, known: {pair}} {
		c := dial(t, h, "/", &wsframe.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true, Certificates: certs}})
		if got := read(t, c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestListenerThatRedirects(t *testing.T) {
	c := secure(routes(stdioRoute("/", "cat")), func(l *config.Listener) { l.SelfSigned = true })
	for _, to := range []string{"https", "https://ws.example:8443"} {
		l := config.New[config.Listener]()
		l.Address, l.Redirect = "127.0.0.1:0", to
		c.Listener = append(c.Listener, l)
	}
	h, _ := run(t, c)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i, want := range []string{"https://127.0.0.1/a/b?c=d", "https://ws.example:8443/a/b?c=d"} {
		resp, err := client.Get("http://" + h.listeners[i+1].Addr().String() + "/a/b?c=d")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != want {
			t.Errorf("%d %s, want %s", resp.StatusCode, got, want)
		}
	}
	// Without a name there is nowhere to send it to.
	nc, err := net.Dial("tcp", h.listeners[1].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET /a HTTP/1.0\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != 400 {
		t.Errorf("without Host: %v, %v", resp, err)
	}
	echo(t, dial(t, h, "/", &wsframe.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}}), "with TLS")
}
