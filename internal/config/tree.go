package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A node is a value of a file, with its place. go-toml's own decoder keeps neither the places nor
// more than the first mistake, so that only its parser is used.
type node struct {
	value any // of a scalar: string, bool, int64, float64, or something with a date

	list  bool
	items []*node

	keys []string // of a table, in their order
	sub  map[string]*node

	by   definition
	name Position // of its key
	at   Position // of the value; for what a header makes, it is that of the key
}

// definition is what made a table or list: TOML has rules about who may add to it.
type definition uint8

const (
	byValue  definition = iota // in braces or brackets: complete
	byPath                     // in front of another in a header: may get a header of its own
	byHeader                   // header
	byDots                     // in front of another in a key with dots
)

func (n *node) isTable() bool { return n.sub != nil }

func newTable(by definition, at Position) *node {
	return &node{sub: map[string]*node{}, by: by, name: at, at: at}
}

func (n *node) put(key string, child *node) {
	n.keys = append(n.keys, key)
	n.sub[key] = child
}

// A reader reads one file.
type reader struct {
	source *Source
	file   string
	data   []byte
	starts []int // of the lines
	parser unstable.Parser
	base   int // of the parser's input in data
	wrong  mistakes
	broken bool // by a mistake of syntax: what seems to be missing may be there

	counted int // the last offset whose column was counted, so that long lines are not counted again and again
	column  int
}

// maxSyntax is more mistakes of syntax than people make in one file: what has so many is something else.
const maxSyntax = 20

// read makes a tree of the file. It goes on after mistakes, with the line that follows, so that one run
// finds them all; a mistake that spreads over several lines is told once.
func (r *reader) read(data []byte) *node {
	r.data, r.starts, r.column = slices.Clip(data), []int{0}, 1
	for i, c := range r.data {
		if c == '\n' {
			r.starts = append(r.starts, i+1)
		}
	}
	for line := range strings.Lines(string(data)) {
		r.source.lines[r.file] = append(r.source.lines[r.file], strings.TrimRight(line, "\r\n"))
	}

	root := newTable(byHeader, Position{File: r.file})
	table, silent, next := root, false, 0 // next is where the next expression is
	r.parser.Reset(r.data)
	for {
		if r.parser.NextExpression() {
			e := r.parser.Expression()
			silent = false
			if e.Kind == unstable.KeyValue {
				next = r.lineAfter(r.offset(e.Raw) + int(e.Raw.Length))
				r.keyValue(table, e)
			} else {
				key := last(e.Key())
				next = r.lineAfter(r.offset(key.Raw) + int(key.Raw.Length))
				table = r.header(root, e)
			}
			continue
		}
		var p *unstable.ParserError
		if !errors.As(r.parser.Error(), &p) {
			return root
		}
		r.broken = true
		next = r.skip(next)
		silent = silent && !looksLikeExpression.Match(r.data[next:])
		offset := r.offset(r.parser.Range(p.Highlight))
		if !silent {
			r.add(r.position(offset), "%s", r.explain(p.Message, offset))
			if len(r.wrong) == maxSyntax {
				r.add(r.position(offset), "so many mistakes that the rest is not read; is it a file in TOML?")
				return root
			}
		}
		if r.data[next] == '[' {
			table = newTable(byHeader, Position{}) // whose keys follow is not known
		}
		var part bool
		next, part = r.resume(next, offset)
		silent = silent || part
		r.base = next
		r.parser.Reset(r.data[next:])
	}
}

// skip returns the offset of the next expression: behind space and comments.
func (r *reader) skip(offset int) int {
	for offset < len(r.data)-1 {
		switch r.data[offset] {
		case ' ', '\t', '\r', '\n':
			offset++
		case '#':
			offset = min(r.lineAfter(offset), len(r.data)-1)
		default:
			return offset
		}
	}
	return offset
}

var looksLikeExpression = regexp.MustCompile(`^[ \t]*([A-Za-z0-9_.-]+[ \t]*=|\[\[?[A-Za-z])`)

