package tunnel

import (
	"bufio"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/wsframe"
)

func TestProxyHeader(t *testing.T) {
	seen := make(chan *proxyproto.Header, 1)
	far := listen(t, "tcp", func(c net.Conn) {
		br := bufio.NewReader(c)
		h, err := proxyproto.Read(br)
		if err != nil {
			t.Error(err)
		}
		seen <- h
		io.Copy(c, br)
	})
	set, err := backend.Fixed(far.String())
	if err != nil {
		t.Fatal(err)
	}
	for version := ProxyHeader(1); version <= 2; version++ {
		s := serve(t, &Endpoint{Dial: Backends(set, version)}, wsframe.Options{})
		c := s.connect(t)
		h := <-seen
		if h.SourceAddr.String() != c.NC.LocalAddr().String() || h.DestinationAddr.String() != s.addr || h.Version != byte(version) {
			t.Errorf("got %+v", h)
		}
		c.SendText("x")
		c.Expect(text("x"))
		c.Leave()
	}
	r := requestFrom(t, "@")
	if b, err := ProxyHeader(1).header(r.Request); err != nil || string(b) != "PROXY UNKNOWN\r\n" {
		t.Errorf("got %q, %v", b, err)
	}
	if b, err := ProxyHeader(2).header(r.Request); err != nil || len(b) != 16 {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := ProxyHeader(3).header(r.Request); err == nil {
		t.Error("version 3 is known")
	}
}

// requestFrom is a request from a client with an address.
func requestFrom(t *testing.T, remote string) *wsframe.Request {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = remote
	return &wsframe.Request{Request: r}
}

func TestTokens(t *testing.T) {
	far := listen(t, "tcp", func(c net.Conn) { io.WriteString(c, "tcp") })
	unix := listen(t, "unix", func(c net.Conn) { io.WriteString(c, "unix") })
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one", "# machines\n\nfirst: "+far.addr+"\n  down:  127.0.0.1:1  \n")
	write("two", "second: unix_socket:"+unix.addr+"\r\n")
	write(".hidden", "hidden: "+far.addr+"\n")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tokens := &Tokens{Path: dir}
	if err := tokens.Check(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, &Endpoint{Dial: tokens.Dial}, wsframe.Options{})
	try := func(target string, status int, want string) {
		t.Helper()
		c, r := frametest.Try(t, s.addr, target)
		if r.StatusCode != status {
			t.Errorf("%s: %s", target, r.Status)
		} else if status == 101 {
			c.Expect(text(want), closing(1000, ""))
			c.NC.Close()
		}
	}
	try("/?token=first", 101, "tcp")
	try("/a/b?x=y&token=second", 101, "unix")
	for _, target := range []string{"/", "/?token=", "/?token=third", "/?token=../one", "/?token=one", "/?token=hidden", "/first", "/?token=%23+machines"} {
		try(target, 404, "")
	}
	try("/?token=down", 503, "")

	write("three", "third: "+far.addr+"\nsecond: "+far.addr+"\n")
	try("/?token=third", 101, "tcp")
	os.Remove(filepath.Join(dir, "two"))
	try("/?token=second", 101, "tcp")
	os.Remove(filepath.Join(dir, "three"))
	try("/?token=third", 404, "")
	write("bad", "no colon\n")
	try("/?token=first", 500, "")
	if err := tokens.Check(); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "bad")+`:1: "no colon" is not`) {
		t.Errorf("got %v", err)
	}

	tokens = &Tokens{Path: filepath.Join(dir, "one"), FromPath: true}
	s = serve(t, &Endpoint{Dial: tokens.Dial}, wsframe.Options{})
	try("/websockify/first", 101, "tcp")
	for _, target := range []string{"/", "/first/..", "/%2e%2e/one", "/x?token=first"} {
		try(target, 404, "")
	}
	if err := os.Remove(tokens.Path); err != nil {
		t.Fatal(err)
	}
	try("/first", 500, "")
}

// A table that does not change is not read again, but one that has changed just now is.
func TestTokensAreReadWhenTheyChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(content string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	tokens := &Tokens{Path: file}
	check := func(port string) {
		t.Helper()
		if a, ok, err := tokens.Lookup("a"); err != nil || !ok || a.Addr != "h:"+port {
			t.Errorf("got %v, %v, %v; want %s", a, ok, err, port)
		}
	}
	write("a: h:1", 0)
	check("1")
	write("a: h:2", 0)
	check("2")
	write("a: h:3", time.Hour)
	check("3")
	table := tokens.table
	check("3")
	table["a"] = backend.Address{Network: "tcp", Addr: "h:4"} // seen only if the file is not read
	check("4")
}

func FuzzTokens(f *testing.F) {
	f.Add("a: h:1\n# x\n\nb: unix_socket:/s\r\nc:  [::1]:2", "a")
	f.Fuzz(func(t *testing.T, file, token string) {
		table := make(map[string]backend.Address)
		if err := parseTokens(table, []byte(file)); err != nil {
			return
		}
		a, ok := table[token]
		if !ok {
			return
		}
		// What was found stands in the file, and can be connected to.
		if token == "" || !strings.Contains(file, token) || !strings.Contains(file, strings.TrimPrefix(a.Addr, "unix:")) || a.Network != "tcp" && a.Network != "unix" {
			t.Errorf("%q: %v", token, a)
		}
	})
}
