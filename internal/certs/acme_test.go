//go:build unix

package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// start runs a program until the end of the test.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (scripts/setup installs it)", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

// An authority that issues certificates for a minute, and a name server that sends everybody to this machine.
func TestCertificateOfAnAuthority(t *testing.T) {
	i := newIssuer(t)
	_, own := i.issue("127.0.0.1")
	ln := listen(t)
	_, tlsPort, _ := net.SplitHostPort(ln.Addr().String())
	port, _ := strconv.Atoi(tlsPort)
	dns, directory, management := streamtest.FreePort(t), streamtest.FreePort(t), streamtest.FreePort(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:" + directory, "managementListenAddress": "127.0.0.1:" + management,
		"certificate": own.Certificate, "privateKey": own.Key, "httpPort": 1, "tlsPort": port,
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": 12}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", "127.0.0.1:"+dns, "-management", "127.0.0.1:"+streamtest.FreePort(t), "-http01", "", "-https01", "", "-tlsalpn01", "")
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+dns); err == nil {
			c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	start(t, "pebble", "-config", file, "-dnsserver", "127.0.0.1:"+dns)
	trusted := x509.NewCertPool()
	trusted.AddCert(i.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: true}}
	roots := x509.NewCertPool()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get("https://127.0.0.1:" + management + "/roots/0")
		if err == nil {
			pem, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if roots.AppendCertsFromPEM(pem) {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("pebble does not answer: %v", err)
		}
	}

	s, err := New(Config{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), ACME: &ACME{
		Names: []string{"ws.example.test"}, Directory: fmt.Sprintf("https://127.0.0.1:%s/dir", directory), Storage: t.TempDir(), Roots: i.file,
		Address: ln.Addr().String(), Check: time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, s, ln)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	get := func(before *x509.Certificate) *x509.Certificate { // which is not good for longer
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		for {
			cert, err := shake(t, address, &tls.Config{ServerName: "ws.example.test", RootCAs: roots})
			if err == nil && (before == nil || cert.NotAfter.After(before.NotAfter)) {
				return cert
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("no certificate: %v", err)
			}
		}
	}
	first := get(nil)
	get(first) // it is renewed while it is good
}
