package xconnect_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/internal/xconnect"
)

// child tells a copy of this test what to do.
const child = "XCONNECT_TEST_CHILD"

// offered returns whether a server of this process offers extended CONNECT.
func offered(t *testing.T) bool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(ln)
	}()
	defer func() {
		s.Close()
		<-served
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte(http2.ClientPreface))
	f := http2.NewFramer(c, c)
	f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			v, ok := settings.Value(http2.SettingEnableConnectProtocol)
			return ok && v == 1
		}
	}
}

// The name of a module and a new release of Go could undo the switch, and nobody would notice.
func TestServersOfferExtendedCONNECT(t *testing.T) {
	want := os.Getenv(child) != "off"
	if got := offered(t); got != want {
		t.Errorf("extended CONNECT is offered: %v, want %v", got, want)
	}
	xconnect.Restore()
	got, ok := os.LookupEnv("GODEBUG")
	if want := os.Getenv(child + "_GODEBUG"); os.Getenv(child) != "" && (got != want || ok != (want != "")) {
		t.Errorf("GODEBUG is %q afterwards, want %q", got, want)
	}
}

func TestSettingsOfTheEnvironmentStay(t *testing.T) {
	if os.Getenv(child) != "" {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for godebug, want := range map[string]string{
		"":                                "on",
		"gctrace=0":                       "on",
		"gctrace=0,http2client=1":         "on",
		"xhttp2xconnect=0":                "on",
		"http2xconnect=1":                 "on",
		"http2xconnect=0":                 "off",
		"gctrace=0,http2xconnect=0,x509=": "off",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, exe, "-test.run=^TestServersOfferExtendedCONNECT$")
		cmd.Env = []string{child + "=" + want, child + "_GODEBUG=" + godebug}
		if godebug != "" {
			cmd.Env = append(cmd.Env, "GODEBUG="+godebug)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("GODEBUG=%q, want %s: %v\n%s", godebug, want, err, out)
		}
		cancel()
	}
}
