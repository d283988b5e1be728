package wsframe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestServerAnswersOffers(t *testing.T) {
	none := Compression{}
	sends := Compression{Window: 4096}
	remembers := Compression{PeerWindow: 4096}
	all := Compression{Window: 1 << 15, PeerWindow: 1 << 15}
	const alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, test := range []struct {
		o             *Compression
		offer, answer string
	}{
		{nil, "permessage-deflate", ""},
		{&none, "", ""},
		{&none, "x-other; a=1", ""},
		{&none, "permessage-deflate", alone},
		{&none, "permessage-deflate; client_max_window_bits", alone}, // as browsers ask
		{&none, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", alone},
		{&none, `permessage-deflate; server_max_window_bits="10"`, alone + "; server_max_window_bits=10"},
		{&none, "permessage-deflate; server_max_window_bits=8", alone + "; server_max_window_bits=8"},
		{&none, "x-other, permessage-deflate; bad, permessage-deflate; server_max_window_bits=15", alone + "; server_max_window_bits=15"},
		{&none, "permessage-deflate; server_max_window_bits=9, permessage-deflate", alone + "; server_max_window_bits=9"},

		{&sends, "permessage-deflate", "permessage-deflate; client_no_context_takeover"},
		{&sends, "permessage-deflate; server_no_context_takeover", alone},
		{&sends, "permessage-deflate; server_max_window_bits=9", "permessage-deflate; client_no_context_takeover; server_max_window_bits=9"},

		{&remembers, "permessage-deflate", alone}, // cannot be limited
		{&remembers, "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover; client_max_window_bits=12"},
		{&remembers, "permessage-deflate; client_max_window_bits=15", "permessage-deflate; server_no_context_takeover; client_max_window_bits=12"},
		{&remembers, "permessage-deflate; client_max_window_bits=10", "permessage-deflate; server_no_context_takeover; client_max_window_bits=10"},
		{&remembers, "permessage-deflate; client_max_window_bits=8", "permessage-deflate; server_no_context_takeover; client_max_window_bits=8"},
		{&remembers, "permessage-deflate; client_max_window_bits; client_no_context_takeover", alone},

		{&all, "permessage-deflate", "permessage-deflate"},
		{&all, "permessage-deflate; client_max_window_bits", "permessage-deflate"},
		{&all, "permessage-deflate; client_max_window_bits=15", "permessage-deflate; client_max_window_bits=15"},
		{&all, "permessage-deflate; client_no_context_takeover; server_no_context_takeover", alone},

		{&all, "permessage-deflate; unknown", ""},
		{&all, "Permessage-Deflate", ""},
		{&all, "permessage-deflate; server_no_context_takeover=1", ""},
		{&all, "permessage-deflate; client_no_context_takeover=true", ""},
		{&all, "permessage-deflate; server_no_context_takeover; server_no_context_takeover", ""},
		{&all, "permessage-deflate; server_max_window_bits", ""},
		{&all, "permessage-deflate; server_max_window_bits=7", ""},
		{&all, "permessage-deflate; server_max_window_bits=16", ""},
		{&all, "permessage-deflate; server_max_window_bits=010", ""},
		{&all, "permessage-deflate; server_max_window_bits=+9", ""},
		{&all, "permessage-deflate; client_max_window_bits=7", ""},
		{&all, "permessage-deflate; client_max_window_bits=x", ""},
		{&all, "permessage-deflate; client_max_window_bits; client_max_window_bits=9", ""},
	} {
		offers, err := parseExtensions([]string{test.offer})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if a := test.o.choose(offers); a != nil {
			got = a.String()
		}
		if got != test.answer {
			t.Errorf("%+v, offer %q:\n got %q\nwant %q", test.o, test.offer, got, test.answer)
		}
	}
}

func TestPeerWindowIsRoundedToWhatCanBeAgreedOn(t *testing.T) {
	for size, want := range map[int]int{-1: 0, 0: 0, 1: 9, 512: 9, 1023: 9, 1024: 10, 32767: 14, 32768: 15, 1 << 30: 15} {
		if got := (&Compression{PeerWindow: size}).peerBits(); got != want {
			t.Errorf("%d: %d bits, want %d", size, got, want)
		}
	}
}

func TestClientOffersAndChecksTheAnswer(t *testing.T) {
	const alone = "permessage-deflate; server_no_context_takeover"
	for _, test := range []struct {
		o       Compression
		offer   string
		yes, no []string
	}{
		{Compression{}, alone + "; client_no_context_takeover; client_max_window_bits",
			[]string{"", alone, alone + "; client_max_window_bits=8", alone + "; server_max_window_bits=15; client_no_context_takeover"},
			[]string{"permessage-deflate", "permessage-deflate; server_max_window_bits=9"}},
		{Compression{Window: 512, PeerWindow: 1 << 15}, "permessage-deflate; client_max_window_bits",
			[]string{"", "permessage-deflate", alone, "permessage-deflate; server_max_window_bits=8", "permessage-deflate; client_max_window_bits=15"},
			nil},
		{Compression{Window: 1, PeerWindow: 2000}, "permessage-deflate; server_max_window_bits=10; client_max_window_bits, " + alone + "; client_max_window_bits",
			[]string{"", alone, alone + "; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=9"},
			[]string{"permessage-deflate", "permessage-deflate; server_max_window_bits=11"}},
	} {
		never := []string{
			"x-other", alone + ", x-other", alone + ", " + alone, alone + "; unknown", alone + "=1", alone + "; server_no_context_takeover",
			alone + "; client_max_window_bits", alone + "; client_max_window_bits=7", alone + "; server_max_window_bits", alone + "; server_max_window_bits=16",
			alone + ";", alone + "; server_max_window_bits=09",
		}
		dial := func(answer string, ok bool) {
			t.Helper()
			offer := ""
			s := serveRaw(t, "tcp", "127.0.0.1:0", func(head string) string {
				_, rest, _ := strings.Cut(head, "Sec-WebSocket-Extensions: ")
				offer, _, _ = strings.Cut(rest, "\r\n")
				line := ""
				if answer != "" {
					line = "Sec-WebSocket-Extensions: " + answer + "\r\n"
				}
				return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n" + line + "\r\n"
			}, false)
			o := DialOptions{}
			o.Compression = &test.o
			c, _, err := Dial(t.Context(), "ws://"+s.addr, &o)
			if (err == nil) != ok {
				t.Errorf("%+v, answer %q: %v", test.o, answer, err)
			}
			if offer != test.offer {
				t.Errorf("%+v: offers %q, want %q", test.o, offer, test.offer)
			}
			if c != nil {
				if (c.Extensions() != "") != (answer != "") {
					t.Errorf("answer %q, Extensions %q", answer, c.Extensions())
				}
				c.CloseNow()
			}
		}
		for _, answer := range test.yes {
			dial(answer, true)
		}
		for _, answer := range append(never, test.no...) {
			dial(answer, false)
		}
	}
}

func TestAcceptAnswersWithTheExtension(t *testing.T) {
	o := &AcceptOptions{}
	o.Compression = &Compression{Window: 1024}
	got := make(chan string, 1)
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			t.Error(err)
			return
		}
		got <- c.Extensions()
		c.CloseNow()
	}))
	c := dialRaw(t, addr, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; foo\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n")
	a := readAnswer(t, c)
	const want = "permessage-deflate; client_no_context_takeover"
	if line := a.header["Sec-Websocket-Extensions"]; fmt.Sprint(line) != "["+want+"]" {
		t.Errorf("answer %q", a.header)
	}
	if e := <-got; e != want {
		t.Errorf("Extensions %q", e)
	}
}

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=\"9\", x",
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=10",
	} {
		f.Add(s, 0, 0)
		f.Add(s, 512, 4096)
		f.Add(s, 1<<15, 1<<15)
	}
	f.Fuzz(func(t *testing.T, header string, window, peerWindow int) {
		o := &Compression{Window: window, PeerWindow: peerWindow}
		offers, err := parseExtensions([]string{header})
		if err != nil {
			return
		}
		if a := o.choose(offers); a != nil {
			parsed, err := parseExtensions([]string{a.String()})
			if err != nil || len(parsed) != 1 {
				t.Fatalf("answer %q: %v", a, err)
			}
			if p, ok := parseDeflate(parsed[0], true); !ok || p != *a {
				t.Fatalf("answer %q is read as %+v", a, p)
			}
		}
		// What a server of ours answers to a client of ours, the client takes.
		var ours []Extension
		for _, offer := range o.offers() {
			e, err := parseExtensions([]string{offer.String()})
			if err != nil {
				t.Fatal(err)
			}
			ours = append(ours, e...)
		}
		server := &Compression{Window: peerWindow, PeerWindow: window}
		if a := server.choose(ours); a == nil || !o.check(*a) {
			t.Fatalf("%+v offers %q, refuses %q", o, ours, a)
		}
	})
}
