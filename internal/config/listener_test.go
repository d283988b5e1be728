package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"
)

// writePair writes NAME.pem and NAME.key.
func writePair(t *testing.T, name string, from, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: certificate}, name + ".key": {Type: "PRIVATE KEY", Bytes: private},
		name + ".enc": {Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsWrongWithCertificates(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Now()
	writePair(t, "a", now.Add(-time.Hour), now.Add(time.Hour))
	writePair(t, "b", now.Add(-time.Hour), now.Add(time.Hour))
	writePair(t, "old", now.Add(-2*time.Hour), now.Add(-time.Hour))
	writePair(t, "new", now.Add(time.Hour), now.Add(2*time.Hour))
	for _, test := range []struct {
		l             Listener
		wrong, warned string // what is told of the first listener, without the words in front
	}{
		{Listener{Certificate: "a.pem", Key: "a.key", ClientCA: "b.pem", ClientCertificate: "optional"}, "", ""},
		{Listener{Certificate: "a.key", Key: "a.pem"}, "certificate: a.key is a key: it and the certificate, a.pem, have been confused", ""},
		{Listener{Certificate: "a.pem", Key: "b.key"}, "key: b.key is the key of another certificate than a.pem", ""},
		{Listener{Certificate: "a.pem", Key: "b.pem"}, "key: b.pem has no key in PEM", ""},
		{Listener{Certificate: "a.pem", Key: "a.enc"}, "key: a.enc cannot be read; a key with a password has to be stored without it", ""},
		{Listener{Certificates: []*Certificate{{"a.pem", "b.key"}}}, "certificates[0].key: b.key is the key of another certificate than a.pem", ""},
		{Listener{Certificate: "a.pem", Key: "a.key", ClientCA: "a.key"}, "client_ca: a.key has no certificate in PEM", ""},
		{Listener{Certificate: "a.pem", Key: "a.key", ClientCertificate: "optional"}, "client_certificate: says how much client_ca asks for", ""},
		{Listener{ACME: &ACME{}}, "acme.names: must not be empty", ""},
		{Listener{ACME: &ACME{Names: []string{"a.test", "*.test"}}}, `acme.names[1]: "*.test" is not a name like example.com`, ""},
		{Listener{Certificate: "old.pem", Key: "old.key"}, "", "certificate: old.pem was good until "},
		{Listener{Certificates: []*Certificate{{"new.pem", "new.key"}}}, "", "certificates[0].certificate: new.pem is good from "},
	} {
		c := allRight()
		c.Pool, c.Backends = nil, nil // which no route uses
		test.l.Address = "127.0.0.1:0"
		c.Listener = []*Listener{&test.l}
		for _, told := range []struct {
			got  error
			want string
		}{{c.Check(), test.wrong}, {c.Warnings(), test.warned}} {
			if told.want == "" && told.got != nil || told.want != "" && !strings.Contains(fmt.Sprint(told.got), "listener[0]."+told.want) {
				t.Errorf("%+v: %v, want %s", test.l, told.got, told.want)
			}
		}
	}
}
