package spawner

import (
	"context"
	"syscall"
	"testing"
)

func TestFunctionsThatWaitForOutput(t *testing.T) {
	s := New(Config{})
	p, err := s.Start(context.Background(), sh("read line; echo $line; exec sleep 1000"), StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{}, 2)
	wait := func() {
		t.Helper()
		if !p.WhenReadable(func() { called <- struct{}{} }) {
			t.Fatal("cannot wait")
		}
	}
	wait()
	p.Stdin.WriteString("a\n")
	<-called
	var b [10]byte
	if n, err := p.Stdout.Read(b[:]); string(b[:n]) != "a\n" {
		t.Errorf("%q, %v", b[:n], err)
	}
	// The second wait ends with the pipe, as when others hold it open who left the group.
	wait()
	p.ClosePipes()
	if n := len(s.sys.readers.calls); n != 0 {
		t.Errorf("%d functions are kept", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	p.Signal(syscall.SIGKILL)
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if len(called) != 0 {
		t.Error("called without anything to read")
	}
	if p.WhenReadable(func() {}) {
		t.Error("a closed Spawner waits")
	}
}
