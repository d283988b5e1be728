package config

import (
	"encoding"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A decoder fills tables with what files say.
type decoder struct {
	source *Source
	wrong  mistakes
	broken bool // a mistake of syntax hides a part: nothing is missed
}

func (d *decoder) add(at Position, path, format string, args ...any) {
	d.wrong = append(d.wrong, d.source.locate(&Problem{path, fmt.Errorf(format, args...)}, at))
}

// table fills a struct.
func (d *decoder) table(v reflect.Value, n *node, path string) {
	list := fields(v.Type())
	for _, key := range n.keys {
		sub := n.sub[key]
		i := slices.IndexFunc(list, func(f field) bool { return f.key == key })
		if i < 0 {
			hint, meant := whereIs(key, v.Type())
			d.add(sub.name, join(path, key), "unknown key; %s", hint)
			if meant != "" {
				d.wrong[len(d.wrong)-1].meant = join(path, meant)
			}
			continue
		}
		d.value(v.FieldByIndex(list[i].index), sub, join(path, key), list[i])
	}
	for _, f := range list {
		meant := func(l *Located) bool { return l.meant == join(path, f.key) }
		if f.required && n.sub[f.key] == nil && !d.broken && !slices.ContainsFunc(d.wrong, meant) {
			d.add(n.at, join(path, f.key), "missing; add %s = %s", f.key, example(f.typ))
		}
	}
}

// value fills one field, or an element of one.
func (d *decoder) value(v reflect.Value, n *node, path string, f field) {
	if n.value == nil && !n.list && !n.isTable() {
		return // it is no value at all, which has been said
	}
	d.source.at[path] = n.at
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(v, u, n, path)
		return
	}
	wrong := func() { d.add(n.at, path, "%s", wrongType(v.Type(), n, f, path)) }
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem())) // also when it is wrong: who looks further finds something there
		setDefaults(v.Elem())
		if n.isTable() {
			d.table(v.Elem(), n, path)
			return
		}
		wrong()
	case reflect.Struct:
		if n.isTable() {
			d.table(v, n, path)
			return
		}
		wrong()
	case reflect.Slice:
		if !n.list {
			wrong()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
		for i, item := range n.items {
			d.value(v.Index(i), item, path+"["+strconv.Itoa(i)+"]", f)
		}
		if f.key == "command" && v.Len() > 0 {
			command := v.Index(0)
			if s := command.String(); strings.ContainsAny(s, "/"+string(filepath.Separator)) {
				if s = relativeTo(n.items[0].at.File, s); !strings.ContainsAny(s, "/"+string(filepath.Separator)) {
					s = "." + string(filepath.Separator) + s // still no name for PATH
				}
				command.SetString(s)
			}
		}
	case reflect.Map:
		if !n.isTable() {
			wrong()
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range n.keys {
			e := reflect.New(v.Type().Elem()).Elem()
			d.value(e, n.sub[key], join(path, key), f)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	case reflect.String:
		s, ok := d.string(n, path)
		if !ok {
			if _, text := n.value.(string); !text {
				wrong()
			}
			return
		}
		if v.Type() == reflect.TypeFor[Path]() && s != "" {
			s = relativeTo(n.at.File, s)
		}
		v.SetString(s)
		switch {
		case len(f.enum) > 0 && !slices.Contains(f.enum, s):
			d.add(n.at, path, "%q is not allowed; write %s", s, choice(f.enum))
		case f.required && s == "":
			d.add(n.at, path, "must not be empty; write %s", example(f.typ))
		}
	case reflect.Bool:
		b, ok := n.value.(bool)
		if !ok {
			wrong()
		}
		v.SetBool(b)
	case reflect.Int:
		i, ok := n.value.(int64)
		switch {
		case !ok:
			wrong()
		case v.OverflowInt(i):
			d.add(n.at, path, "%d is too large", i)
		case len(f.enum) > 0 && !slices.Contains(f.enum, strconv.FormatInt(i, 10)):
			d.add(n.at, path, "%d is not allowed; write %s", i, choice(f.enum))
		}
		v.SetInt(i)
	case reflect.Float64:
		x, ok := n.value.(float64)
		if i, whole := n.value.(int64); whole {
			x, ok = float64(i), true
		}
		if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
			wrong()
		}
		v.SetFloat(x)
	default:
		panic("config: no rule for " + v.Type().String())
	}
}

// text fills what has a form of its own, where numbers may do as well.
func (d *decoder) text(v reflect.Value, u encoding.TextUnmarshaler, n *node, path string) {
	if s, ok := d.string(n, path); ok {
		if err := u.UnmarshalText([]byte(s)); err != nil {
			d.add(n.at, path, "%w", err)
		}
		return
	}
	i, number := n.value.(int64)
	_, isString := n.value.(string)
	switch u.(type) {
	case *Size:
		if number && i >= 0 {
			v.SetInt(i)
			return
		}
	case *Duration:
		if number && i == 0 {
			v.SetInt(0)
			return
		}
	}
	if !isString {
		d.add(n.at, path, "%s", wrongType(v.Type(), n, field{}, path))
	}
}

// string returns a string of a file, with its variables.
func (d *decoder) string(n *node, path string) (string, bool) {
	s, ok := n.value.(string)
	if !ok {
		return "", false
	}
	s, err := expand(s)
	if err != nil {
		d.add(n.at, path, "%w", err)
	}
	return s, err == nil
}

// relativeTo returns a name as it is meant in a file.
func relativeTo(file, name string) string {
	if filepath.IsAbs(name) || name != "" && os.IsPathSeparator(name[0]) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}
