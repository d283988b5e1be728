//go:build unix

package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
)

func ignoreSignals() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) }

func TestCommandWithASlashKeepsItsName(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("run.sh", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := parse([]string{"x", "./run.sh", "a"})
	if err != nil || !slices.Equal(c.command, []string{"./run.sh", "a"}) {
		t.Errorf("%q, %v", c.command, err)
	}
}
