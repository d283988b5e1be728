package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-multierror"
)

// A Position is a place in a file.
type Position struct {
	File         string
	Line, Column int // from 1, in characters; 0 = the file as a whole
}

// String is what editors and terminals make a link of.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Located problem knows its place in a file.
type Located struct {
	*Problem // Setting is "" when the problem is not about a single setting

	At      Position
	Excerpt string // two lines: the line of the file and a caret below; "" = there is none

	meant string // the setting that an unknown key stands for: it is not missed
}

// Error is one line that says where, what and what to do, and the excerpt below it.
func (l *Located) Error() string {
	var b strings.Builder
	for _, s := range []string{l.At.String(), l.Setting} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(l.Err.Error())
	if l.Excerpt != "" {
		b.WriteString("\n" + l.Excerpt)
	}
	return b.String()
}

// Unwrap returns the problem.
func (l *Located) Unwrap() error { return l.Problem }

// A Source knows where the settings of a [Config] were said. A nil Source knows no place. It does not change
// once Load has returned it.
type Source struct {
	files       []string            // in the order they were read
	directories []string            // that include patterns look into
	lines       map[string][]string // of each file
	at          map[string]Position // of each setting that is there
	piped       bool                // one of the files is a pipe
	unmatched   mistakes            // patterns of include that find nothing
}

func newSource() *Source {
	return &Source{lines: map[string][]string{}, at: map[string]Position{}}
}

// Files returns the files that were read or should have been, in their order, and the directories in which the
// patterns of `include` look for more. When one of them changes, the configuration may have.
func (s *Source) Files() []string {
	if s == nil {
		return nil
	}
	return slices.Concat(s.files, s.directories)
}

// Piped reports whether some of it came through a pipe, so that it cannot be read again. Of a nil Source it is false.
func (s *Source) Piped() bool { return s != nil && s.piped }

// Position returns where the setting with a path like `route[2].stdio.program` is (elements are counted from 0), or what
// is nearest above it: `route[2].stdio`. Where nothing of the path is in a file, it is the main file as a whole,
// and false.
func (s *Source) Position(path string) (Position, bool) {
	if s == nil {
		return Position{}, false
	}
	for ; path != ""; path = parent(path) {
		if at, ok := s.at[path]; ok {
			return at, true
		}
	}
	if len(s.files) == 0 {
		return Position{}, false
	}
	return Position{File: s.files[0]}, false
}

// Locate returns the error with a place for every [Problem] in it, as a *multierror.Error of *[Located], to be printed line by
// line. An error of Load stays as it is.
func (s *Source) Locate(err error) error {
	if err == nil {
		return nil
	}
	all := []error{err}
	var many *multierror.Error
	if errors.As(err, &many) {
		all = many.Errors
	}
	var list mistakes
	for _, err := range all {
		var located *Located
		var p *Problem
		switch {
		case errors.As(err, &located):
			list = append(list, located)
		case errors.As(err, &p):
			at, _ := s.Position(p.Setting)
			list = append(list, s.locate(p, at))
		default:
			list = append(list, s.locate(&Problem{Err: err}, Position{}))
		}
	}
	return list.err()
}

func (s *Source) locate(p *Problem, at Position) *Located {
	l := &Located{Problem: p, At: at}
	if s != nil && at.Line > 0 && at.Line <= len(s.lines[at.File]) {
		l.Excerpt = excerpt(s.lines[at.File][at.Line-1], at)
	}
	return l
}

// mistakes collects what is wrong with files.
type mistakes []*Located

// err returns them in the order of the files' lines.
func (m mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	return &multierror.Error{
		Errors: slices.Collect(func(yield func(error) bool) {
			for _, l := range m {
				if !yield(l) {
					return
				}
			}
		}),
		ErrorFormat: func(all []error) string {
			var text []string
			for _, err := range all {
				text = append(text, err.Error())
			}
			return strings.Join(text, "\n")
		},
	}
}

// parent cuts the last part off a path.
func parent(path string) string {
	cut, quoted := 0, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case (c == '.' || c == '[') && !quoted:
			cut = i
		}
	}
	return path[:cut]
}

// join appends a key to a path, in quotes where TOML needs them.
func join(path, key string) string {
	if !bare(key) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Lines of excerpts are cut to this number of characters.
const maxExcerpt = 100

// excerpt shows a line and points at a column of it. What terminals could take for a command is replaced.
func excerpt(line string, at Position) string {
	var text []rune
	for _, c := range line {
		if c == utf8.RuneError || c != '\t' && !unicode.IsPrint(c) {
			c = '?'
		}
		text = append(text, c)
	}
	column := max(0, min(at.Column-1, len(text)))
	start := max(0, min(column-maxExcerpt/2, len(text)-maxExcerpt))
	end := min(len(text), start+maxExcerpt)
	before := make([]rune, column-start)
	for i, c := range text[start:column] {
		if before[i] = ' '; c == '\t' {
			before[i] = c
		}
	}
	number := fmt.Sprintf("%5d | ", at.Line)
	margin := strings.Repeat(" ", len(number)-2) + "| "
	return number + string(text[start:end]) + "\n" + margin + string(before) + "^"
}
