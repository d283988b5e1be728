package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// certificate writes a self-signed certificate for localhost, which is an
// authority and a client as well, and its key.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// tlsClient trusts the certificate in a file.
func tlsClient(t *testing.T, certFile string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir, "server")
	static := filepath.Join(dir, "www")
	script(t, static, "a.txt", "")
	d := start(t, []string{"--ssl", "--sslcert=" + cert, "--sslkey=" + key, "--staticdir=" + static, "--origin=a.test,https://b.test"}, self("env")...)
	config := tlsClient(t, cert)

	t.Run("the banner says so and warns of origins without a scheme", func(t *testing.T) {
		d.logged(`\| Starting WebSocket server   : wss://127\.0\.0\.1:\d+/`)
		d.logged(`\| Serving CGI or static files : https://127\.0\.0\.1:\d+/`)
		d.logged(`\| ERROR  \| server     \|  \| Origin .*a\.test`)
		if strings.Contains(d.stdout.String(), `Origin "https://b.test"`) {
			t.Error("it warns of an origin with a scheme")
		}
	})
	t.Run("a WebSocket has HTTPS and the port of TLS", func(t *testing.T) {
		lines, end := d.openOn(tls.Client(d.conn(), config), strings.Replace(handshake("/x", "Origin: https://a.test"), "HOST", "localhost", 1)).all()
		if end.Code != 1000 {
			t.Errorf("ended with %v", end)
		}
		for _, want := range []string{"HTTPS=on", "SERVER_PORT=443", "SERVER_NAME=localhost"} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s is missing", want)
			}
		}
		d.logged(`url:'https://localhost/x' .*CONNECT`)
	})
	t.Run("files come over HTTP/2", func(t *testing.T) {
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		res, err := hc.Get("https://" + d.addr + "/a.txt")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.ProtoMajor != 2 {
			t.Errorf("%s over %s", res.Status, res.Proto)
		}
	})
	t.Run("TLS 1.1 is refused", func(t *testing.T) {
		old := config.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if c := tls.Client(d.conn(), old); c.Handshake() == nil {
			t.Error("it was accepted")
		}
	})
	t.Run("plain HTTP is told", func(t *testing.T) {
		res, body := d.get("GET / HTTP/1.1\nHost: HOST\n\n")
		if res.StatusCode != 400 || !strings.Contains(body, "HTTPS") {
			t.Errorf("%s %q", res.Status, body)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir, "server")
	known, knownKey := certificate(t, dir, "known")
	stranger, strangerKey := certificate(t, dir, "stranger")
	d := start(t, []string{"--ssl", "--sslcert=" + cert, "--sslkey=" + key, "--sslca=" + known}, self("exit", "0")...)
	for _, tt := range []struct {
		name, cert, key string
		ok              bool
	}{
		{"one that the CA signed", known, knownKey, true},
		{"a stranger's", stranger, strangerKey, false},
		{"none", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := tlsClient(t, cert)
			if tt.cert != "" {
				pair, err := tls.LoadX509KeyPair(tt.cert, tt.key)
				if err != nil {
					t.Fatal(err)
				}
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			c := tls.Client(d.conn(), config)
			defer c.Close()
			io.WriteString(c, strings.ReplaceAll(handshake("/"), "\n", "\r\n"))
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if ok := err == nil && res.StatusCode == 101; ok != tt.ok {
				t.Errorf("got in: %v, %v", ok, err)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	t.Run("it is said where, and the variables say what there is", func(t *testing.T) {
		d := startUnix(t, nil, self("env")...)
		d.logged(`\| INFO   \| server     \|  \| Starting WebSocket server   : unix socket at ` + regexp.QuoteMeta(d.unix) + `$`)
		if strings.Contains(d.stdout.String(), "ws://") {
			t.Error("there is a TCP listener too")
		}
		lines, _ := d.open("/").all()
		env := strings.Join(lines, "\n")
		for _, want := range []string{"REMOTE_ADDR=unix-socket", "REMOTE_HOST=unix-socket", "REMOTE_PORT=\n", "SERVER_NAME=localhost", "SERVER_PORT=80"} {
			if !strings.Contains(env+"\n", want) {
				t.Errorf("%q is missing in\n%s", want, env)
			}
		}
		d.logged(`remote:'unix-socket'`)
	})
	t.Run("a socket in use is left alone", func(t *testing.T) {
		d := startUnix(t, nil, self("cat")...)
		second := launch(t, append([]string{"--unixsocket=" + d.unix}, self("cat")...)...)
		if state := second.wait(); state.ExitCode() != exitServe {
			t.Errorf("the second server: %v", state)
		}
		second.logged(`FATAL .*already in use`)
		d.open("/").CloseNow()
	})
	t.Run("a dead socket is replaced", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "wsd")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		name := filepath.Join(dir, "s")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
		d := launch(t, append([]string{"--unixsocket=" + name}, self("cat")...)...)
		d.unix = name
		if !d.up("unix", name) {
			t.Fatal("the server did not come up")
		}
		d.open("/").CloseNow()
	})
	t.Run("beside a port", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "wsd")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		d := start(t, []string{"--unixsocket=" + filepath.Join(dir, "s")}, self("cat")...)
		d.open("/").CloseNow()
		d.logged("unix socket at")
		d.unix, d.addr = filepath.Join(dir, "s"), ""
		if !d.up("unix", d.unix) {
			t.Fatal("nobody listens on the socket")
		}
		d.open("/").CloseNow()
	})
}

func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	d := start(t, []string{"--address=127.0.0.2"}, self("cat")...)
	d.logged(`ws://127\.0\.0\.1:`)
	d.logged(`ws://127\.0\.0\.2:`)
	d.open("/").CloseNow()
	d.addr = strings.Replace(d.addr, "127.0.0.1", "127.0.0.2", 1)
	if !d.up("tcp", d.addr) {
		t.Fatal("nobody listens on the second address")
	}
	d.open("/").CloseNow()
}

