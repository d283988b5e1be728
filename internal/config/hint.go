package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// whereIs says what to do about a key that its table does not have: it is misspelt, or belongs somewhere else. meant is the key that
// it stands for in this table, "" if there is none.
func whereIs(key string, t reflect.Type) (hint, meant string) {
	var here []string
	for _, f := range fields(t) {
		here = append(here, f.key)
	}
	near, far := Nearest(key, here)
	if near != "" && far <= 1 {
		return "did you mean " + strconv.Quote(near) + "?", near
	}
	others := slices.Clone(owners()[key])
	inner := "" // of the headers of tables in this one
	for _, table := range tables() {
		if table.typ == t && table.header != "" {
			inner = "[" + strings.Trim(table.header, "[]") + "."
		}
	}
	slices.SortStableFunc(others, func(a, b string) int { // those in this table first, the nearest of them in front
		far := func(header string) int {
			if !strings.HasPrefix(header, inner) {
				return 100
			}
			return strings.Count(header, ".")
		}
		return far(a) - far(b)
	})
	switch {
	case len(others) > 3:
		return strconv.Quote(key) + " is a key of " + strings.Join(others[:3], ", ") + " and others", ""
	case len(others) > 0:
		return strconv.Quote(key) + " is a key of " + enumerate(others, "and"), ""
	case near != "" && far <= max(1, len(key)/3):
		return "did you mean " + strconv.Quote(near) + "?", near
	case otherNames[strings.ReplaceAll(key, "-", "_")] != "":
		return "it is " + otherNames[strings.ReplaceAll(key, "-", "_")], ""
	}
	if near, far := Nearest(key, slices.Sorted(maps.Keys(owners()))); far <= 1 && len(key) > 3 {
		return "did you mean " + strconv.Quote(near) + ", a key of " + enumerate(owners()[near][:min(3, len(owners()[near]))], "or") + "?", ""
	}
	slices.Sort(here)
	return "the keys here are " + enumerate(here, "and"), ""
}

// otherNames are what flags are called, and what other servers call it.
var otherNames = map[string]string{
	"port": `listen = ["127.0.0.1:8080"]`, "log_level": `"level" of [log]`, "log_format": `"format" of [log]`,
	"tls_cert": `"certificate" of [[listener]]`, "tls_key": `"key" of [[listener]]`, "origin": `"origins" of [[route]]`,
	"dir": `"programs" of [route.stdio]`, "static": `"root" of [route.files]`, "compress": `"compression" of [route.websocket]`,
	"chdir": `"directory" of [program.NAME]`,
}

// owners returns the tables that have a key.
var owners = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	for _, t := range tables() {
		for _, f := range fields(t.typ) {
			all[f.key] = append(all[f.key], t.String())
		}
	}
	return all
})

// Nearest returns the word that takes the fewest changes to become s, and their number. Case, and dashes for underscores, count
// for nothing. Without words it is "" and 0.
func Nearest(s string, words []string) (word string, distance int) {
	fold := func(s string) []rune { return []rune(strings.ToLower(strings.ReplaceAll(s, "-", "_"))) }
	for _, w := range words {
		if d := changes(fold(s), fold(w)); word == "" || d < distance {
			word, distance = w, d
		}
	}
	return word, distance
}

