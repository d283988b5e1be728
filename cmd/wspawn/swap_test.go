//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// keyPair makes a certificate with a number, and its key, in PEM.
func keyPair(t testing.TB, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// swaps are the ways in which files are replaced. Each puts pair n below dir, also the first.
var swaps = []struct {
	name      string
	cert, key string // below dir
	put       func(t testing.TB, dir string, n int64)
}{
	{"renamed over the old ones", "cert.pem", "key.pem", func(t testing.TB, dir string, n int64) {
		cert, key := keyPair(t, n)
		put(t, filepath.Join(dir, "key.pem"), key)
		put(t, filepath.Join(dir, "cert.pem"), cert)
	}},
	{"links to new ones, as of ACME clients", "live/cert.pem", "live/key.pem", func(t testing.TB, dir string, n int64) {
		cert, key := keyPair(t, n)
		for name, content := range map[string][]byte{"cert": cert, "key": key} {
			file := fmt.Sprintf("%s%d.pem", name, n)
			put(t, filepath.Join(dir, "archive", file), content)
			link(t, filepath.Join("..", "archive", file), filepath.Join(dir, "live", name+".pem"))
		}
	}},
	{"a link in between, as of Kubernetes", "tls.crt", "tls.key", func(t testing.TB, dir string, n int64) {
		cert, key := keyPair(t, n)
		version := fmt.Sprintf("..version%d", n)
		put(t, filepath.Join(dir, version, "tls.crt"), cert)
		put(t, filepath.Join(dir, version, "tls.key"), key)
		link(t, version, filepath.Join(dir, "..data"))
		if n == 1 {
			link(t, "..data/tls.crt", filepath.Join(dir, "tls.crt"))
			link(t, "..data/tls.key", filepath.Join(dir, "tls.key"))
		} else if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..version%d", n-1))); err != nil {
			t.Fatal(err)
		}
	}},
	{"a link to their directory, as of deployments", "current/cert.pem", "current/key.pem", func(t testing.TB, dir string, n int64) {
		cert, key := keyPair(t, n)
		version := fmt.Sprintf("release%d", n)
		put(t, filepath.Join(dir, version, "cert.pem"), cert)
		put(t, filepath.Join(dir, version, "key.pem"), key)
		link(t, version, filepath.Join(dir, "current"))
	}},
}

// put replaces a file at once.
func put(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"~", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

// link replaces a symbolic link at once.
func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name+"~"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+"~", name); err != nil {
		t.Fatal(err)
	}
}

// serveTLS starts a server for an echo with a certificate, and returns its address.
func serveTLS(t testing.TB, cert, key string) (addr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "wspawn.toml")
	text := fmt.Sprintf("[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = %q\nkey = %q\n[[route]]\nstdio = { command = [\"cat\"] }\n", cert, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wspawn", "--config", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); addr == "" && in.Scan(); {
		_, url, _ := strings.Cut(in.Text(), "wss://")
		addr = strings.TrimSuffix(url, "/")
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(log.String()) {
			if t.Failed() && !strings.Contains(line, "msg=\"session ") {
				t.Log(line)
			}
		}
	})
	if addr == "" {
		t.Fatal("the server does not listen")
	}
	return addr
}

var anyCertificate = &tls.Config{InsecureSkipVerify: true}

// serial asks a server for the number of its certificate.
func serial(t testing.TB, addr string) int64 {
	t.Helper()
	nc, err := tls.Dial("tcp", addr, anyCertificate)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// awaitSerial returns how long it takes until a new connection has a certificate.
func awaitSerial(t testing.TB, addr string, n int64) time.Duration {
	t.Helper()
	start := time.Now()
	for got := serial(t, addr); got != n; got = serial(t, addr) {
		if time.Since(start) > patience {
			t.Fatalf("after %v there is still certificate %d, not %d", time.Since(start), got, n)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// A hundred sessions talk all the time, and others come and go, while files of the certificate are replaced that the server
// watches.
func TestCertificatesAreSwappedUnderLoad(t *testing.T) {
	const sessions, rounds = 100, 3
	for _, way := range swaps {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			way.put(t, dir, 1)
			addr := serveTLS(t, filepath.Join(dir, way.cert), filepath.Join(dir, way.key))
			hands := make(chan struct{}, 8) // so that no handshake waits for a hundred others, and is given up
			dial := func() *wsframe.Conn {
				hands <- struct{}{}
				defer func() { <-hands }()
				c, _, err := wsframe.Dial(t.Context(), "wss://"+addr, &wsframe.DialOptions{TLS: anyCertificate, HandshakeTimeout: patience})
				if err != nil {
					t.Error(err)
					return nil
				}
				return c
			}
			over := make(chan struct{})
			isOver := func() bool {
				select {
				case <-over:
					return true
				default:
					return false
				}
			}
			var all, ready sync.WaitGroup
			end := sync.OnceFunc(func() { close(over); all.Wait() })
			defer end()
			for i := range sessions {
				ready.Add(1)
				all.Go(func() {
					c := dial()
					ready.Done()
					if c == nil {
						return
					}
					defer func() { c.CloseNow(); <-c.Done() }()
					for n := 0; ; n++ {
						last := isOver() // one message more, which all swaps are behind
						word := fmt.Sprint(i, " ", n)
						if err := c.WriteMessage(wsframe.OpText, []byte(word)); err != nil {
							t.Errorf("session %d: %v", i, err)
							return
						}
						if _, p, err := c.ReadMessage(nil); err != nil || string(p) != word {
							t.Errorf("session %d: %q, %v, want %q", i, p, err, word)
							return
						}
						if last {
							break
						}
					}
					if err := c.Close(wsframe.CloseNormal, ""); err != nil {
						t.Errorf("session %d: close: %v", i, err)
					}
				})
			}
			ready.Wait()
			all.Go(func() {
				for !isOver() {
					if c := dial(); c == nil || c.Close(wsframe.CloseNormal, "") != nil {
						t.Error("a new session failed")
						return
					}
				}
			})
			var times []string
			for n := range int64(rounds) {
				way.put(t, dir, n+2)
				times = append(times, awaitSerial(t, addr, n+2).Round(time.Millisecond).String())
			}
			end()
			t.Logf("until a new connection had the new certificate: %s", strings.Join(times, ", "))
		})
	}
}

func BenchmarkCertificateSwap(b *testing.B) {
	dir := b.TempDir()
	way := swaps[0]
	way.put(b, dir, 1)
	addr := serveTLS(b, filepath.Join(dir, way.cert), filepath.Join(dir, way.key))
	var all time.Duration
	n := int64(1)
	for b.Loop() {
		n++
		way.put(b, dir, n)
		all += awaitSerial(b, addr, n)
	}
	b.ReportMetric(float64(all.Milliseconds())/float64(b.N), "ms/swap")
	b.ReportMetric(0, "ns/op")
}