// TestRedirect looks at the answers of --redirport.
func TestRedirect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, target, host string
		ssl                bool
		port               int
		want               string
	}{
		{"path and query are kept", "/a/b?c=d", "h.test", false, 8080, "http://h.test:8080/a/b?c=d"},
		{"the port of the client goes", "/", "h.test:81", false, 8080, "http://h.test:8080/"},
		{"the usual port is named too", "/", "h.test", false, 80, "http://h.test:80/"},
		{"TLS", "/x", "h.test:80", true, 443, "https://h.test:443/x"},
		{"IPv6", "/x", "[::1]:81", true, 443, "https://[::1]:443/x"},
		{"IPv6 without a port", "/x", "[::1]", false, 8080, "http://[::1]:8080/x"},
		{"what is escaped stays so", "/a%2Fb%20c", "h.test", false, 8080, "http://h.test:8080/a%2Fb%20c"},
		{"no way to another host", "//evil.test/x", "h.test", false, 8080, "http://h.test:8080//evil.test/x"},
		{"no Host header", "/x", "", false, 8080, "http://127.0.0.1:8080/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{c: &config{ssl: tt.ssl, port: tt.port}}
			r := httptest.NewRequest("GET", tt.target, nil)
			r.Host = tt.host
			r.URL.Host, r.URL.Scheme = "", ""
			if strings.HasPrefix(tt.target, "//") {
				r.URL.Path, r.URL.RawPath = tt.target, ""
			}
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 81}))
			w := httptest.NewRecorder()
			s.redirect(w, r)
			if got := w.Header().Get("Location"); w.Code != 301 || got != tt.want {
				t.Errorf("%d %s, want %s", w.Code, got, tt.want)
			}
		})
	}

	t.Run("listener", func(t *testing.T) {
		port := streamtest.FreePort(t)
		d := start(t, []string{"--redirport=" + port}, self("cat")...)
		main := d.addr
		d.logged(`\| Starting redirect server   : http://127\.0\.0\.1:` + port + `/`)
		d.addr = "127.0.0.1:" + port
		if !d.up("tcp", d.addr) {
			t.Fatal("nobody listens")
		}
		res, _ := d.get("GET /x?y HTTP/1.1\nHost: HOST\nConnection: close\n\n")
		if got := res.Header.Get("Location"); res.StatusCode != 301 || got != "http://"+main+"/x?y" {
			t.Errorf("%s %s", res.Status, got)
		}
	})
}
