package main

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/wspawn/wspawn/wsframe"
)

// A library is a WebSocket implementation with a server that echoes, written
// the way its documentation shows. No server is asked for compression, and all
// of them take messages of any size that occurs here.
type library struct {
	name string
	echo http.HandlerFunc
}

var libraries = []library{
	{"wsframe", echoWsframe},
	{"gorilla", echoGorilla},
	{"coder", echoCoder},
	{"gobwas", echoGobwas},
	{"gws", newEchoGws()},
}

// echoWsframe answers all messages that one read brought with one write. They
// are put together in the memory where they arrived. A message that is cut by
// the end of a read waits for its other parts.
func echoWsframe(w http.ResponseWriter, r *http.Request) {
	c, err := wsframe.Accept(w, r, nil)
	if err != nil {
		return
	}
	go func() {
		defer c.CloseNow()
		var cut []byte
		c.Receive(func(b *wsframe.Batch) error {
			out := b.Space()
			for p := b.Next(); p != nil; p = b.Next() {
				if !p.Start || !p.End {
					cut = append(cut, p.Payload...)
					if !p.End {
						continue
					}
					if err := c.WriteEncoded(out); err != nil {
						return err
					}
					out = b.Space()
					if err := c.WriteMessage(p.Op, cut); err != nil {
						return err
					}
					cut = cut[:0]
					continue
				}
				out = wsframe.AppendHeader(out, p.Op, true, int64(len(p.Payload)))
				out = append(out, p.Payload...)
			}
			if len(out) == 0 {
				return nil
			}
			return c.WriteEncoded(out)
		})
	}()
}

func echoGorilla(w http.ResponseWriter, r *http.Request) {
	var u gorilla.Upgrader
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		if err := c.WriteMessage(kind, p); err != nil {
			return
		}
	}
}

func echoCoder(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	ctx := context.Background() // a context that can end costs ten allocations
	for {
		kind, p, err := c.Read(ctx)
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, p); err != nil {
			return
		}
	}
}

func echoGobwas(w http.ResponseWriter, r *http.Request) {
	c, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		p, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if err := wsutil.WriteServerMessage(c, op, p); err != nil {
			return
		}
	}
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

func newEchoGws() http.HandlerFunc {
	u := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{})
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return
		}
		c.ReadLoop()
	}
}
