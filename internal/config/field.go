package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A field is a key of a table, as the tags of a struct say.
type field struct {
	key      string
	owner    reflect.Type // the struct that has it, which may be embedded
	name     string       // in Go
	typ      reflect.Type
	index    []int
	def      string // "" = none
	enum     []string
	required bool
	min      int // of a number
}

// fields returns the keys of a table, those of embedded structs among them, in the order of the source.
func fields(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for _, inner := range fields(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				list = append(list, inner)
			}
			continue
		}
		this := field{key: f.Tag.Get("toml"), owner: t, name: f.Name, typ: f.Type, index: f.Index, def: f.Tag.Get("default"), required: f.Tag.Get("required") == "true"}
		if least := f.Tag.Get("min"); least != "" {
			this.min, _ = strconv.Atoi(least)
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			this.enum = strings.Split(enum, ",")
		}
		list = append(list, this)
	}
	return list
}

// lookup finds the field of a key.
func lookup(t reflect.Type, key string) (field, bool) {
	list := fields(t)
	i := slices.IndexFunc(list, func(f field) bool { return f.key == key })
	if i < 0 {
		return field{}, false
	}
	return list[i], true
}

// New returns a table with the default values of its keys: those that hold for what nobody says.
func New[T any]() *T {
	t := new(T)
	setDefaults(reflect.ValueOf(t).Elem())
	return t
}

func setDefaults(v reflect.Value) {
	for _, f := range fields(v.Type()) {
		to := v.FieldByIndex(f.index)
		if f.typ.Kind() == reflect.Struct {
			setDefaults(to)
		} else if f.def != "" {
			if err := setText(to, f.def); err != nil {
				panic(fmt.Sprintf("default of %s.%s: %v", f.owner.Name(), f.name, err)) // a mistake of ours
			}
		}
	}
}

// setText sets a scalar from text.
func setText(v reflect.Value, s string) (err error) {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(s)
		v.SetBool(b)
	case reflect.Int:
		var n int
		n, err = strconv.Atoi(s)
		v.SetInt(int64(n))
	case reflect.Float64:
		var n float64
		n, err = strconv.ParseFloat(s, 64)
		v.SetFloat(n)
	default:
		err = fmt.Errorf("a %s has no text", v.Type())
	}
	return err
}

// A table is one that a file can have, with the header that it has there.
type table struct {
	header string // "" at the top of the file
	typ    reflect.Type
}

func (t table) String() string {
	if t.header == "" {
		return "the top of the file"
	}
	return t.header
}

// tables returns all tables, each in front of those in it.
func tables() []table { return tablesOf("", reflect.TypeFor[Config]()) }

func tablesOf(path string, t reflect.Type) []table {
	header := path
	if path != "" {
		header = "[" + path + "]"
	}
	list := []table{{header, t}}
	for _, f := range fields(t) {
		inner := strings.TrimPrefix(path+"."+f.key, ".")
		switch e := f.typ; {
		case e.Kind() == reflect.Struct:
			list = append(list, tablesOf(inner, e)...)
		case e.Kind() == reflect.Pointer:
			list = append(list, tablesOf(inner, e.Elem())...)
		case e.Kind() == reflect.Map && e.Elem().Kind() == reflect.Pointer:
			list = append(list, tablesOf(inner+".NAME", e.Elem().Elem())...)
		case e.Kind() == reflect.Slice && e.Elem().Kind() == reflect.Pointer:
			sub := tablesOf(inner, e.Elem().Elem())
			sub[0].header = "[" + sub[0].header + "]"
			list = append(list, sub...)
		}
	}
	return list
}
