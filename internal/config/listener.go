package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/wspawn/wspawn/internal/clientip"
)

// DefaultListen is reachable from this machine only.
const DefaultListen = "127.0.0.1:8080"

// Listeners returns all of them, those of Listen included.
func (c *Config) Listeners() []*Listener {
	listen := c.Listen
	if len(listen)+len(c.Listener) == 0 {
		listen = []string{DefaultListen}
	}
	all := make([]*Listener, len(listen), len(listen)+len(c.Listener))
	for i, addr := range listen {
		all[i] = New[Listener]()
		all[i].Address = addr
	}
	return append(all, c.Listener...)
}

// AdminListener is the one of Admin, or nil.
func (c *Config) AdminListener() *Listener {
	if c.Admin == "" {
		return nil
	}
	l := New[Listener]()
	l.Address = c.Admin
	if strings.HasPrefix(c.Admin, "unix:") {
		l.Mode = "0600"
	}
	return l
}

// AddressSetting is what a [Problem] with the address of the i-th of Listeners calls it.
func (c *Config) AddressSetting(i int) string {
	switch {
	case i < len(c.Listen):
		return item("listen", i)
	case len(c.Listener) == 0: // the default
		return "listen"
	}
	return fmt.Sprintf("listener[%d].address", i-len(c.Listen))
}

func (c *Config) checkListeners(p *problems) {
	seen := make(map[string]bool)
	if c.Admin != "" {
		p.add("admin", CheckAddress(c.Admin))
		seen[c.Admin] = true
	}
	for i, l := range c.Listeners() {
		address := c.AddressSetting(i)
		p.add(address, CheckAddress(l.Address))
		if seen[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			p.addf(address, "%q is given twice", l.Address)
		}
		seen[l.Address] = true
		l.check(p, strings.TrimSuffix(address, ".address"))
	}
}

// Secure reports whether the listener speaks TLS.
func (l *Listener) Secure() bool {
	return l.Certificate != "" || len(l.Certificates) > 0 || l.SelfSigned || l.ACME != nil
}

func (l *Listener) check(p *problems, at string) {
	if (l.Certificate == "") != (l.Key == "") {
		p.addf(at+".certificate", "a certificate needs its key and the other way round: give both")
	} else {
		checkPair(p, at, l.Certificate, l.Key)
	}
	for i, c := range l.Certificates {
		checkPair(p, fmt.Sprintf("%s.certificates[%d]", at, i), c.Certificate, c.Key)
	}
	p.add(at+".client_ca", checkAuthorities(l.ClientCA))
	if l.ClientCertificate == "optional" && l.ClientCA == "" {
		p.addf(at+".client_certificate", "says how much client_ca asks for: give that as well")
	}
	if l.ACME != nil {
		p.add(at+".acme.roots", checkAuthorities(l.ACME.Roots))
		if len(l.ACME.Names) == 0 {
			p.addf(at+".acme.names", "must not be empty: certificates are for names")
		}
		for i, name := range l.ACME.Names {
			if strings.ContainsAny(name, "*/: ") {
				p.addf(fmt.Sprintf("%s.acme.names[%d]", at, i), "%q is not a name like example.com: there are no certificates for patterns or addresses", name)
			}
		}
	}
	if l.ClientCA != "" && !l.Secure() {
		p.addf(at+".client_ca", "is for TLS: give a certificate as well")
	}
	if l.Redirect != "" && l.Redirect != "https" {
		if u, err := url.Parse(l.Redirect); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.HasSuffix(l.Redirect, "/") {
			p.addf(at+".redirect", "%q is neither https nor a URL like https://example.com, without a slash at its end", l.Redirect)
		}
	}
	_, err := clientip.ParsePeers(l.ProxyProtocol)
	p.add(at+".proxy_protocol", err)
	if !strings.HasPrefix(l.Address, "unix:") {
		if l.Mode != "" {
			p.addf(at+".mode", "is for Unix sockets")
		}
		if l.Owner != "" {
			p.addf(at+".owner", "is for Unix sockets")
		}
	}
}

func checkPair(p *problems, at string, certificate, key Path) {
	if certificate == "" || key == "" {
		return
	}
	err1, err2 := readable(certificate), readable(key)
	p.add(at+".certificate", err1)
	p.add(at+".key", err2)
	if err1 == nil && err2 == nil {
		checkContent(p, at, certificate, key)
	}
}

// checkContent says in our words what crypto/tls finds wrong.
func checkContent(p *problems, at string, certificate, key Path) {
	_, err := tls.LoadX509KeyPair(string(certificate), string(key))
	if err == nil {
		return
	}
	has := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case has("PEM inputs may have been switched"):
		p.addf(at+".certificate", "%s is a key: it and the certificate, %s, have been confused", certificate, key)
	case has("in certificate input"), has("PEM inputs"):
		p.addf(at+".certificate", "%s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", certificate)
	case has("in key input"), has("PEM for the private key"):
		p.addf(at+".key", "%s has no key in PEM (-----BEGIN PRIVATE KEY-----)", key)
	case has("does not match public key"):
		p.addf(at+".key", "%s is the key of another certificate than %s", key, certificate)
	case has("failed to parse private key"):
		p.addf(at+".key", "%s cannot be read; a key with a password has to be stored without it", key)
	default:
		p.addf(at+".certificate", "%s and the key %s: %s", certificate, key, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// checkAuthorities is for a file with certificates, or "".
func checkAuthorities(file Path) error {
	if err := readable(file); file == "" || err != nil {
		return err
	}
	data, err := os.ReadFile(string(file))
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		err = fmt.Errorf("%s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", file)
	}
	return err
}

// CheckAddress says what is wrong with an address to listen on: HOST:PORT, unix:PATH or systemd:NAME.
func CheckAddress(addr string) error {
	path, unix := strings.CutPrefix(addr, "unix:")
	if blank := strings.TrimSpace(addr) != addr || strings.TrimSpace(path) != path; blank || !unix && strings.ContainsAny(addr, " \t") {
		return fmt.Errorf("%q has a blank in it: leave that out", addr)
	}
	if unix {
		if path == "" {
			return errors.New(`"unix:" needs a path behind it`)
		}
		return nil
	}
	if name, ok := strings.CutPrefix(addr, "systemd:"); ok && name != "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT or unix:PATH (IPv6 as [::1]:8080)", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port from 0 to 65535", addr)
	}
	return nil
}

// Files returns the files whose content is part of the configuration, beside those that it was read from.
func (c *Config) Files() []string {
	var files []string
	for _, l := range c.Listener {
		for _, c := range append([]*Certificate{{Certificate: l.Certificate, Key: l.Key}}, l.Certificates...) {
			if c.Certificate != "" {
				files = append(files, string(c.Certificate), string(c.Key))
			}
		}
		if l.ClientCA != "" {
			files = append(files, string(l.ClientCA))
		}
	}
	return files
}
