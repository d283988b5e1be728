// Package watch tells when the content of files has changed, or the list of names in directories.
//
// Editors replace files, and deployments swap links, so it is the directories that are watched, of the files and of
// all links on the way to them; an event there only means to look. What counts is the content.
package watch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing has to happen before the files are read: a change is many events. But in a directory
// where always something happens they are read after busy.
const (
	quiet = 100 * time.Millisecond
	busy  = 500 * time.Millisecond
)

// A Watcher watches some files and directories: New, Run.
type Watcher struct {
	// Unwatched says which directory cannot be watched, as one that may not be read; nil is none. It is from New.
	Unwatched error

	files   []string
	sums    map[string][sha256.Size]byte
	watcher *fsnotify.Watcher
}

// New begins to watch. Changes from now on are seen by Run; that a file is there which is missing now is one. The error is that
// nothing at all can be watched.
func New(files ...string) (*Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &Watcher{files: files, sums: make(map[string][sha256.Size]byte), watcher: watcher}
	if w.Unwatched = w.follow(); len(watcher.WatchList()) == 0 && w.Unwatched != nil {
		watcher.Close()
		return nil, w.Unwatched
	}
	w.changed()
	for _, f := range files {
		if _, known := w.sums[f]; !known {
			w.sums[f] = [sha256.Size]byte{} // whatever comes is new
		}
	}
	return w, nil
}

// follow watches the directories that matter now, and no others. The error is that of the first one that cannot be watched.
func (w *Watcher) follow() (first error) {
	var dirs []string
	for _, f := range w.files {
		dirs = append(dirs, directories(f)...)
	}
	for _, dir := range dirs {
		if err := w.watcher.Add(dir); err != nil && first == nil {
			first = fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	for _, dir := range w.watcher.WatchList() {
		if !slices.Contains(dirs, dir) {
			w.watcher.Remove(dir)
		}
	}
	return first
}

// directories returns where a file can change or come, and each link on the way to it. The names have no links in them, so that no
// directory is there twice.
func directories(file string) (dirs []string) {
	split := func(path string) (root string, names []string) {
		root = filepath.VolumeName(path)
		if filepath.IsAbs(path) {
			root += string(filepath.Separator)
		}
		return root, strings.Split(strings.TrimPrefix(filepath.Clean(path), root), string(filepath.Separator))
	}
	path, rest := split(file)
	for links := 0; len(rest) > 0; {
		next := filepath.Join(path, rest[0])
		target, err := os.Readlink(next)
		if err != nil || links == maxLinks {
			path, rest = next, rest[1:]
			continue
		}
		links++
		dirs = append(dirs, filepath.Dir(next))
		root, names := split(target)
		if filepath.IsAbs(target) {
			path = root
		}
		rest = slices.Concat(names, rest[1:])
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		dirs = append(dirs, path)
	}
	dir := filepath.Dir(path)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) { // where one is missing, it comes in the one above
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return append(dirs, dir)
}

// maxLinks are followed, as by Linux.
const maxLinks = 40

// Run calls onChange with the files whose content has changed, until ctx ends; what has changed by then is reported
// before it returns. A file that is gone or cannot be read has not changed: it is about to come back.
func (w *Watcher) Run(ctx context.Context, onChange func(files []string)) {
	defer w.watcher.Close()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var latest time.Time // when to look at the latest; zero: nothing has happened
	soon := func() {
		if latest.IsZero() {
			latest = time.Now().Add(busy)
		}
		timer.Reset(min(quiet, time.Until(latest)))
	}
	look := func() {
		if files := w.changed(); len(files) > 0 {
			onChange(files)
		}
	}
	for {
		select {
		case <-ctx.Done():
			look()
			return
		case <-w.watcher.Events:
			soon()
		case <-w.watcher.Errors: // events were lost: look
			soon()
		case <-timer.C:
			latest = time.Time{}
			w.follow() // before the files are read, so that no change is missed; a directory that is gone is about to come back
			look()
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
	// Opening a pipe would wait for somebody who writes, and take what is written from who needs it.
	if fi, err := os.Stat(file); err == nil && !fi.IsDir() && !fi.Mode().IsRegular() {
		return sum, errors.New("not a file")
	}
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
