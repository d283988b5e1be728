package fastcgi

import "net"

// EndRequest closes a connection that was hijacked from a request of a [Server] and tells the gateway
// appStatus, which CGI programs have as their exit status. For other connections it is Close.
func EndRequest(conn net.Conn, appStatus uint32) error {
	c, ok := conn.(*hijackedConn)
	if !ok {
		return conn.Close()
	}
	c.q.end(nil, appStatus)
	return nil
}
