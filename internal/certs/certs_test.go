package certs

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

func TestCertificateIsChosenByName(t *testing.T) {
	i := newIssuer(t)
	_, first := i.issue("first.example")
	_, second := i.issue("second.example")
	_, wild := i.issue("*.wild.example")
	s, err := New(Config{Files: []Pair{first, second, wild}})
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, s, listen(t))
	for name, want := range map[string]string{
		"first.example": "first.example", "second.example": "second.example", "x.wild.example": "*.wild.example",
		"other.example": "first.example", "": "first.example",
	} {
		cert, err := shake(t, address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if cert.Subject.CommonName != want {
			t.Errorf("%s: certificate of %s", name, cert.Subject.CommonName)
		}
	}
	if _, err := shake(t, address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestClientsNeedCertificates(t *testing.T) {
	ours, others := newIssuer(t), newIssuer(t)
	_, server := ours.issue("127.0.0.1")
	good, _ := ours.issue("anna")
	bad, _ := others.issue("eve")
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	for _, optional := range []bool{false, true} {
		s, err := New(Config{Files: []Pair{server}, ClientCA: ours.file, ClientOptional: optional})
		if err != nil {
			t.Fatal(err)
		}
		address := serve(t, s, listen(t))
		for name, test := range map[string]struct {
			certs []tls.Certificate
			want  bool
		}{
			"good": {[]tls.Certificate{good}, true}, "of another authority": {[]tls.Certificate{bad}, false}, "none": {nil, optional},
		} {
			c := &tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if test.certs == nil {
					return new(tls.Certificate), nil
				}
				return &test.certs[0], nil
			}}
			if _, err := shake(t, address, c); (err == nil) != test.want {
				t.Errorf("optional %v, %s: %v", optional, name, err)
			}
		}
	}
}

func TestSelfSigned(t *testing.T) {
	s, err := New(Config{SelfSigned: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := shake(t, serve(t, s, listen(t)), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	i := newIssuer(t)
	_, pair := i.issue("x")
	for name, test := range map[string]struct {
		c    Config
		want string
	}{
		"nothing":        {Config{}, "no certificates"},
		"no file":        {Config{Files: []Pair{{"no", "no"}}}, "certificate no: open no: "},
		"no key":         {Config{Files: []Pair{{pair.Certificate, pair.Certificate}}}, "rather than a key"},
		"no authorities": {Config{Files: []Pair{pair}, ClientCA: pair.Key}, "has no certificate in PEM"},
		"no names":       {Config{ACME: &ACME{Address: "127.0.0.1:1"}}, "no names"},
		"no port":        {Config{ACME: &ACME{Names: []string{"x"}, Address: "x"}}, "missing port"},
	} {
		if _, err := New(test.c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
