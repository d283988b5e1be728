package watch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestChangesOfContentAreSeenHoweverTheyAreMade(t *testing.T) {
	dir, elsewhere, list := t.TempDir(), t.TempDir(), t.TempDir()
	file, target, link := filepath.Join(dir, "f"), filepath.Join(elsewhere, "t"), filepath.Join(dir, "l")
	missing := filepath.Join(dir, "m")
	write(t, file, "1")
	write(t, target, "1")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	releases := t.TempDir()
	released := filepath.Join(releases, "current", "f")
	release := func(name string) {
		os.Symlink(name, filepath.Join(releases, "current~"))
		if err := os.Rename(filepath.Join(releases, "current~"), filepath.Join(releases, "current")); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"1", "2", "3"} {
		if err := os.Mkdir(filepath.Join(releases, name), 0o777); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(releases, name, "f"), name)
	}
	release("1")
	w, err := New(file, link, list, missing, released)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan []string, 10)
	done := make(chan struct{})
	go func() {
		w.Run(t.Context(), func(files []string) { seen <- files })
		close(done)
	}()
	t.Cleanup(func() { <-done })
	var last []string
	for _, step := range []struct {
		name, want string
		do         func()
	}{
		{"written in place", file, func() { write(t, file, "2") }},
		{"replaced, as editors do", file, func() {
			write(t, file+"~", "3")
			os.Rename(file+"~", file)
		}},
		{"gone and back", file, func() {
			os.Remove(file)
			time.Sleep(2 * quiet)
			write(t, file, "4")
		}},
		{"there for the first time", missing, func() { write(t, missing, "") }},
		{"a new name in a directory", list, func() { write(t, filepath.Join(list, "x"), "1") }},
		{"a name that is gone", list, func() { os.Remove(filepath.Join(list, "x")) }},
		{"the target of a link", link, func() { write(t, target, "2") }},
		{"the link itself", link, func() {
			write(t, target+"2", "3")
			os.Symlink(target+"2", link+"~")
			os.Rename(link+"~", link)
		}},
		{"the new target of the link", link, func() { write(t, target+"2", "4") }},
		{"a link to its directory", released, func() { release("2") }},
		{"in its new directory", released, func() { write(t, filepath.Join(releases, "2", "f"), "2 again") }},
		{"a link to its directory, again", released, func() { release("3") }},
	} {
		// What changes nothing must not be reported.
		write(t, filepath.Join(dir, "other"), step.name)
		now := time.Now()
		os.Chtimes(file, now, now)
		time.Sleep(2 * quiet)
		step.do()
		select {
		case got := <-seen:
			for slices.Equal(got, last) && got[0] != step.want {
				got = <-seen // the one before was seen half written as well
			}
			last = got
			if len(got) != 1 || got[0] != step.want {
				t.Errorf("%s: reported %q, want %q", step.name, got, step.want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not seen", step.name)
		}
	}
}

// Others may write to the directory all the time.
func TestChangesAreSeenInABusyDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "1")
	w, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan []string, 1)
	done := make(chan struct{})
	go func() {
		w.Run(t.Context(), func(files []string) { seen <- files })
		close(done)
	}()
	t.Cleanup(func() { <-done })
	write(t, file, "2")
	for start := time.Now(); ; time.Sleep(quiet / 10) {
		write(t, filepath.Join(dir, "other"), time.Now().String())
		select {
		case <-seen:
			return
		default:
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("not seen")
		}
	}
}

// Who watches other files from now on has not missed what happened just before.
func TestTheLastChangeIsSeen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "1")
	w, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, "2")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	n := 0
	w.Run(ctx, func([]string) { n++ })
	if n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
}

// A directory that is missing, or that may not be read, keeps nobody from seeing the other files, and itself when it comes.
func TestDirectoriesThatAreMissing(t *testing.T) {
	dir := t.TempDir()
	file, missing := filepath.Join(dir, "f"), filepath.Join(dir, "a", "b", "f")
	write(t, file, "1")
	w, err := New(missing, file)
	if err != nil || w.Unwatched != nil {
		t.Fatal(err, w.Unwatched)
	}
	seen, done := make(chan []string, 10), make(chan struct{})
	go func() {
		w.Run(t.Context(), func(files []string) { seen <- files })
		close(done)
	}()
	t.Cleanup(func() { <-done })
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			if !slices.Equal(got, []string{want}) {
				t.Errorf("%q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not seen", want)
		}
	}
	write(t, file, "2")
	expect(file)
	if err := os.MkdirAll(filepath.Dir(missing), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, missing, "1")
	expect(missing)
}