// resume returns where to go on after a mistake in an expression, and whether what comes there may still be a part
// of that.
func (r *reader) resume(start, mistake int) (next int, part bool) {
	wrong := r.data[start:max(start, mistake)]
	for _, quotes := range []string{`"""`, "'''"} {
		if bytes.Count(wrong, []byte(quotes))%2 == 1 {
			if end := bytes.Index(r.data[mistake:], []byte(quotes)); end >= 0 {
				return r.lineAfter(mistake + end), false
			}
		}
	}
	line := 1 + bytes.LastIndexByte(r.data[:mistake], '\n')
	if line > start && looksLikeExpression.Match(r.data[line:]) {
		return line, false // what was not closed is above
	}
	opened := 0
	for _, c := range wrong {
		switch c {
		case '[', '{':
			opened++
		case ']', '}':
			opened--
		}
	}
	return r.lineAfter(mistake), opened > 0 && r.data[start] != '['
}

// character is what the parser calls one: it takes those of two bytes and more for several.
var character = regexp.MustCompile(`U\+[0-9A-F]+( '.*')?`)

// explain says a message of the parser with what to do.
func (r *reader) explain(message string, offset int) string {
	c, _ := utf8.DecodeRune(r.data[offset:])
	if c == '\\' { // the message is about the next one
		c, _ = utf8.DecodeRune(r.data[min(offset+1, len(r.data)-1):])
	}
	message = character.ReplaceAllLiteralString(message, strconv.QuoteRune(c))
	switch {
	case message == "strings must be quoted":
		return "this is no number; text needs quotes"
	case strings.HasPrefix(message, "invalid character at start of key") && c == '=':
		return "there is no key in front of the ="
	case strings.ContainsRune("\u201c\u201d\u201e\u2018\u2019", c):
		return strconv.QuoteRune(c) + " is no quote here; write \" or ' instead"
	case strings.HasSuffix(message, "at start of value"), strings.HasPrefix(message, "expected keyword"):
		return "this is no value; text needs quotes"
	case strings.HasPrefix(message, "invalid character at start of key") && c == '{':
		return "there is no key in front of the {; a configuration is written in TOML, not in JSON"
	case strings.HasPrefix(message, "expected '=' after key") && c == ':':
		return "a key and its value are written key = value, with = between them"
	case strings.HasPrefix(message, "invalid character at start of key"):
		return strconv.QuoteRune(c) + " begins no key; a name with other characters than letters, digits, - and _ needs quotes"
	case strings.HasPrefix(message, "expected newline"):
		return "the line should end here; text needs quotes, and every key a line of its own"
	case strings.HasPrefix(message, "integers cannot have leading zeroes"):
		return message + "; an octal number is written in quotes"
	case strings.Contains(message, "UTF-8"):
		return message + "; save the file in UTF-8"
	case strings.Contains(message, "escape"):
		return message + `; a backslash is written as \\, or as it is in '...'`
	}
	return message
}

func (r *reader) add(at Position, format string, args ...any) {
	r.wrong = append(r.wrong, r.source.locate(&Problem{Err: fmt.Errorf(format, args...)}, at))
}

func (r *reader) offset(raw unstable.Range) int { return r.base + int(raw.Offset) }

func (r *reader) position(offset int) Position {
	line, found := slices.BinarySearch(r.starts, offset)
	if !found {
		line--
	}
	if start := r.starts[line]; r.counted < start || r.counted > offset {
		r.counted, r.column = start, 1
	}
	r.column += utf8.RuneCount(r.data[r.counted:offset])
	r.counted = offset
	return Position{r.file, line + 1, r.column}
}

