package config

import (
	"bytes"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"
)

// Whatever is in a file: Load comes back, the tree of the file is what go-toml's own decoder makes of it, and what
// was loaded can be printed and loaded again.
func FuzzLoad(f *testing.F) {
	archives, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatal(archives, err)
	}
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if file.Name != "want" {
				f.Add(file.Data)
			}
		}
	}
	f.Add([]byte("a.b.c = 1\n[a.b.d]\n[[x.y]]\n[x.y.z]\n[[x.y]]\nl = [[1, 2.5], [{a = 1, b.c = inf}], []]\nd = 1979-05-27T07:32:00Z\n"))
	f.Add([]byte("[[route]]\npath = '''\n/x'''\r\n[route.stdio]\ncommand = [\"./x\", # y\n]\nmax_line = 0x10\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		t.Chdir(dir)
		if bytes.Contains(data, []byte("include")) {
			return // of what is in the directory
		}
		source := newSource()
		r := &reader{source: source, file: "x"}
		tree := r.read(slices.Clone(data))
		var want map[string]any
		err := toml.Unmarshal(data, &want)
		if (err == nil) != (len(r.wrong) == 0) {
			t.Fatalf("go-toml: %v; %v", err, r.wrong.err())
		}
		if got := plain(tree); err == nil && !reflect.DeepEqual(got, any(want)) && len(want)+len(got.(map[string]any)) > 0 {
			t.Fatal(cmp.Diff(any(want), got))
		}

		if err := os.WriteFile("x.toml", data, 0o666); err != nil {
			t.Fatal(err)
		}
		root, _, err := Load("x.toml")
		if err != nil {
			if len(err.Error()) == 0 {
				t.Error("an error without words")
			}
			return
		}
		if again, text := printed(t, root); !reflect.DeepEqual(root, again) {
			t.Errorf("%s\n%s", cmp.Diff(root, again), text)
		}
	})
}

// plain is what go-toml makes of a tree.
func plain(n *node) any {
	switch {
	case n.list:
		list := []any{}
		for _, item := range n.items {
			list = append(list, plain(item))
		}
		return list
	case n.isTable():
		table := map[string]any{}
		for key, sub := range maps.All(n.sub) {
			table[key] = plain(sub)
		}
		return table
	}
	if x, ok := n.value.(float64); ok && math.IsNaN(x) {
		return "NaN"
	}
	return n.value
}
