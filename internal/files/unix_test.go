//go:build unix

package files

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAPipeIsNotOpened(t *testing.T) {
	dir := tree(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := handler(t, dir, Options{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/fifo", nil)) // would wait for a writer
	if w.Code != 404 || h.Exists("/fifo") {
		t.Errorf("status %d", w.Code)
	}
}

func TestAFileThatMayNotBeReadIsForbidden(t *testing.T) {
	dir := tree(t)
	name := filepath.Join(dir, "a.txt")
	if err := os.Chmod(name, 0); err != nil {
		t.Fatal(err)
	}
	want := 403
	if f, err := os.Open(name); err == nil { // root may read everything
		f.Close()
		want = 200
	}
	w := httptest.NewRecorder()
	handler(t, dir, Options{}).ServeHTTP(w, httptest.NewRequest("GET", "/a.txt", nil))
	if w.Code != want {
		t.Errorf("status %d, want %d", w.Code, want)
	}
}
