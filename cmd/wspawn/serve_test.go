//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
)

// What is written between the reading of the file and the start of its watch must not be missed.
func TestAChangeDuringTheStartIsSeen(t *testing.T) {
	const (
		first   = "listen = ['127.0.0.1:0']\nroute = [{ stdio.command = ['cat'] }]\n"
		second  = "listen = ['127.0.0.1:0']\nroute = [{ stdio.command = ['cat', '-u'] }]\n"
		third   = "listen = ['127.0.0.1:0']\nroute = [{ stdio.command = ['cat', '-v'] }]\n"
		mistake = "listen = 1\nroute = [{ stdio.command = ['cat'] }]\n"
		done    = "configuration reloaded"
		failed  = "configuration not reloaded"
	)
	for _, tc := range []struct {
		name, during, after string
		want                []string
	}{
		{"well", second, third, []string{done, done}},
		{"a mistake", mistake, third, []string{failed, done}},
		{"none", first, third, []string{done}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "wspawn.toml")
			put(t, file, []byte(first))
			c, source, err := config.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			put(t, file, []byte(tc.during))
			said := make(reloads, 10)
			s := server{c: c, source: source, place: source.Locate, file: file, log: slog.New(said), out: io.Discard}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.run(ctx) }()
			var got []string
			for i := range tc.want {
				if i == len(tc.want)-1 {
					put(t, file, []byte(tc.after))
				}
				select {
				case line := <-said:
					got = append(got, line)
				case <-time.After(patience):
					t.Error("a change was not seen")
				}
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			close(said)
			for line := range said {
				got = append(got, line)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("logged %q, want %q", got, tc.want)
			}
		})
	}
}

// reloads is a handler of a log that passes on what is said about reloads.
type reloads chan string

func (c reloads) Enabled(context.Context, slog.Level) bool { return true }
func (c reloads) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c reloads) WithGroup(string) slog.Handler            { return c }

func (c reloads) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "configuration reloaded" || r.Message == "configuration not reloaded" {
		c <- r.Message
	}
	return nil
}

// A log that nobody reads any more holds up those who write to it. It must not hold up the end.
func TestSignalsCountWhenNobodyReadsTheLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := w.Write(make([]byte, 4<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	cmd := exec.Command("wspawn", "--port", "0", "cat")
	cmd.Stderr = w
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	in := bufio.NewReader(out)
	for line := ""; !strings.HasPrefix(line, "listening"); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	cmd.Process.Signal(syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); !late.Stop() || err != nil {
		t.Errorf("it ended with: %v", err)
	}
}
