//go:build unix

package examples

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/wspawn/wspawn/internal/config"
)

// full.toml is written by hand. It has every key of every table, some of them as comments, and none that does
// not exist.
func TestFullConfigurationHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("full.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^#(\w)`).ReplaceAll(text, []byte("$1"))
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	compare(t, "", reflect.TypeFor[config.Config](), []any{tree})
}

// compare holds what all tables of a type say together against the keys of the type.
func compare(t *testing.T, name string, typ reflect.Type, tables []any) {
	there := map[string][]any{}
	for _, table := range tables {
		for key, value := range table.(map[string]any) {
			there[key] = append(there[key], value)
		}
	}
	for _, f := range fields(typ) {
		key := f.Tag.Get("toml")
		full := strings.TrimPrefix(name+"."+key, ".")
		values, ok := there[key]
		if !ok {
			t.Errorf("%s is missing", full)
			continue
		}
		delete(there, key)
		inner, one := f.Type, func(v any) []any { return []any{v} }
		switch inner.Kind() {
		case reflect.Map:
			inner, one = inner.Elem(), func(v any) []any { return slices.Collect(maps.Values(v.(map[string]any))) }
		case reflect.Slice:
			inner, one = inner.Elem(), func(v any) []any { return v.([]any) }
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct {
			continue
		}
		var all []any
		for _, v := range values {
			all = append(all, one(v)...)
		}
		compare(t, full, inner, all)
	}
	for key := range there {
		t.Errorf("%s.%s does not exist", name, key)
	}
}

// fields returns the keys of a table, those of embedded structs among them.
func fields(t reflect.Type) (list []reflect.StructField) {
	for f := range t.Fields() {
		if f.Anonymous {
			list = append(list, fields(f.Type)...)
		} else {
			list = append(list, f)
		}
	}
	return list
}
