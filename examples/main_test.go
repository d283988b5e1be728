//go:build unix

// Package examples runs every example as its users do: with the wspawn command.
package examples

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

const timeout = time.Minute // of every step; none should come near

// Where the programs are compiled to: "wspawn", "count-c", "count-go", ….
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "wspawn-examples"); err == nil {
		defer os.RemoveAll(bin)
		err = compile()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func compile() error {
	for _, name := range []string{"wspawn", "scgi-cgi", "fcgi-cgi"} {
		if err := run("go", "build", "-o", filepath.Join(bin, name), "../cmd/"+name); err != nil {
			return err
		}
	}
	for _, file := range glob("*.c") {
		err := run("cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", compiled(file), file)
		if err != nil {
			return err
		}
	}
	for _, file := range glob("*.go") {
		// They are no part of ./..., since there is C beside them.
		if err := run("go", "vet", file); err != nil {
			return err
		}
		if err := run("go", "build", "-o", compiled(file), file); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// glob returns the files of the examples that match a pattern.
func glob(pattern string) []string {
	files, err := filepath.Glob(filepath.Join("*", pattern))
	if err != nil {
		panic(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return filepath.Dir(file) == "testdata" })
}

// compiled returns where the program of a source file is: count-c for
// count/count.c.
func compiled(file string) string {
	return filepath.Join(bin, strings.ReplaceAll(filepath.Base(file), ".", "-"))
}

// each runs a test for an example in every language there is.
func each(t *testing.T, example string, languages int, test func(t *testing.T, program string)) {
	files, err := filepath.Glob(filepath.Join(example, example+".*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var program string
		switch filepath.Ext(file) {
		case ".html":
			continue
		case ".c", ".go":
			program = compiled(file)
		default:
			program = "./" + file
		}
		languages--
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			test(t, program)
		})
	}
	if languages != 0 {
		t.Errorf("the number of languages is wrong by %d", -languages)
	}
}

var listening = regexp.MustCompile(`ws://127\.0\.0\.1:\d+/`)

// serve runs wspawn on a free port until the end of the test and returns the
// URL that it prints.
func serve(t *testing.T, args ...string) (url string) {
	t.Helper()
	return wspawn(t, "WSPAWN_EXAMPLES_SECRET=tell nobody", append([]string{"--port", "0"}, args...)...)
}

// serveFile is serve for a configuration file, with one variable for it beside PORT.
func serveFile(t *testing.T, file, env string) (url string) {
	t.Helper()
	return wspawn(t, env, "-c", file)
}

func wspawn(t *testing.T, env string, args ...string) (url string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "wspawn"), append([]string{"--log-level", "warn"}, args...)...)
	cmd.Env = append(os.Environ(), "PORT=0", env)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log streamtest.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	urls := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if url := listening.FindString(lines.Text()); url != "" {
				urls <- url
				break
			}
		}
		io.Copy(io.Discard, stdout)
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("wspawn ended with %v", err)
			}
		case <-time.After(timeout):
			cmd.Process.Kill()
			t.Error("wspawn did not end")
		}
		if log := log.String(); log != "" {
			t.Logf("the log of wspawn:\n%s", log)
		}
	})
	select {
	case url := <-urls:
		return url
	case err := <-ended:
		ended <- err
		t.Fatalf("wspawn %s: %v", strings.Join(args, " "), err)
	case <-time.After(timeout):
		t.Fatalf("wspawn %s did not print its address", strings.Join(args, " "))
	}
	panic("unreachable")
}

// A client is a WebSocket client that fails its test.
type client struct {
	t    *testing.T
	conn *wsframe.Conn
}

func dial(t *testing.T, url string, header http.Header) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conn, _, err := wsframe.Dial(ctx, url, &wsframe.DialOptions{Header: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	watchdog := time.AfterFunc(timeout, func() { conn.CloseNow() })
	t.Cleanup(func() { watchdog.Stop() })
	return &client{t, conn}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.WriteMessage(wsframe.OpText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		op, got, err := c.conn.ReadMessage(nil)
		if err != nil {
			c.t.Fatalf("%v, want %q", err, want)
		}
		if op != wsframe.OpText || string(got) != want {
			c.t.Fatalf("got %v %q, want text %q", op, got, want)
		}
	}
}

// wantEnd waits for what a program that exits with 0 means.
func (c *client) wantEnd() {
	c.t.Helper()
	_, got, err := c.conn.ReadMessage(nil)
	end, ok := errors.AsType[*wsframe.CloseError](err)
	if !ok || end.Code != wsframe.CloseNormal || !end.Remote {
		c.t.Fatalf("got %q, %v; want a close with 1000", got, err)
	}
}

func (c *client) leave() {
	c.t.Helper()
	if err := c.conn.Close(wsframe.CloseNormal, ""); err != nil {
		c.t.Fatal(err)
	}
}
