//go:build unix

package stdio

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// serveSpares is serve with n programs started ahead.
func serveSpares(t testing.TB, p *spawner.Program, n int, o serviceOptions) (*service, *spawner.Spares) {
	t.Helper()
	var spares *spawner.Spares
	o.resolve = func(*wsframe.Request) (*Target, error) {
		return &Target{Program: p, Env: []string{"QUERY_STRING=query"}, Spares: spares}, nil
	}
	s := serve(t, p, o)
	spares = spawner.NewSpares(s.spawner, p, n)
	spares.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := spares.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "there are spares", func() bool { return spares.Idle() == n })
	return s, spares
}

func TestASessionHasASpareWhichLearnsOfTheRequest(t *testing.T) {
	// Its environment says whether it was started for the session.
	prog := sh(`read -r open; echo "env $QUERY_STRING"; echo "$open"; read -r line; echo "$line"; exit 4`)
	s, spares := serveSpares(t, prog, 1, serviceOptions{Options: Options{RequestMessage: true}})
	for i := range 2 {
		c := s.connect()
		c.Expect(text("env "))
		var open struct {
			Type, Method, Path string
			Env                map[string]string
		}
		if err := json.Unmarshal([]byte(c.Next().Payload), &open); err != nil || open.Type != "open" || open.Method != "GET" || open.Path != "/path" || open.Env["QUERY_STRING"] != "query" {
			t.Errorf("%+v %v", open, err)
		}
		c.SendText("hello")
		c.Expect(text("hello"))
		c.ExpectClose(closing(1011, "exit status 4"))
		if sum := s.summary(i); sum.Exit.Code != 4 || sum.Pid <= 0 {
			t.Errorf("%+v", sum)
		}
		eventually(t, "there is another spare", func() bool { return spares.Idle() == 1 })
	}
}

func TestWithoutASpareTheProgramIsStarted(t *testing.T) {
	prog := sh(`read -r open; test "$QUERY_STRING" = query || exit 5
		case "$open" in *'"env":{"QUERY_STRING":"query"}'*) echo '{"type":"text","data":"started"}';; esac; read -r close`)
	s, spares := serveSpares(t, prog, 1, serviceOptions{Options: Options{Options: framing.Options{Framing: framing.JSON}, RequestMessage: true}})
	if err := spares.Close(t.Context()); err != nil {
		t.Error(err)
	}
	c := s.connect()
	c.Expect(text("started"))
	c.Leave()
}

// A program that dies with others of its group holding on to its output is what the callback at
// its end is for: a spare must get it too.
func TestASpareThatDiesDoesNotKeepTheSession(t *testing.T) {
	prog := sh(`sleep 1000 & read -r line; exit 3`)
	s, _ := serveSpares(t, prog, 1, serviceOptions{})
	c := s.connect()
	c.SendText("die")
	c.ExpectClose(closing(1011, "exit status 3"))
}

// BenchmarkFirstEcho measures from the dial to the first echo of Python programs, with and
// without a spare: one that imports nothing but sys, and one that is written as most services are. It reports
// both medians and their ratio.
func BenchmarkFirstEcho(b *testing.B) {
	b.Run("sys", func(b *testing.B) {
		firstEcho(b, "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)\n")
	})
	b.Run("asyncio", func(b *testing.B) {
		firstEcho(b, `import asyncio, json, logging, sys
async def main():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        print(line.decode(), end='', flush=True)
asyncio.run(main())
`)
	})
}

func firstEcho(b *testing.B, program string) {
	script := filepath.Join(b.TempDir(), "echo.py")
	if err := os.WriteFile(script, []byte("#!/usr/bin/env python3\n"+program), 0o755); err != nil {
		b.Fatal(err)
	}
	prog := &spawner.Program{Path: script, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}}
	spared, spares := serveSpares(b, prog, 1, serviceOptions{})
	plain := serve(b, prog, serviceOptions{})
	echo := func(s *service) time.Duration {
		begin := time.Now()
		c := s.connect()
		c.SendText("hello")
		c.Expect(text("hello"))
		d := time.Since(begin)
		c.Leave()
		return d
	}
	var with, without []time.Duration
	for b.Loop() {
		eventually(b, "there is a spare", func() bool { return spares.Idle() == 1 })
		time.Sleep(150 * time.Millisecond) // so that its interpreter is up, and nothing else going on
		with = append(with, echo(spared))
		time.Sleep(150 * time.Millisecond)
		without = append(without, echo(plain))
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Microseconds())
	}
	b.ReportMetric(median(with), "µs-spare")
	b.ReportMetric(median(without), "µs-start")
	b.ReportMetric(median(without)/median(with), "ratio")
}
