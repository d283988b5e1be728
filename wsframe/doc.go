// Package wsframe speaks the WebSocket protocol, RFC 6455, at both ends: handshakes, frames,
// messages, pings and the closing of connections. It is made for servers that move many messages
// between WebSockets and other byte streams.
//
// # Connections
//
// A server gets a [Conn] from [Accept] in a handler of net/http, or leaves everything but the session
// to a [Handler]; a client gets one from [Dial]. [NewConn] takes a connection whose handshake somebody
// else has done.
//
//	func chat(w http.ResponseWriter, r *http.Request) {
//		c, err := wsframe.Accept(w, r, nil)
//		if err != nil {
//			return // Accept has answered
//		}
//		go func() {
//			defer c.Close(wsframe.CloseNormal, "")
//			var buf []byte
//			for {
//				op, message, err := c.ReadMessage(buf)
//				if err != nil {
//					return // err says who closed, and why
//				}
//				c.WriteMessage(op, message)
//				buf = message
//			}
//		}()
//	}
//
// The zero value of every option is a safe default. Connections of browsers are accepted from pages of
// the same origin only, unless AllowOrigin says more.
//
// # What it does
//
// The package checks all that RFC 6455 asks of a peer, in any division of the bytes, and answers a
// violation with the code for it: 1002 for a broken frame, 1007 for text that is not UTF-8, as soon as
// the first impossible byte is there, 1009 for what is over a limit, as soon as a header announces it.
// It answers pings and the peer's Close, the latter also when the peer has ended its half of the TCP
// connection. It watches silent peers with pings. It sees that its own Close frame arrives: a
// connection on which the peer goes on sending is not reset before that.
//
// # What it leaves to the caller
//
// Somebody must read, all the time: pings, and the peer's Close, are seen only by a read. Not reading
// holds the peer back, and nothing is collected for it in memory. And somebody must call [Conn.Close]
// or [Conn.CloseNow] in the end; a Close that is deferred is right in most places, since on an ended
// connection it only waits until all is said. CloseNow right behind an error of a read may cut off the
// Close frame that tells the peer what it did wrong.
//
// # Compression
//
// With Options.Compression, both ends agree on permessage-deflate (RFC 7692) where the other one can do it
// too. From then on messages are compressed by WriteMessage, NextWriter and WriteEncoded, and inflated for
// whoever reads; no other code has to know. A compressed message that does not come out in one piece looks
// like a fragmented one. What an idle connection holds for it are the windows of [Compression], which are 0
// by default, and a message that inflates to more than MaxMessage ends the connection with 1009 as soon as
// it does. Other extensions are declined.
//
// # Reading
//
// [Conn.ReadMessage] is for messages that fit into memory, [Conn.NextReader] for those that need not,
// and [Conn.ReadFrame] for those who want to see how a message was fragmented. [Conn.Receive] is the
// fast way: its handler gets everything that one system call brought, usually all messages that the
// peer had in flight, and answers them together:
//
//	c.Receive(func(b *wsframe.Batch) error {
//		out := b.Space() // the memory of the batch itself
//		for part := b.Next(); part != nil; part = b.Next() {
//			op := part.Op
//			if !part.Start {
//				op = wsframe.OpContinuation
//			}
//			out = wsframe.AppendHeader(out, op, part.End, int64(len(part.Payload)))
//			out = append(out, part.Payload...)
//		}
//		if len(out) == 0 {
//			return nil // nothing but control frames, or the beginning of a frame
//		}
//		return c.WriteEncoded(out)
//	})
//
// # The data path
//
// The protocol engine, [Parser], does no I/O and allocates nothing: bytes in, payloads out, unmasked
// where they lie. Around it, connections that are a *net.TCPConn or a *net.UnixConn are read and
// written by raw system calls on Linux, and an idle one holds no buffer. Anything else (TLS, wrapped
// connections, other systems) works the same through Read and Write, with a small buffer while it
// waits in Receive and a large one while it waits in the other reads. So hand TCP and Unix connections
// over as they are, without wrapping them. No message costs an allocation, a goroutine or a look at the
// clock.
//
// # Concurrency
//
// One goroutine reads; any number may write, ping and close at the same time. Messages go out whole.
// Pongs and the Close frame never wait for a writer that a slow peer holds up: they are kept, within
// bounds, and sent directly behind the frame that is stuck.
//
// # Ends
//
// Every read of a connection that has ended returns a *[CloseError], always the same one, which
// [Conn.Err] has as well: the code, the reason, and whether it was the peer who ended it. A peer that
// vanished is 1006. Writes return it too once the connection is closed; behind our own Close frame they
// return [ErrCloseSent].
//
// # Limits
//
// Everything that a peer can make grow has a limit in [Options]: frames, messages, fragments, and the
// time for writes, answers to pings and answers to Close frames. Memory never follows a declared
// length.
//
// docs/wsframe.md in the repository shows users of WebSocket-Node where they find what.
package wsframe
