package scripts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func tree(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "scripts")
	for _, name := range []string{"../outside", "a.sh", "sub/b.sh", "sub/deep/c", "sp ace", ".hidden", ".dir/d", "sub.d/e"} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"in": "sub/b.sh", "indir": "sub", "out": "../outside", "outdir": "..", "abs": filepath.Join(top, "outside"), "dangling": "nowhere", "self": "self"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	tests := []struct {
		name, path string
		hidden     bool
		file       string // below the directory; empty: not found
		script     string
		info       string
	}{
		{name: "exact match has no path info", path: "/a.sh", file: "a.sh", script: "/a.sh"},
		{name: "a trailing slash is path info", path: "/a.sh/", file: "a.sh", script: "/a.sh", info: "/"},
		{name: "path info", path: "/a.sh/x/y z", file: "a.sh", script: "/a.sh", info: "/x/y z"},
		{name: "path info is not looked at", path: "/a.sh//x/../..", file: "a.sh", script: "/a.sh", info: "//x/../.."},
		{name: "in a directory", path: "/sub/b.sh/i", file: "sub/b.sh", script: "/sub/b.sh", info: "/i"},
		{name: "in a directory of a directory", path: "/sub/deep/c", file: "sub/deep/c", script: "/sub/deep/c"},
		{name: "a directory with a dot in its name", path: "/sub.d/e", file: "sub.d/e", script: "/sub.d/e"},
		{name: "blank in the name", path: "/sp ace/x", file: "sp ace", script: "/sp ace", info: "/x"},
		{name: "link inside", path: "/in/x", file: "in", script: "/in", info: "/x"},
		{name: "directory link inside", path: "/indir/b.sh", file: "indir/b.sh", script: "/indir/b.sh"},
		{name: "root", path: "/"},
		{name: "empty", path: ""},
		{name: "no leading slash", path: "a.sh"},
		{name: "directory", path: "/sub"},
		{name: "directory with slash", path: "/sub/"},
		{name: "missing", path: "/none"},
		{name: "missing in a directory", path: "/sub/none/x"},
		{name: "no extension is added", path: "/a"},
		{name: "link outside", path: "/out"},
		{name: "directory link outside", path: "/outdir/outside"},
		{name: "absolute link outside", path: "/abs"},
		{name: "dangling link", path: "/dangling"},
		{name: "endless link", path: "/self"},
		{name: "dots", path: "/../outside"},
		{name: "dots behind a directory", path: "/sub/../a.sh"},
		{name: "dot", path: "/./a.sh"},
		{name: "empty segment", path: "//a.sh"},
		{name: "backslash", path: "/..\\outside"},
		{name: "NUL", path: "/a.sh\x00"},
		{name: "hidden file", path: "/.hidden"},
		{name: "hidden directory", path: "/.dir/d"},
		{name: "hidden file on request", path: "/.hidden", hidden: true, file: ".hidden", script: "/.hidden"},
		{name: "hidden directory on request", path: "/.dir/d/x", hidden: true, file: ".dir/d", script: "/.dir/d", info: "/x"},
		{name: "dots are never hidden files", path: "/../outside", hidden: true},
	}
	dir := tree(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Open(dir, Options{Hidden: tt.hidden})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			got, err := d.Find(tt.path)
			if tt.file == "" {
				if !errors.Is(err, ErrNotFound) {
					t.Fatalf("found %+v, %v", got, err)
				}
				return
			}
			want := Script{File: filepath.Join(dir, filepath.FromSlash(tt.file)), Name: tt.script, PathInfo: tt.info, Info: got.Info}
			if err != nil || got != want || !got.Info.Mode().IsRegular() {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestOpenMakesThePathAbsolute(t *testing.T) {
	dir := tree(t)
	t.Chdir(filepath.Dir(dir))
	d, err := Open("scripts", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	t.Chdir("/")
	s, err := d.Find("/a.sh")
	if err != nil || s.File != filepath.Join(d.Path(), "a.sh") || !filepath.IsAbs(s.File) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	dir := tree(t)
	for _, name := range []string{"none", "a.sh"} {
		if d, err := Open(filepath.Join(dir, name), Options{}); err == nil {
			d.Close()
			t.Errorf("%s was accepted", name)
		}
	}
}
