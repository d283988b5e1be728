// Package watch tells when the content of files has changed, or the list of names in directories.
//
// Editors replace files, and deployments swap links, so it is the directories of the files that are
// watched, and of what links point to; an event there only means to look. What counts is the content.
package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing has to happen before the files are read: a change is many events.
const quiet = 100 * time.Millisecond

// A Watcher watches some files and directories: New, Run.
type Watcher struct {
	files   []string
	sums    map[string][sha256.Size]byte
	watcher *fsnotify.Watcher
}

// New begins to watch. Changes from now on are seen by Run; that a file is there which is missing now is one.
func New(files ...string) (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &Watcher{files: files, sums: make(map[string][sha256.Size]byte), watcher: fs}
	for _, f := range files {
		for _, dir := range directories(f) {
			if err := fs.Add(dir); err != nil {
				fs.Close()
				return nil, fmt.Errorf("watch %s: %w", dir, err)
			}
		}
	}
	w.changed()
	for _, f := range files {
		if _, known := w.sums[f]; !known {
			w.sums[f] = [sha256.Size]byte{} // whatever comes is new
		}
	}
	return w, nil
}

// directories returns where a file and what it links to can change.
func directories(file string) []string {
	if fi, err := os.Stat(file); err == nil && fi.IsDir() {
		return []string{file, filepath.Dir(file)}
	}
	dirs := []string{filepath.Dir(file)}
	if target, err := filepath.EvalSymlinks(file); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	return dirs
}

// Run calls onChange with the files whose content has changed, until ctx ends. A file that is gone
// or cannot be read has not changed: it is about to come back.
func (w *Watcher) Run(ctx context.Context, onChange func(files []string)) {
	defer w.watcher.Close()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.watcher.Events:
			timer.Reset(quiet)
		case <-w.watcher.Errors: // events were lost: look
			timer.Reset(quiet)
		case <-timer.C:
			if files := w.changed(); len(files) > 0 {
				onChange(files)
			}
		}
	}
}

// changed notes the content of the files and returns those that have another one than before.
func (w *Watcher) changed() []string {
	var files []string
	for _, f := range w.files {
		sum, err := hash(f)
		if err != nil {
			continue
		}
		if old, known := w.sums[f]; known && old != sum {
			files = append(files, f)
		}
		w.sums[f] = sum
	}
	return files
}

func hash(file string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		names, err := f.Readdirnames(-1)
		slices.Sort(names)
		io.WriteString(h, strings.Join(names, "\x00"))
		return [sha256.Size]byte(h.Sum(nil)), err
	}
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
