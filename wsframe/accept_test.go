package wsframe

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestHandshakeNamesAreSpelledAsInTheRFC(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{Protocol: "chat"}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake("+sec-websocket-protocol: chat")))
	for _, name := range []string{"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Upgrade", "Connection"} {
		if !slices.Contains(a.names, name) {
			t.Errorf("names %q lack %s", a.names, name)
		}
	}
}

func TestParseRequestKeepsOrderAndSpelling(t *testing.T) {
	got := make(chan *Request, 1)
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := ParseRequest(r)
		if err != nil {
			t.Error(err)
		}
		got <- req
	}))
	dialRaw(t, addr, handshake(
		"+Sec-WebSocket-Protocol: Zeta, alpha,", "+Sec-WebSocket-Protocol: ALPHA",
		`+Sec-WebSocket-Extensions: A; x="a\b";y`, "+Sec-WebSocket-Extensions: b",
		"+Origin: null", "+Cookie: a=1; b", "+Cookie: c=3"))
	r := <-got
	if r == nil {
		t.FailNow()
	}
	if want := []string{"Zeta", "alpha", "ALPHA"}; !slices.Equal(r.Protocols, want) {
		t.Errorf("protocols %q, want %q", r.Protocols, want)
	}
	var extensions []string
	for _, e := range r.Extensions {
		extensions = append(extensions, e.String())
	}
	if want := []string{"A; x=ab; y", "b"}; !slices.Equal(extensions, want) {
		t.Errorf("extensions %q, want %q", extensions, want)
	}
	var cookies []string
	for _, c := range r.Cookies {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	if want := []string{"a=1", "b=", "c=3"}; !slices.Equal(cookies, want) {
		t.Errorf("cookies %q, want %q", cookies, want)
	}
	if r.Origin != "null" || r.Version != 13 || r.Key != testKey || r.URL.Path != "/chat" || r.RemoteAddr == "" {
		t.Errorf("request %+v", r)
	}
	for ask, want := range map[string]string{"zeta": "Zeta", "alpha": "alpha", "ALPHA": "ALPHA", "Alpha": "alpha"} {
		if p, ok := r.Offers(ask); p != want || !ok {
			t.Errorf("Offers(%q) = %q", ask, p)
		}
	}
	if p, ok := r.Offers("beta"); ok || p != "" {
		t.Errorf("Offers(beta) = %q", p)
	}
	if p := Prefer("x", "ALPHA", "zeta")(r); p != "Zeta" {
		t.Errorf("Prefer picks %q, want the client's first", p)
	}
	if p := Prefer("x")(r); p != "" {
		t.Errorf("Prefer picks %q", p)
	}
}

func TestAcceptAnswersWithTheClientsProtocol(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{Protocol: "CHAT"}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake("+Sec-WebSocket-Protocol: super", "+Sec-WebSocket-Protocol: Chat")))
	if got := a.header.Get("Sec-WebSocket-Protocol"); a.status != 101 || got != "Chat" {
		t.Errorf("answer %d with protocol %q, want Chat", a.status, got)
	}
}

func TestAcceptRefusesMistakesOfTheServer(t *testing.T) {
	cookie := &http.Cookie{Name: "a", Value: "1"}
	for name, o := range map[string]*AcceptOptions{
		"protocol that was not asked for":  {Protocol: "other"},
		"protocol that would inject":       {Protocol: "chat\r\nX: y"},
		"header value with a line break":   {Header: http.Header{"X": {"a\r\nSet-Cookie: evil=1"}}},
		"header value with a bare newline": {Header: http.Header{"X": {"ok", "a\nb"}}},
		"header value with a NUL":          {Header: http.Header{"X": {"a\x00b"}}},
		"header value with a blank ahead":  {Header: http.Header{"X": {" a"}}},
		"header name with a line break":    {Header: http.Header{"X\r\nY": {"a"}}},
		"header name with a colon":         {Header: http.Header{"X:": {"a"}}},
		"empty header name":                {Header: http.Header{"": {"a"}}},
		"accept value":                     {Header: http.Header{"sec-websocket-accept": {"a"}}},
		"extension":                        {Header: http.Header{"Sec-WebSocket-Extensions": {"a"}}},
		"Upgrade":                          {Header: http.Header{"upgrade": {"h2c"}}},
		"Connection":                       {Header: http.Header{"Connection": {"close"}}},
		"Content-Length":                   {Header: http.Header{"content-length": {"5"}}},
		"Transfer-Encoding":                {Header: http.Header{"Transfer-Encoding": {"chunked"}}},
		"cookie without a name":            {Cookies: []*http.Cookie{{Value: "1"}}},
		"cookie value with a line break":   {Cookies: []*http.Cookie{{Name: "a", Value: "1\r\nX: y"}}},
		"cookie value with a semicolon":    {Cookies: []*http.Cookie{{Name: "a", Value: "1; HttpOnly"}}},
		"cookie path with a line break":    {Cookies: []*http.Cookie{{Name: "a", Value: "1", Path: "/\n"}}},
		"cookie domain with a blank":       {Cookies: []*http.Cookie{{Name: "a", Value: "1", Domain: "a b"}}},
		"nil cookie":                       {Cookies: []*http.Cookie{nil}},
		"cookie that is set twice":         {Cookies: []*http.Cookie{cookie, {Name: "a", Value: "2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			addr := serve(t, acceptAll(o, failed))
			a := readAnswer(t, dialRaw(t, addr, handshake("+Sec-WebSocket-Protocol: chat")))
			if a.status != 500 || len(a.header.Values("Set-Cookie")) > 0 || a.header.Get("X") != "" {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			var rej *Rejection
			if err := <-failed; !errors.As(err, &rej) || rej.Err == nil {
				t.Errorf("error %v does not have the cause", err)
			}
		})
	}
}

func TestAcceptSendsHeaderAndCookies(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{
		Header: http.Header{"X-Session": {"7"}, "Set-Cookie": {"z=0"}},
		Cookies: []*http.Cookie{
			{Name: "a", Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode},
			{Name: "a", Value: "2", Path: "/other"},
		},
	}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake()))
	want := []string{"z=0", "a=1; Path=/; HttpOnly; SameSite=Lax", "a=2; Path=/other"}
	if a.status != 101 || a.header.Get("X-Session") != "7" || !slices.Equal(a.header.Values("Set-Cookie"), want) {
		t.Errorf("answer %d %q", a.status, a.header)
	}
}

