package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// What is made of the types: the schema, and the reference in docs. `go generate` writes them.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	c := readComments(t)
	for file, content := range map[string][]byte{"schema.json": c.schema(t), "../../docs/config.md": c.reference(t)} {
		if *update {
			if err := os.WriteFile(file, content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(content), string(got)); diff != "" {
			t.Errorf("%s is not up to date; run go generate ./internal/config\n%s", file, diff)
		}
	}
	if *update {
		return // schema.json has been embedded as it was before
	}
	if Schema() != string(c.schema(t)) {
		t.Error("another schema is embedded")
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	c := readComments(t)
	for _, table := range tables() {
		for _, f := range fields(table.typ) {
			if c.of(f) == "" {
				t.Errorf("%s.%s has no comment, and neither has its type", f.owner.Name(), f.name)
			}
			if f.key == "" || f.key != strings.ToLower(f.key) || !bare(f.key) {
				t.Errorf("%s.%s has the key %q", f.owner.Name(), f.name, f.key)
			}
		}
		if _, ok := c[table.typ.Name()]; !ok {
			t.Errorf("%s has no comment", table.typ.Name())
		}
		list := fields(table.typ)
		for i, f := range list {
			if slices.ContainsFunc(list[:i], func(other field) bool { return other.key == f.key }) {
				t.Errorf("%s has %s twice", table.typ.Name(), f.key)
			}
			if f.def != "" && len(f.enum) > 0 && !slices.Contains(f.enum, f.def) {
				t.Errorf("%s.%s: the default %q is not allowed", f.owner.Name(), f.name, f.def)
			}
		}
		setDefaults(reflect.New(table.typ).Elem()) // panics when a default is wrong
	}
}

func TestExampleOfTheReferenceLoads(t *testing.T) {
	intro, err := os.ReadFile("intro.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(intro), "```toml\n")
	example, _, _ = strings.Cut(example, "```")
	root, _ := load(t, "-- wspawn.toml --\n"+example)
	if len(root.Route) != 5 || len(root.Pool) != 1 {
		t.Errorf("%+v", root)
	}
	in(t, &txtar.Archive{Files: []txtar.File{{Name: "wspawn.toml", Data: []byte(strings.Replace(example, `"lines"`, `"line"`, 1))}}})
	if _, _, err := Load("wspawn.toml"); err == nil || !strings.Contains(string(intro), err.Error()+"\n```") {
		t.Errorf("it is not said that\n%v", err)
	}
}

// comments has those of types, by their name, and of fields, as Type.Field.
type comments map[string]string

func readComments(t *testing.T) comments {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	c := comments{}
	for _, name := range files {
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			d, ok := d.(*ast.GenDecl)
			if !ok || d.Tok != gotoken.TYPE {
				continue
			}
			for _, s := range d.Specs {
				s := s.(*ast.TypeSpec)
				c[s.Name.Name] = d.Doc.Text()
				st, ok := s.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						if f.Doc != nil {
							c[s.Name.Name+"."+n.Name] = f.Doc.Text()
						}
					}
				}
			}
		}
	}
	for key, text := range c {
		c[key] = strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(text, "\n\n", "\x00")), "\n", " ")
		c[key] = strings.ReplaceAll(c[key], "\x00", "\n\n")
	}
	return c
}

// of returns what is said about a field, or else about its type.
func (c comments) of(f field) string {
	if text := c[f.owner.Name()+"."+f.name]; text != "" {
		return text
	}
	t := f.typ
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	return c[t.Name()]
}

type object = map[string]any

