// Package proxy is an HTTP reverse proxy that passes upgrades.
//
// An ordinary request goes to one backend of a set over a connection that is kept for the next one, and
// bodies stream both ways as they come, with back-pressure. A request for an upgrade gets a connection of its
// own; when the backend has answered with a 101 that is right, the two connections are joined, and nothing
// looks at the bytes any more.
//
// What a client says about other hops (X-Forwarded-*, Forwarded) is not believed, and what
// belongs to one connection (hop-by-hop fields, Upgrade, HTTP2-Settings) is not passed on. A list of protocols
// with h2c in it never is an upgrade: the client could speak HTTP/2 with the backend past all checks.
package proxy
