package rawio

import "net"

// Listener returns a listener whose connections are those of [Direct].
func Listener(ln net.Listener) net.Listener { return directListener{ln} }

type directListener struct{ net.Listener }

func (l directListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Direct(c), nil
}
