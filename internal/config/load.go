package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-multierror"
)

// maxFile is more than anybody writes, and less than what hurts.
const maxFile = 16 << 20

// Load reads a configuration file in TOML, and those that it includes, as one. What it says is complete with
// the default values; relative names of files are as seen from where the server runs; Include is empty, because it has been
// followed. Whether it makes sense is for others to check.
//
// The error has all that is wrong, as a *multierror.Error of *[Located]; the Config is then nil. There always is a Source.
func Load(file string) (*Config, *Source, error) {
	c, l, wrong := read(file)
	if len(wrong) > 0 {
		return nil, l.source, wrong.err()
	}
	return c, l.source, nil
}

// Read is Load and [Config.Check]: the error has what both find, in the order of the files' lines.
func Read(file string) (*Config, *Source, error) {
	c, l, wrong := read(file)
	if c != nil && !l.broken {
		wrong = append(wrong, l.source.check(c, wrong)...)
		l.source.sort(wrong)
	}
	if len(wrong) > 0 {
		return nil, l.source, wrong.err()
	}
	return c, l.source, nil
}

// check finds what is wrong besides. About what could not be read, what it is part of and what is part of it, all has
// been said.
func (s *Source) check(c *Config, known mistakes) mistakes {
	var many *multierror.Error
	if !errors.As(s.Locate(c.Check()), &many) {
		return nil
	}
	var more mistakes
	for _, e := range many.Errors {
		found := e.(*Located)
		same := func(l *Located) bool {
			return l.Setting != "" && (within(l.Setting, found.Setting) || within(found.Setting, l.Setting)) ||
				l.meant != "" && within(found.Setting, l.meant)
		}
		if !slices.ContainsFunc(known, same) {
			more = append(more, found)
		}
	}
	return more
}

