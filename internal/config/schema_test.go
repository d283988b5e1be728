package config

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// What the loader takes and what the schema takes is the same.
func TestSchemaAllowsWhatIsPrinted(t *testing.T) {
	t.Chdir(t.TempDir())
	s := parseSchema(t)
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		root := New[Config]()
		scatter(r, reflect.ValueOf(root).Elem(), field{})
		_, text := printed(t, root)
		if wrong := s.check(t, text); wrong != "" {
			t.Fatalf("%s\n%s", wrong, text)
		}
	}
}

func TestSchemaRefusesWhatLoadRefuses(t *testing.T) {
	s := parseSchema(t)
	for _, test := range []struct{ text, wrong string }{
		{"", ""},
		{"drain = 0\nstart_rate = 1\nlog.level = '${LEVEL}'\n", ""},
		{"drain = '${DRAIN}'\n[[route]]\ntunnel.proxy_protocol = 2\nwebsocket = { max_message = '64k', max_frame = 10 }\n", ""},
		{"drain = 5", ".drain: anyOf"},
		{"drain = '5'", ".drain: anyOf"},
		{"dran = '5s'", ".dran: unknown"},
		{"listen = 'x'", ".listen: type"},
		{"listen = [5]", ".listen.0: type"},
		{"log.level = 'loud'", ".log.level: anyOf"},
		{"route = [{ tunnel = { proxy_protocol = 3 } }]", ".route.0.tunnel.proxy_protocol: enum"},
		{"route = [{ files = {} }]", ".route.0.files: root is missing"},
		{"route = [{ files = { root = '' } }]", ".route.0.files.root: minLength"},
		{"program = { x = { umask = '9' } }", ".program.x.umask: pattern"},
		{"program = { x = { pipe_size = -1 } }", ".program.x.pipe_size: anyOf"},
		{"program = { x = { unbuffer = 1 } }", ".program.x.unbuffer: type"},
		{"max_processes = 1.5", ".max_processes: type"},
	} {
		if wrong := s.check(t, test.text); wrong != test.wrong {
			t.Errorf("%s: %q, want %q", test.text, wrong, test.wrong)
		}
	}
}

// validator knows as much of JSON Schema as our schema uses, and fails for more.
type validator struct {
	t   *testing.T
	top object
}

func parseSchema(t *testing.T) *validator {
	t.Helper()
	v := &validator{t: t}
	if err := json.Unmarshal([]byte(Schema()), &v.top); err != nil {
		t.Fatal(err)
	}
	return v
}

// check returns the first thing that is wrong with a file.
func (v *validator) check(t *testing.T, text string) string {
	t.Helper()
	file := map[string]any{}
	if err := toml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	return v.value(v.top, file, "")
}

func (v *validator) value(s object, x any, path string) string {
	for word, arg := range s {
		ok := true
		switch word {
		case "$schema", "title", "description", "default", "$defs", "additionalProperties":
		case "$ref":
			ref, found := v.top["$defs"].(object)[strings.TrimPrefix(arg.(string), "#/$defs/")].(object)
			if !found {
				v.t.Fatalf("%v leads nowhere", arg)
			}
			if wrong := v.value(ref, x, path); wrong != "" {
				return wrong
			}
		case "anyOf":
			ok = slices.ContainsFunc(arg.([]any), func(s any) bool { return v.value(s.(object), x, path) == "" })
		case "enum":
			ok = slices.ContainsFunc(arg.([]any), func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(x) })
		case "const":
			ok = fmt.Sprint(arg) == fmt.Sprint(x)
		case "minimum":
			i, number := x.(int64)
			ok = !number || float64(i) >= arg.(float64)
		case "minLength":
			text, isText := x.(string)
			ok = !isText || len(text) >= int(arg.(float64))
		case "pattern":
			text, isText := x.(string)
			ok = !isText || regexp.MustCompile(arg.(string)).MatchString(text)
		case "type":
			ok = slices.Contains(map[string][]string{
				"string": {"string"}, "boolean": {"bool"}, "integer": {"int64"}, "number": {"int64", "float64"},
				"array": {"[]interface {}"}, "object": {"map[string]interface {}"},
			}[arg.(string)], fmt.Sprintf("%T", x))
		case "items":
			list, _ := x.([]any)
			for i, e := range list {
				if wrong := v.value(arg.(object), e, fmt.Sprintf("%s.%d", path, i)); wrong != "" {
					return wrong
				}
			}
		case "required":
			for _, key := range arg.([]any) {
				if _, there := x.(map[string]any)[key.(string)]; !there {
					return fmt.Sprintf("%s: %s is missing", path, key)
				}
			}
		case "properties":
			// below
		default:
			v.t.Fatalf("%s: what is %q?", path, word)
		}
		if !ok {
			return path + ": " + word
		}
	}
	file, _ := x.(map[string]any)
	properties, _ := s["properties"].(object)
	more, isSchema := s["additionalProperties"].(object)
	for key, e := range file {
		p, known := properties[key].(object)
		switch {
		case known:
		case isSchema:
			p = more
		case s["additionalProperties"] == false:
			return path + "." + key + ": unknown"
		default:
			continue
		}
		if wrong := v.value(p, e, path+"."+key); wrong != "" {
			return wrong
		}
	}
	return ""
}
