package config

import (
	"bufio"
	"encoding"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Print writes a configuration as a file that Load reads again, with every value that is not said but holds. What has no
// value is left away. Relative names of files are as seen from where the server runs, so that there is the place of the file.
func Print(w io.Writer, root *Config) error {
	p := printer{w: bufio.NewWriter(w)}
	p.table("", "", reflect.ValueOf(root).Elem())
	return p.w.Flush()
}

type printer struct {
	w       *bufio.Writer
	started bool
}

// table writes a table: a header, the plain keys, and then the tables in it.
func (p *printer) table(header, path string, v reflect.Value) {
	p.header(header)
	type inner struct {
		path string
		v    reflect.Value
	}
	var tables []inner
	for _, f := range fields(v.Type()) {
		value := v.FieldByIndex(f.index)
		switch {
		case f.key == "include":
		case isTables(f.typ):
			if value.Kind() == reflect.Struct || !value.IsNil() {
				if value.Kind() == reflect.Slice && value.Len() == 0 {
					p.line(f.key, "[]")
					continue
				}
				tables = append(tables, inner{join(path, f.key), value})
			}
		case value.IsZero() && f.def == "" && (f.typ.Kind() == reflect.String || f.typ.Kind() == reflect.Slice):
		case value.Kind() == reflect.Map && value.IsNil():
		default:
			line := p.value(f.key, value)
			if value.Kind() == reflect.Map && len(line) > maxLine {
				tables = append(tables, inner{join(path, f.key), value})
				continue
			}
			p.line(f.key, line)
		}
	}
	for _, t := range tables {
		switch t.v.Kind() {
		case reflect.Struct:
			p.table("["+t.path+"]", t.path, t.v)
		case reflect.Pointer:
			p.table("["+t.path+"]", t.path, t.v.Elem())
		case reflect.Slice:
			for i := range t.v.Len() {
				p.table("[["+t.path+"]]", t.path, t.v.Index(i).Elem())
			}
		case reflect.Map:
			if t.v.Len() == 0 {
				p.header("[" + t.path + "]")
			}
			if t.v.Type().Elem().Kind() != reflect.Pointer {
				p.header("[" + t.path + "]")
				for _, key := range sorted(t.v) {
					p.line(join("", key), p.value(key, t.v.MapIndex(reflect.ValueOf(key))))
				}
				continue
			}
			for _, name := range sorted(t.v) {
				path := join(t.path, name)
				p.table("["+path+"]", path, t.v.MapIndex(reflect.ValueOf(name)).Elem())
			}
		}
	}
}

// isTables reports whether values of a type are written with headers.
func isTables(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Pointer:
		return true
	case reflect.Slice, reflect.Map:
		return t.Elem().Kind() == reflect.Pointer
	}
	return false
}

func (p *printer) header(s string) {
	if s == "" {
		return
	}
	if p.started {
		p.w.WriteByte('\n')
	}
	fmt.Fprintln(p.w, s)
	p.started = true
}

func (p *printer) line(key, value string) {
	fmt.Fprintf(p.w, "%s = %s\n", key, value)
	p.started = true
}

// Lists that make longer lines have a line for each element.
const maxLine = 100

func (p *printer) value(key string, v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = p.value("", v.Index(i))
		}
		if s := "[" + strings.Join(items, ", ") + "]"; len(key)+len(s) < maxLine {
			return s
		}
		return "[\n  " + strings.Join(items, ",\n  ") + ",\n]"
	case reflect.Map:
		var items []string
		for _, key := range sorted(v) {
			items = append(items, join("", key)+" = "+p.value("", v.MapIndex(reflect.ValueOf(key))))
		}
		if len(items) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	switch x := v.Interface().(type) {
	case Size:
		if s := x.String(); s[len(s)-1] <= '9' {
			return s
		}
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case bool, int:
		return fmt.Sprint(x)
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, _ := m.MarshalText() // of our own types, which cannot fail
		return quote(string(b))
	}
	return quote(literal(v.String()))
}

func sorted(m reflect.Value) []string {
	keys := make(map[string]bool, m.Len())
	for _, k := range m.MapKeys() {
		keys[k.String()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// bare reports whether a key needs no quotes.
func bare(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(c rune) bool {
		return c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	})
}

// quote writes a string as TOML has it.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(c) && c > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
