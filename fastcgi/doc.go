// Package fastcgi speaks FastCGI 1.0 on both sides: as the gateway in front of
// applications such as php-fpm, and as the application behind a web server.
//
//   - [Endpoint] is an http.Handler that hands requests, WebSocket upgrades
//     included, to the backends of a [Client]. [Authorizer] asks a backend
//     whether a request may pass.
//   - [Server] and [Serve] run an http.Handler behind a FastCGI gateway, with
//     upgrades by http.Hijacker.
//   - [Parser], [AppendRecord] and the other functions are the wire format.
//
// # Connections
//
// A Client asks each backend once, with GET_VALUES, whether requests may share a
// connection (FCGI_MPXS_CONNS). Where they may, they do. Elsewhere a connection
// carries one request at a time, and is kept for the next one.
//
// # Flow control
//
// FastCGI has none of its own: on a shared connection, a request whose response
// nobody reads stops all others, or fills the memory. Between a Client and a
// Server of this package an extension prevents that. Asked by GET_VALUES for
// WSPAWN_WINDOW, the Server says how many bytes of STDIN it takes for each
// request before the application has read them. A Client that counts says the
// same about STDOUT in a record of type 87 (WINDOW: four bytes, big-endian) with
// request id 0, ahead of all requests of a connection. From then on, each side
// sends no more of a stream than it may, and WINDOW records with the id of a
// request allow more as the other side reads. Peers that do not know the
// extension never see such a record.
//
// With other backends that share connections, a request is allowed 64 KiB that
// nobody has read. Then its connection waits and gets no new requests, and
// after Client.StallTimeout that request alone is aborted, if others wait.
//
// # Tunnels
//
// A backend takes a connection over by answering 101. The end of the input, an
// empty STDIN record, is held back until the answer is known, and sent at once
// when it is another one. An empty STDOUT record does not end a tunnel;
// END_REQUEST does. So there is no half close from the application to the client.
package fastcgi
