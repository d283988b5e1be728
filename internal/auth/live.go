package auth

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// live is a file that is read again when it has changed.
type live[T any] struct {
	path  string
	parse func(data []byte) (T, error)

	mu    sync.Mutex // guards the fields below
	value T
	err   error
	info  os.FileInfo // of what was read; nil: look again
}

// settle is for how long a file has to stay as it is before it is read, ten times that at most.
const settle = 50 * time.Millisecond

// maxFile bounds files, in bytes.
const maxFile = 16 << 20

// get returns what the file says now. A file that cannot be read says nothing: it is an error also when it could be
// read before.
func (l *live[T]) get() (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(l.path)
	if err == nil && l.info != nil && same(info, l.info) {
		return l.value, l.err
	}
	var zero T
	l.value, l.info = zero, nil
	// Somebody may be writing it, who has emptied it first.
	for n := 0; n < 10 && err == nil; n++ {
		if age := time.Since(info.ModTime()); age < 0 || age > settle {
			break
		}
		time.Sleep(settle)
		info, err = os.Stat(l.path)
	}
	if err != nil {
		return zero, err
	}
	data, err := read(l.path)
	if err != nil {
		return zero, err
	}
	if l.value, err = l.parse(data); err != nil {
		err = fmt.Errorf("%s: %w", l.path, err)
	}
	l.err = err
	// Within the same tick of the clock of the file system a file can change again and look the same.
	if time.Since(info.ModTime()) > 2*time.Second {
		l.info = info
	}
	return l.value, err
}

// same reports whether a file has not changed, as far as one can tell.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return data, err
}
