package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const startTimeout = 10 * time.Second

// A contender is a server that can be measured.
type contender struct {
	name  string
	start func(ctx context.Context, b *bench, binary bool, prefix []string) (*server, error)
}

// A server is a running contender.
type server struct {
	url   string
	cmd   *exec.Cmd
	ended chan struct{} // closed after Wait
	err   error         // of Wait
}

// launch starts a command in a process group of its own and reads its output
// line by line with seen, until that returns false.
func launch(args []string, seen func(line string) bool) (*server, error) {
	s := &server{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	// The servers pass different parts of their environment on; a locale alone
	// makes the start of cat a quarter slower.
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && seen(lines.Text()) {
		}
		io.Copy(io.Discard, stdout)
		s.err = s.cmd.Wait()
	}()
	return s, nil
}

// stop ends the server and what it left in its process group.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
}

var printedURL = regexp.MustCompile(`ws://127\.0\.0\.1:\d+/`)

func startWspawn(ctx context.Context, b *bench, binary bool, prefix []string) (*server, error) {
	// The programs of both servers get the same environment: with the locale that wspawn passes on by
	// default, the C library of each cat reads a dozen files more.
	args := append(prefix, b.wspawn, "--port", "0", "--log-level", "error", "--max-processes", "0", "--pass-env", "PATH,LD_LIBRARY_PATH")
	if binary {
		args = append(args, "--framing", "raw", "--binary")
	}
	urls := make(chan string, 1)
	s, err := launch(append(args, b.program), func(line string) bool {
		url := printedURL.FindString(line)
		if url != "" {
			urls <- url
		}
		return url == ""
	})
	if err != nil {
		return nil, err
	}
	select {
	case s.url = <-urls:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("wspawn ended at once: %v", s.err)
	case <-time.After(startTimeout):
		err = errors.New("wspawn did not print its address")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop()
	return nil, err
}

// startWebsocketd starts websocketd on a port that was free a moment ago, which
// is the best one can do: it does not say which port it took.
func startWebsocketd(ctx context.Context, b *bench, binary bool, prefix []string) (s *server, err error) {
	for range 5 {
		if s, err = tryWebsocketd(ctx, b, binary, prefix); err == nil || ctx.Err() != nil {
			return s, err
		}
	}
	return nil, err
}

func tryWebsocketd(ctx context.Context, b *bench, binary bool, prefix []string) (*server, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	args := append(prefix, b.websocketd, "--address=127.0.0.1", "--port="+port, "--loglevel=fatal", "--maxforks=0")
	if binary {
		args = append(args, "--binary")
	}
	s, err := launch(append(args, b.program), func(line string) bool {
		fmt.Fprintln(os.Stderr, "websocketd:", line)
		return true
	})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(startTimeout); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-s.ended:
			return nil, fmt.Errorf("websocketd ended at once: %v", s.err)
		case <-time.After(20 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			s.url = "ws://" + addr + "/"
			return s, nil
		}
	}
	s.stop()
	return nil, errors.New("websocketd did not listen")
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