// clientFrames are two masked messages and a Close frame.
func clientFrames() string {
	b := AppendFrame(nil, Client, Frame{Fin: true, Op: OpText, Payload: []byte("one")})
	b = AppendFrame(b, Client, Frame{Fin: true, Op: OpBinary, Payload: []byte("two")})
	return string(AppendFrame(b, Client, Frame{Fin: true, Op: OpClose, Payload: []byte{3, 232}}))
}

func TestAcceptKeepsFramesGluedToTheRequest(t *testing.T) {
	type read struct {
		messages []string
		err      error
	}
	got := make(chan read, 1)
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		var out read
		for out.err == nil {
			var p []byte
			if _, p, out.err = c.ReadMessage(nil); out.err == nil {
				out.messages = append(out.messages, string(p))
			}
		}
		got <- out
	}))
	for name, send := range map[string]func(net.Conn){
		"in one segment":     func(c net.Conn) {},
		"with FIN behind it": func(c net.Conn) { c.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, addr, handshake()+clientFrames())
			send(c)
			out := <-got
			if want := []string{"one", "two"}; !slices.Equal(out.messages, want) {
				t.Errorf("messages %q, want %q", out.messages, want)
			}
			var closed *CloseError
			if !errors.As(out.err, &closed) || closed.Code != CloseNormal || !closed.Remote {
				t.Errorf("error %v, want the client's 1000", out.err)
			}
			a := readAnswer(t, c)
			rest, err := io.ReadAll(a.r)
			if want := "\x88\x02\x03\xe8"; a.status != 101 || string(rest) != want || err != nil {
				t.Errorf("client reads %d and %q, %v, want the Close frame", a.status, rest, err)
			}
		})
	}
}

func TestAcceptWithoutAHijackerAnswers500(t *testing.T) {
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
	w := httptest.NewRecorder()
	_, err := Accept(w, r, nil)
	if w.Code != 500 || !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("answer %d, error %v", w.Code, err)
	}
	if w.Header().Get("Connection") != "" {
		t.Error("Connection header on what may be an HTTP/2 stream")
	}
}

func TestAcceptReportsAClientThatIsGone(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
	_, err := Accept(pipeWriter{httptest.NewRecorder(), near}, r, nil)
	var rej *Rejection
	if err == nil || errors.As(err, &rej) || !strings.Contains(err.Error(), "client is gone") {
		t.Errorf("error %v", err)
	}
}

func TestHTTP2WithoutExtendedConnectGets400(t *testing.T) {
	s := httptest.NewUnstartedServer(acceptAll(nil, nil))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 400 || !strings.Contains(resp.Header.Get(fieldReason), "extended CONNECT") {
		t.Errorf("answer HTTP/%d %d %q", resp.ProtoMajor, resp.StatusCode, resp.Header)
	}
}

func TestAcceptOverTLS(t *testing.T) {
	s := serveTLS(t, acceptAll(nil, nil))
	nc, err := tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, handshake()+clientFrames())
	if a := readAnswer(t, nc); a.status != 101 {
		t.Errorf("status %d", a.status)
	}
}

// A wrapped writer is what a middleware hands on.
type wrapped struct{ w http.ResponseWriter }

func (w wrapped) Header() http.Header         { return w.w.Header() }
func (w wrapped) Write(p []byte) (int, error) { return w.w.Write(p) }
func (w wrapped) WriteHeader(status int)      { w.w.WriteHeader(status) }
func (w wrapped) Unwrap() http.ResponseWriter { return w.w }

func TestAcceptBehindAMiddleware(t *testing.T) {
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "7")
		acceptAll(nil, nil).ServeHTTP(wrapped{w}, r)
	}))
	for request, status := range map[string]int{handshake(): 101, handshake("Sec-WebSocket-Key:"): 400} {
		a := readAnswer(t, dialRaw(t, addr, request+clientFrames()))
		if a.status != status || a.header.Get("X-Request-Id") != "7" {
			t.Errorf("answer %d %q, want %d", a.status, a.header, status)
		}
		if status == 400 && a.header.Get("Connection") != "close" {
			t.Error("the connection goes on with frames for requests")
		}
	}
}