// changes counts the letters to insert, delete, replace, or swap with the next one (optimal string alignment).
func changes(a, b []rune) int {
	if len(a) > 64 { // no key is so long
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			d := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				d = 1 + min(d, rows[i-1][j], rows[i][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

func choice(enum []string) string {
	var list []string
	for _, e := range enum {
		if _, err := strconv.Atoi(e); err != nil {
			e = strconv.Quote(e)
		}
		list = append(list, e)
	}
	return enumerate(list, "or")
}

func enumerate(list []string, and string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + and + " " + list[last]
}

// example is a value of a type.
func example(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return `"30s"`
	case reflect.TypeFor[Size]():
		return `"64K"`
	case reflect.TypeFor[Mode]():
		return `"0660"`
	}
	switch t.Kind() {
	case reflect.String:
		return `"..."`
	case reflect.Slice:
		return "[" + example(t.Elem()) + "]"
	}
	return "..."
}

// Longer texts are not repeated.
const maxQuoted = 40

// wrongType says what a value is, what it has to be, and how that is written.
func wrongType(t reflect.Type, n *node, f field, path string) string {
	is := "a date or time"
	switch v := n.value.(type) {
	case nil:
		if is = "a table"; n.list {
			is = "a list"
		}
	case string:
		if is = "text"; len(v) < maxQuoted {
			is = strconv.Quote(v)
		}
	case bool:
		is = strconv.FormatBool(v)
	case int64:
		is = strconv.FormatInt(v, 10)
	case float64:
		is = strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprintf("%s is not %s", is, wanted(t, n, f, path))
}

// wanted says what a value of a type is, and how the one that is there may be meant.
func wanted(t reflect.Type, n *node, f field, path string) string {
	number := ""
	if i, ok := n.value.(int64); ok {
		number = strconv.FormatInt(i, 10)
	}
	text, isText := n.value.(string)
	switch t {
	case reflect.TypeFor[Duration]():
		if number != "" && number[0] != '-' {
			return fmt.Sprintf("a time; write %q for seconds", number+"s")
		}
		return fmt.Sprintf("a time; write %q", Duration(30*time.Second))
	case reflect.TypeFor[Size]():
		return `a size; write 4096 or "64K"`
	case reflect.TypeFor[Mode]():
		return `a set of permissions; write them in quotes, as "0660"`
	}
	switch t.Kind() {
	case reflect.String:
		if len(f.enum) > 0 {
			return "text; write " + choice(f.enum)
		}
		if number != "" {
			return fmt.Sprintf("text; write %q, in quotes", number)
		}
		return `text; write "...", in quotes`
	case reflect.Bool:
		if isText && (text == "true" || text == "false") {
			return "true or false; leave the quotes away"
		}
		return "true or false"
	case reflect.Int:
		if _, err := strconv.ParseInt(text, 10, 0); isText && err == nil {
			return "a whole number; leave the quotes away"
		}
		return "a whole number"
	case reflect.Float64:
		return "a number like 2 or 0.5"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Pointer {
			return fmt.Sprintf("a list of tables; write [[%s]] with double brackets", pathWithoutNumbers(path))
		}
		if isText && len(text) < maxQuoted {
			return fmt.Sprintf("a list; write [%s]", quote(text))
		}
		return fmt.Sprintf("a list; write [%s, ...]", example(t.Elem()))
	case reflect.Map:
		if t.Elem().Kind() == reflect.Pointer {
			return fmt.Sprintf("a table of tables; write [%s.NAME]", pathWithoutNumbers(path))
		}
	}
	if t.Kind() == reflect.Pointer && f.typ != nil && f.typ.Kind() == reflect.Map {
		outer := parent(path)
		if key := path[len(outer)+1:]; !n.list || n.by != byHeader {
			if _, known := lookup(t.Elem(), key); known {
				return fmt.Sprintf("a table with a name; write [%s.NAME] above %s", pathWithoutNumbers(outer), key)
			}
		}
	}
	if path[len(path)-1] == ']' {
		return fmt.Sprintf("a table; write { ... }, or [[%s]] with double brackets", pathWithoutNumbers(path))
	}
	if n.list && t.Kind() != reflect.Map {
		return fmt.Sprintf("a single table; write [%s] with single brackets", pathWithoutNumbers(path))
	}
	return fmt.Sprintf("a table; write [%s], or %s = { ... }", pathWithoutNumbers(path), f.key)
}

// pathWithoutNumbers is what stands in a header.
func pathWithoutNumbers(path string) string {
	for {
		open := strings.IndexByte(path, '[')
		end := strings.IndexByte(path, ']')
		if open < 0 || end < open {
			return path
		}
		path = path[:open] + path[end+1:]
	}
}
