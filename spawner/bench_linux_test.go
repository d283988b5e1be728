package spawner

import (
	"io"
	"os/exec"
	"syscall"
	"testing"
)

func BenchmarkStartAndExit(b *testing.B) {
	s := newSpawner(b, Config{})
	run := func(b *testing.B, prog *Program) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := s.Start(b.Context(), prog, StartOptions{})
			if err != nil {
				b.Fatal(err)
			}
			<-p.Done()
			p.Finish()
			p.ClosePipes()
		}
	}
	b.Run("spawner", func(b *testing.B) { run(b, &Program{Path: "/bin/true"}) })
	b.Run("spawner-limits", func(b *testing.B) {
		run(b, &Program{Path: "/bin/true", Limits: []Limit{{"core", 0, 0}}})
	})
	b.Run("spawner-umask", func(b *testing.B) { run(b, &Program{Path: "/bin/true", Umask: 0o077}) })
	b.Run("spawner-no-new-privileges", func(b *testing.B) { run(b, &Program{Path: "/bin/true", NoNewPrivileges: true}) })
	b.Run("os-exec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			errout, err := cmd.StderrPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, out)
			io.Copy(io.Discard, errout)
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			in.Close()
		}
	})
}

func BenchmarkStderrLine(b *testing.B) {
	s := New(Config{})
	p := &Process{s: s, prog: &Program{}}
	line := []byte("2026-11-21 01:02:03 an ordinary line of some program\n")
	b.ReportAllocs()
	for b.Loop() {
		s.stderrMu.Lock()
		s.addLines(p, line)
		s.stderrMu.Unlock()
	}
}