func (r *reader) lineAfter(offset int) int {
	if i := bytes.IndexByte(r.data[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(r.data)
}

// header returns the table that a line `[a.b]` or `[[a.b]]` opens.
func (r *reader) header(root *node, e *unstable.Node) *node {
	t, keys := root, e.Key()
	for keys.Next() {
		k := keys.Node()
		key, at := string(k.Data), r.position(r.offset(k.Raw))
		old := t.sub[key]
		if !keys.IsLast() {
			switch {
			case old == nil:
				old = newTable(byPath, at)
				t.put(key, old)
			case old.list && old.by == byHeader:
				old = old.items[len(old.items)-1]
			case !old.isTable() || old.by == byValue:
				r.add(at, "%s on line %d is complete: nothing can be added to it here", name(key), old.name.Line)
				return newTable(byHeader, at)
			}
			t = old
			continue
		}
		if e.Kind == unstable.ArrayTable {
			if old == nil {
				old = &node{list: true, by: byHeader, name: at, at: at}
				t.put(key, old)
			} else if !old.list || old.by != byHeader {
				r.add(at, "%s is not a list of tables on line %d; use [...] or [[...]] for both", name(key), old.name.Line)
				return newTable(byHeader, at)
			}
			t = newTable(byHeader, at)
			old.items = append(old.items, t)
			return t
		}
		switch {
		case old == nil:
			old = newTable(byHeader, at)
			t.put(key, old)
		case old.isTable() && old.by == byPath:
			old.by, old.name, old.at = byHeader, at, at
		case old.list && old.by == byHeader:
			r.add(at, "%s is a list of tables on line %d; use [...] or [[...]] for both", name(key), old.name.Line)
			return newTable(byHeader, at)
		default:
			r.add(at, "%s is already there, on line %d; put all of it in one place", name(key), old.name.Line)
			if !old.isTable() || old.by == byValue {
				return newTable(byHeader, at)
			}
		}
		return old
	}
	return t
}

// keyValue adds what a line `a.b = value` says.
func (r *reader) keyValue(t *node, e *unstable.Node) {
	keys := e.Key()
	for keys.Next() {
		k := keys.Node()
		key, at := string(k.Data), r.position(r.offset(k.Raw))
		old := t.sub[key]
		if keys.IsLast() {
			value := r.value(e.Value(), r.valueAt(r.offset(k.Raw)+int(k.Raw.Length)))
			value.name = at
			if old != nil {
				r.add(at, "%s is already there, on line %d; remove one of them", name(key), old.name.Line)
				return
			}
			t.put(key, value)
			return
		}
		if old == nil {
			old = newTable(byDots, at)
			t.put(key, old)
		} else if old.by != byDots {
			r.add(at, "%s is already there, on line %d; put all of it in one place", name(key), old.name.Line)
			return
		}
		t = old
	}
}

// valueAt returns where the value behind a key begins.
func (r *reader) valueAt(offset int) int {
	for offset < len(r.data) && bytes.IndexByte([]byte(" \t="), r.data[offset]) >= 0 {
		offset++
	}
	return offset
}

// value makes a node of a value, which is at the offset if it does not say itself where it is.
func (r *reader) value(v *unstable.Node, offset int) *node {
	if v.Raw.Length > 0 {
		offset = r.offset(v.Raw)
	}
	n := &node{at: r.position(offset)}
	switch v.Kind {
	case unstable.Array:
		n.list = true
		for items := v.Children(); items.Next(); {
			n.items = append(n.items, r.value(items.Node(), offset))
		}
	case unstable.InlineTable:
		n.sub = map[string]*node{}
		for items := v.Children(); items.Next(); {
			r.keyValue(n, items.Node())
		}
		n.complete()
	case unstable.String:
		n.value = string(v.Data)
	default: // the decoder knows the rules of numbers and dates
		var one struct{ V any }
		if err := toml.Unmarshal([]byte("V = "+string(r.parser.Raw(v.Raw))), &one); err != nil {
			r.add(n.at, "%s", strings.TrimPrefix(err.Error(), "toml: "))
		}
		n.value = one.V
	}
	return n
}

// complete closes a table in braces: also what its keys with dots made.
func (n *node) complete() {
	for _, sub := range n.sub {
		if sub.by == byDots {
			sub.by = byValue
			sub.complete()
		}
	}
}

// name is how messages name a key.
func name(key string) string { return strconv.Quote(key) }

func last(keys unstable.Iterator) *unstable.Node {
	var k *unstable.Node
	for keys.Next() {
		k = keys.Node()
	}
	return k
}