// within reports whether a setting is another one, or is in it.
func within(setting, other string) bool {
	rest, ok := strings.CutPrefix(setting, other)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// read returns what can be read, nil if that is nothing.
func read(file string) (*Config, *loader, mistakes) {
	l := &loader{source: newSource()}
	tree, err := l.file(file, nil)
	if err != nil {
		return nil, l, mistakes{l.source.locate(&Problem{Err: err}, Position{File: file})}
	}
	root := New[Config]()
	d := &decoder{source: l.source, broken: l.broken}
	d.table(reflect.ValueOf(root).Elem(), tree, "")
	root.Include = nil
	wrong := append(l.wrong, d.wrong...)
	l.source.sort(wrong)
	return root, l, wrong
}

// sort puts mistakes in the order of the files, as they were read, and of their lines.
func (s *Source) sort(m mistakes) {
	order := func(l *Located) int { return slices.Index(s.files, l.At.File) }
	slices.SortStableFunc(m, func(a, b *Located) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
}

// A loader reads a file and what it includes.
type loader struct {
	source *Source
	wrong  mistakes
	broken bool
}

func (l *loader) add(at Position, setting, format string, args ...any) {
	l.wrong = append(l.wrong, l.source.locate(&Problem{setting, fmt.Errorf(format, args...)}, at))
}

// file returns the tree of a file, which the files of chain include, the last one directly.
func (l *loader) file(file string, chain []string) (*node, error) {
	l.source.files = append(l.source.files, file)
	data, piped, err := readFile(file)
	if err != nil {
		return nil, err
	}
	l.source.piped = l.source.piped || piped
	r := &reader{source: l.source, file: file}
	tree := r.read(data)
	l.wrong, l.broken = append(l.wrong, r.wrong...), l.broken || r.broken
	if include := tree.sub["include"]; include != nil && include.list {
		for i, item := range include.items {
			l.include(tree, item, fmt.Sprintf("include[%d]", i), append(slices.Clip(chain), file))
		}
	}
	return tree, nil
}

// include adds to a tree what the files of a pattern say.
func (l *loader) include(tree, item *node, setting string, chain []string) {
	pattern, ok := item.value.(string)
	if !ok {
		return // the decoder says so
	}
	pattern, err := expand(pattern)
	if err != nil {
		return // as well
	}
	pattern = relativeTo(item.at.File, pattern)
	files := []string{pattern}
	if isPattern(pattern) {
		if files, err = filepath.Glob(pattern); err != nil {
			l.add(item.at, setting, "%q is not a pattern: write \\[ for a [ in a name", pattern)
			return
		}
		dir := filepath.Dir(pattern)
		switch entries, err := os.ReadDir(dir); { // Glob says nothing
		case err != nil && !isPattern(dir) && !errors.Is(err, fs.ErrNotExist):
			l.add(item.at, setting, "%s: %w", dir, reason(err))
		case len(files) == 0 && (err != nil || len(entries) > 0): // an empty directory is meant to be filled later
			l.source.unmatched = append(l.source.unmatched, l.source.locate(&Problem{setting, fmt.Errorf("no file matches %s", pattern)}, item.at))
		}
		l.source.watch(dir)
	}
	slices.Sort(files)
	for _, file := range files {
		if i := slices.IndexFunc(chain, func(f string) bool { return same(f, file) }); i >= 0 {
			l.add(item.at, setting, "%s would include itself (%s); make the pattern narrower, or move the file",
				file, strings.Join(append(slices.Clip(chain[i:]), file), " -> "))
			continue
		}
		if slices.ContainsFunc(l.source.files, func(f string) bool { return same(f, file) }) {
			continue // by another pattern
		}
		sub, err := l.file(file, chain)
		if err != nil {
			l.add(item.at, setting, "%s: %w", file, err)
			continue
		}
		l.merge(tree, sub, reflect.TypeFor[Config](), "")
	}
}

// merge adds what a file says to what others said: lists grow, tables unite, and whatever has a name is said once.
func (l *loader) merge(to, from *node, t reflect.Type, path string) {
	for _, key := range from.keys {
		a, b := to.sub[key], from.sub[key]
		if a == nil {
			to.put(key, b)
			continue
		}
		f, _ := lookup(t, key)
		kind := reflect.Invalid
		if f.typ != nil {
			kind = f.typ.Kind()
		}
		switch {
		case kind == reflect.Slice && a.list && b.list:
			a.items = append(a.items, b.items...)
		case kind == reflect.Struct && a.isTable() && b.isTable():
			l.merge(a, b, f.typ, join(path, key))
		case kind == reflect.Map && a.isTable() && b.isTable():
			for _, key := range b.keys {
				if old := a.sub[key]; old != nil {
					l.twice(join(join(path, f.key), key), old, b.sub[key])
					continue
				}
				a.put(key, b.sub[key])
			}
		case kind == reflect.Slice && a.list, kind == reflect.Struct && a.isTable(), kind == reflect.Map && a.isTable():
			to.sub[key] = b // which is wrong; the decoder says how
		case kind != reflect.Slice && kind != reflect.Struct && kind != reflect.Map:
			l.twice(join(path, key), a, b)
		}
	}
}

func (l *loader) twice(path string, old, again *node) {
	l.add(again.name, path, "already there, at %s; remove one of them", old.name)
}

// watch notes the directories in which files of a pattern may appear: those that match its directory, and what is
// above where that is a pattern as well.
func (s *Source) watch(dir string) {
	dirs := []string{dir}
	for isPattern(dir) {
		matches, _ := filepath.Glob(dir)
		dirs = append(dirs[:len(dirs)-1], matches...)
		dir = filepath.Dir(dir)
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if !slices.Contains(s.directories, dir) {
			s.directories = append(s.directories, dir)
		}
	}
}

func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// readFile returns the content of a file. piped says that it came through a pipe, and cannot be read again.
func readFile(file string) (data []byte, piped bool, err error) {
	flag := os.O_RDONLY
	if info, err := os.Stat(file); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		piped, flag = true, flag|syscall.O_NONBLOCK // or opening it would wait for somebody who writes
	}
	f, err := os.OpenFile(file, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, errors.New("no such file; create it, or correct the name")
	} else if err != nil {
		return nil, false, reason(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, false, errors.New("a directory; name a file in it, or use a pattern like conf.d/*.toml")
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		err = reason(err)
	case piped && len(data) == 0:
		err = errors.New("a pipe that nothing comes through; name a file")
	case len(data) > maxFile:
		err = fmt.Errorf("larger than %v, which no configuration is", Size(maxFile))
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		err = errors.New("in UTF-16; save it in UTF-8")
	case bytes.IndexByte(data, 0) >= 0:
		err = errors.New("not a text file; a configuration is written in TOML")
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), piped, err // which some editors begin files with
}

// reason is an error of a file without the name of the file.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
