package backend_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
)

func ExampleSet_Try() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		nc, _ := l.Accept()
		io.WriteString(nc, "hello")
		nc.Close()
	}()

	set, err := backend.New(backend.Config{
		Backends:    backend.Servers("unix:/nonexistent/socket", l.Addr().String()),
		Balance:     backend.RoundRobin,
		DisableTime: 5 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	set.Start()
	defer set.Close()

	var lease *backend.Lease
	var conn net.Conn
	err = set.Try(context.Background(), nil, func(ctx context.Context, l *backend.Lease) (err error) {
		lease = l
		conn, err = l.Dial(ctx)
		return err
	})
	if err != nil {
		panic(err)
	}
	defer lease.Release()
	defer conn.Close()
	b, _ := io.ReadAll(conn)
	fmt.Printf("%s from the one that is there\n", b)
	for _, st := range set.Status() {
		fmt.Println(st.State, st.Active)
	}
	l.Close()
	// Output:
	// hello from the one that is there
	// disabled 0
	// up 1
}