// schema makes the JSON Schema.
func (c comments) schema(t *testing.T) []byte {
	top := c.object(reflect.TypeFor[Config]())
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "wspawn"
	top["description"] = "The configuration file of wspawn."
	defs := object{}
	for _, table := range tables()[1:] {
		defs[table.typ.Name()] = c.object(table.typ)
	}
	top["$defs"] = defs
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(top); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (c comments) object(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fields(t) {
		p := schemaOf(f.typ, f)
		p["description"] = c.of(f)
		if f.def != "" {
			p["default"] = json.RawMessage(defaultOf(f))
		}
		properties[f.key] = p
		if f.required {
			required = append(required, f.key)
		}
	}
	o := object{"type": "object", "description": c[t.Name()], "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

const variable = `\$\{` // a reference to one: only the server knows what it is

func schemaOf(t reflect.Type, f field) object {
	switch t {
	case reflect.TypeFor[Duration]():
		return object{"anyOf": []object{
			{"type": "string", "pattern": `^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$|` + variable}, {"const": 0}}}
	case reflect.TypeFor[Size]():
		return object{"anyOf": []object{{"type": "string", "pattern": `^[0-9]+[KMGkmg]?$|` + variable}, {"type": "integer", "minimum": 0}}}
	case reflect.TypeFor[Mode]():
		return object{"type": "string", "pattern": `^[0-7]{1,5}$|` + variable}
	}
	switch t.Kind() {
	case reflect.Struct:
		return object{"$ref": "#/$defs/" + t.Name()}
	case reflect.Pointer:
		return schemaOf(t.Elem(), f)
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), field{})}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), field{})}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int:
		if len(f.enum) > 0 {
			var values []json.RawMessage
			for _, e := range f.enum {
				values = append(values, json.RawMessage(e))
			}
			return object{"enum": values}
		}
		return object{"type": "integer"}
	case reflect.String:
		if len(f.enum) > 0 {
			return object{"anyOf": []object{{"enum": f.enum}, {"type": "string", "pattern": variable}}}
		}
		if f.required {
			return object{"type": "string", "minLength": 1}
		}
		return object{"type": "string"}
	}
	panic(t.String())
}

// defaultOf is the value of a key that is not there, in TOML and in JSON; "" = there is none.
func defaultOf(f field) string {
	switch f.typ.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(f.def == "true")
	case reflect.Int, reflect.Float64:
		return or(f.def, "0")
	case reflect.Int64: // times and sizes
		if _, err := strconv.Atoi(or(f.def, "0")); err == nil {
			return or(f.def, "0")
		}
	}
	if f.def == "" {
		return ""
	}
	return quote(f.def)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// reference makes docs/config.md.
func (c comments) reference(t *testing.T) []byte {
	intro, err := os.ReadFile("intro.md")
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.NewBufferString("<!-- Made by `go generate ./internal/config` of intro.md and the types there. -->\n\n")
	b.Write(intro)
	headers := map[reflect.Type][]string{}
	var order []reflect.Type
	for _, table := range tables()[1:] {
		if headers[table.typ] == nil {
			order = append(order, table.typ)
		}
		headers[table.typ] = append(headers[table.typ], "`"+table.header+"`")
	}
	titles := map[reflect.Type]string{}
	for typ, list := range maps.All(headers) {
		titles[typ] = enumerate(list, "and")
	}
	b.WriteString("\n## At the top of the file\n\n")
	c.keys(b, reflect.TypeFor[Config](), titles)
	for _, typ := range order {
		fmt.Fprintf(b, "\n## %s\n\n%s\n\n", titles[typ], c[typ.Name()])
		c.keys(b, typ, titles)
	}
	return b.Bytes()
}

func (c comments) keys(b *bytes.Buffer, t reflect.Type, titles map[reflect.Type]string) {
	b.WriteString("| key | type | default | |\n| --- | --- | --- | --- |\n")
	for _, f := range fields(t) {
		def := defaultOf(f)
		switch {
		case f.required:
			def = "required"
		case def != "":
			def = "`" + def + "`"
		}
		text := strings.ReplaceAll(c.of(f), "\n\n", " ")
		if len(f.enum) > 0 {
			text += " One of `" + strings.Join(f.enum, "`, `") + "`."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, typeName(f.typ, titles), def, strings.ReplaceAll(text, "|", `\|`))
	}
}

func typeName(t reflect.Type, titles map[reflect.Type]string) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "time"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Mode]():
		return "permissions"
	case reflect.TypeFor[Path]():
		return "file"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true/false"
	case reflect.Struct:
		anchor := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case strings.ContainsRune("`[].,", c):
				return -1
			}
			return c
		}, strings.ToLower(titles[t]))
		return "[table](#" + anchor + ")"
	case reflect.Pointer:
		return typeName(t.Elem(), titles)
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem(), titles))
	case reflect.Map:
		return "table of " + plural(typeName(t.Elem(), titles))
	}
	return "number"
}

func plural(s string) string {
	if name, link, ok := strings.Cut(s, "]("); ok {
		return name + "s](" + link
	}
	return s + "s"
}
