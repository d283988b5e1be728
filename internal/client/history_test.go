package client

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestHistoryIsKeptInAFileThatOnlyTheUserReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "history")
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"one", "two", "two", "", "bad\x1b", strings.Repeat("x", maxHistoryEntry+1), "three"} {
		h.Add(line)
	}
	h.close()
	h.Add("after the end")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if h, err = openHistory(path); err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if h.Len() != 3 || h.At(0) != "three" || h.At(2) != "one" {
		t.Errorf("history %q", h.lines)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	var b strings.Builder
	for i := 0; b.Len() <= maxHistoryFile+5000; i++ {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("x", 100))
	}
	last := fmt.Sprint("line ", strings.Count(b.String(), "\n")-1)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	h.Add("new")
	h.close()
	if h.Len() != maxHistory || h.At(0) != "new" || !strings.HasPrefix(h.At(1), last+" ") {
		t.Errorf("%d lines, %.20q", h.Len(), h.At(1))
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != maxHistory+1 || !strings.HasSuffix(string(text), "\nnew\n") {
		t.Errorf("file of %d bytes, %v", len(text), err)
	}
}

func TestTheHistoryLivesInTheStateDirectory(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	got, err := HistoryFile()
	if want := filepath.Join(os.Getenv("XDG_STATE_HOME"), "wspawn", "connect_history"); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
}
