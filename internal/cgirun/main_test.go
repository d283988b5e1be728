package cgirun

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// As a CGI program the test binary does what ROLE says. It is started through a copy of a script, so
// that SCRIPT_FILENAME can name it.
func TestMain(m *testing.M) {
	gatewaytest.Main()
	if role := os.Getenv("ROLE"); role != "" {
		program(role)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func program(role string) {
	head := func() { fmt.Print("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n") }
	switch role {
	case "show": // arguments, directory, environment, and the length of the input
		n, err := io.Copy(io.Discard, os.Stdin)
		dir, _ := os.Getwd()
		head()
		fmt.Printf("%q\n%s\n%d %v\n%s\n", os.Args[1:], dir, n, err, strings.Join(os.Environ(), "\n"))
	case "upgrade":
		fmt.Print("Status: 101 Switching Protocols\r\nUpgrade: bytes\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(os.Stdout, os.Stdin)
		fmt.Print("end")
	case "decline": // waits for the end of the input first
		io.Copy(io.Discard, os.Stdin)
		fmt.Print("Status: 403 Forbidden\r\n\r\nno")
	case "early": // answers without reading
		head()
		fmt.Print("enough")
	case "nothing":
	case "sleep": // until it is stopped, with a child that is as stubborn
		signal.Ignore(syscall.SIGTERM)
		child := exec.Command(os.Args[0])
		child.Env = []string{"ROLE=child"}
		child.Stdout = os.Stdout
		child.Start()
		head()
		fmt.Printf("%d %d\n", os.Getpid(), child.Process.Pid)
		time.Sleep(time.Hour)
	case "child":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "deaf": // reads nothing
		head()
		fmt.Println(os.Getpid())
		time.Sleep(time.Hour)
	case "leave": // a child behind that holds the output
		child := exec.Command(os.Args[0])
		child.Env = []string{"ROLE=child"}
		child.Stdout = os.Stdout
		child.Start()
		head()
		fmt.Print("left")
	}
}
