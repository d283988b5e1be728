// Package scgi speaks SCGI, and the uwsgi protocol, from both ends.
//
// Both protocols carry one HTTP request per connection: first its meta-variables (see package cgi) in
// one block, then the body as it is; the response comes back as CGI output, until the connection ends. They
// differ in the block alone, which [Protocol] reads and writes.
//
// # Gateway
//
// [Endpoint] is an http.Handler that hands requests on to backends:
//
//	http.Handle("/app/", &scgi.Endpoint{Backends: []string{"127.0.0.1:4000", "unix:/run/app.sock"}})
//
// # Application
//
// [Serve] is what [http.Serve] is for HTTP; web servers such as lighttpd, nginx, Apache and wspawn
// connect to it:
//
//	l, _ := net.Listen("tcp", "127.0.0.1:4000")
//	scgi.Serve(l, handler)
//
// # WebSockets
//
// Neither protocol knows upgrades, but nothing in them stands against it: once the response begins with
// 101, the connection carries the client's bytes one way and the application's the other.
// An Endpoint with Upgrade set does that, as do lighttpd (since 1.4.74) and nginx. On the
// application's side everything that takes over connections of net/http works unchanged, wsframe.Accept
// among it.
//
// What such a request looks like is the same as without an upgrade: CONTENT_LENGTH is 0 although
// bytes will follow. An application that does not want the upgrade just answers.
package scgi
