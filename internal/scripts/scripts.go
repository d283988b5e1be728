// Package scripts finds the program that a URL path means in a directory of
// programs.
//
// The path is walked from the left: directories lead on, the first file is
// the program, and what follows it is path info for the program (RFC 3875
// section 4.1.5). Nothing is guessed: no index, no extension. Symbolic links
// count when they stay inside the directory.
//
// Whether the file can be executed is left to the caller, who has to be told
// by the operating system anyway.
package scripts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrNotFound is returned by [Dir.Find] when the path means no program, for
// whatever reason: nothing there, a directory, a link that leads outside, a
// hidden file, a device. Clients should not learn which; answer 404.
var ErrNotFound = errors.New("no such program")

// Options are the rules of a [Dir].
type Options struct {
	// Hidden also finds what has a name that starts with a dot.
	Hidden bool
}

// Dir is a directory of programs. It may be used concurrently.
type Dir struct {
	root    *os.Root
	path    string
	options Options
}

// Script is a program found in a [Dir].
type Script struct {
	// File is the absolute path of the file.
	File string
	// Name is the part of the URL path that means the program, with a
	// leading slash: SCRIPT_NAME.
	Name string
	// PathInfo is the rest, empty or with a leading slash: PATH_INFO.
	PathInfo string
	// Info is what the file was when it was found.
	Info fs.FileInfo
}

// Open opens a directory of programs. A relative name is made absolute now.
// Close the Dir to release it.
func Open(dir string, o Options) (*Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, path: abs, options: o}, nil
}

// Path is the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// Close releases the directory. Find fails afterwards.
func (d *Dir) Close() error { return d.root.Close() }

// Find walks a decoded URL path, which must be clean: no empty and no dot
// segments except that it may end with a slash. The error is [ErrNotFound],
// or one of the file system that the owner of the server has to look at.
func (d *Dir) Find(urlPath string) (Script, error) {
	if !strings.HasPrefix(urlPath, "/") || strings.ContainsAny(urlPath, "\x00\\") {
		return Script{}, ErrNotFound
	}
	rest := urlPath
	for name := ""; rest != ""; {
		var part string
		part, rest = cut(rest[1:])
		if part == "" || part == "." || part == ".." || part[0] == '.' && !d.options.Hidden {
			return Script{}, ErrNotFound
		}
		name = path.Join(name, part)
		info, err := d.root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return Script{}, fmt.Errorf("program %q: %w", "/"+name, err)
		case err != nil:
			return Script{}, ErrNotFound
		case info.IsDir():
			continue
		case !info.Mode().IsRegular():
			return Script{}, ErrNotFound
		}
		return Script{
			File:     filepath.Join(d.path, filepath.FromSlash(name)),
			Name:     "/" + name,
			PathInfo: rest,
			Info:     info,
		}, nil
	}
	return Script{}, ErrNotFound // ended on a directory
}

// cut splits before the next slash.
func cut(s string) (part, rest string) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}
