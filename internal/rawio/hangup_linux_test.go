package rawio

import (
	"net"
	"testing"
)

func TestHungUp(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, how := range []string{"half", "whole", "reset"} {
			t.Run(network+" "+how, func(t *testing.T) {
				addr := "127.0.0.1:0"
				if network == "unix" {
					addr = t.TempDir() + "/s"
				}
				r, w := socketPair(t, network, addr)
				defer r.Close()
				defer w.Close()
				w.Write([]byte("unread"))
				if HungUp(r) {
					t.Fatal("hung up while the peer is there")
				}
				switch how {
				case "half":
					w.(interface{ CloseWrite() error }).CloseWrite()
				case "whole":
					w.Close()
				case "reset":
					if c, ok := w.(*net.TCPConn); ok {
						c.SetLinger(0)
					}
					w.Close()
				}
				if !HungUp(r) {
					t.Error("not noticed")
				}
				r.Close()
				HungUp(r) // must not panic
			})
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	b.Close()
	if HungUp(a) || HungUp(nil) {
		t.Error("nobody can know that")
	}
}
