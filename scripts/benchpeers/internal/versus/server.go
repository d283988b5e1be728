package versus

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

// A Server is a running program: a server that is measured, or a backend of one.
type Server struct {
	Address string // HOST:PORT, or the path of a Unix socket
	Path    string // what to ask for, without a slash in front

	cmd   *exec.Cmd
	ended chan struct{} // closed after Wait
	err   error         // of Wait
}

// PID returns the number of its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// launch starts a command in a process group of its own and reads its output
// line by line with seen, until that returns false.
func launch(args []string, seen func(line string) bool) (*Server, error) {
	s := &Server{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
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

// Stop ends the server and what it left in its process group.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
}

var printedAddress = regexp.MustCompile(`ws://(127\.0\.0\.1:\d+)/`)

// StartWspawn starts wspawn, which prints its address.
func StartWspawn(ctx context.Context, args []string) (*Server, error) {
	addresses := make(chan string, 1)
	s, err := launch(args, func(line string) bool {
		found := printedAddress.FindStringSubmatch(line)
		if found != nil {
			addresses <- found[1]
		}
		return found == nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case s.Address = <-addresses:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("wspawn ended at once: %v", s.err)
	case <-time.After(startTimeout):
		err = errors.New("wspawn did not print its address")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.Stop()
	return nil, err
}

// StartOn starts a server on a port that was free a moment ago, which is the
// best one can do where a server does not say which port it took. command
// returns the command line for an address.
func StartOn(ctx context.Context, command func(host, port string) ([]string, error)) (s *Server, err error) {
	for range 5 {
		host, port, err := freeAddress()
		if err != nil {
			return nil, err
		}
		args, err := command(host, port)
		if err != nil {
			return nil, err
		}
		if s, err = StartAt(ctx, "tcp", net.JoinHostPort(host, port), args); err == nil || ctx.Err() != nil {
			return s, err
		}
	}
	return nil, err
}

// StartAt starts a server and waits until it accepts connections at an address.
func StartAt(ctx context.Context, network, address string, args []string) (*Server, error) {
	name := args[0][strings.LastIndexByte(args[0], '/')+1:]
	s, err := launch(args, func(line string) bool {
		fmt.Fprintln(os.Stderr, name+":", line)
		return true
	})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(startTimeout); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s ended at once: %v", name, s.err)
		case <-time.After(20 * time.Millisecond):
		}
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			s.Address = address
			return s, nil
		}
	}
	s.Stop()
	return nil, fmt.Errorf("%s did not listen", name)
}

func freeAddress() (host, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	return net.SplitHostPort(l.Addr().String())
}
