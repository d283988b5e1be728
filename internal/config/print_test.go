package config

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// printed writes a configuration to wspawn.toml and loads it.
func printed(t *testing.T, root *Config) (*Config, string) {
	t.Helper()
	var b bytes.Buffer
	if err := Print(&b, root); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("wspawn.toml", b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	again, _, err := Load("wspawn.toml")
	if err != nil {
		t.Fatalf("%v\n%s", err, b.Bytes())
	}
	return again, b.String()
}

func TestPrintedConfigurationIsTheSame(t *testing.T) {
	t.Chdir(t.TempDir())
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		root := New[Config]()
		scatter(r, reflect.ValueOf(root).Elem(), field{})
		root.Include = nil
		again, text := printed(t, root)
		if diff := cmp.Diff(root, again); diff != "" {
			t.Fatalf("seed %d: %s\n%s", seed, diff, text)
		}
	}
}

// scatter puts values at random into a table or value that has its defaults.
func scatter(r *rand.Rand, v reflect.Value, f field) {
	number := func() int64 { return r.Int64N(1<<r.IntN(40) + 1) }
	switch v.Type() {
	case reflect.TypeFor[Mode]():
		v.SetString("0" + strconv.FormatInt(r.Int64N(0o1000), 8))
		return
	case reflect.TypeFor[Path]():
		v.SetString(filepath.Clean(word(r) + "/x"))
		return
	case reflect.TypeFor[Duration]():
		v.SetInt(number() % 1e6 * []int64{1, 1000, 1e9, 60e9}[r.IntN(4)])
		return
	case reflect.TypeFor[Size]():
		v.SetInt(number())
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fields(v.Type()) {
			if f.required || f.typ.Kind() == reflect.Struct || r.IntN(2) == 0 {
				scatter(r, v.FieldByIndex(f.index), f)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		scatter(r, v.Elem(), field{})
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 8))
		v.Set(v.Slice3(0, v.Len(), v.Len()))
		for i := range v.Len() {
			scatter(r, v.Index(i), field{})
		}
		if f.key == "command" && v.Len() > 0 {
			v.Index(0).SetString([]string{"cat", "./cat", "bin/cat", "/bin/cat"}[r.IntN(4)])
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(5) {
			e := reflect.New(v.Type().Elem()).Elem()
			scatter(r, e, field{})
			v.SetMapIndex(reflect.ValueOf(word(r)), e)
		}
	case reflect.String:
		if v.SetString(word(r)); len(f.enum) > 0 {
			v.SetString(f.enum[r.IntN(len(f.enum))])
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		if v.SetInt(number() - 20); len(f.enum) > 0 {
			v.SetInt(r.Int64N(int64(len(f.enum))))
		}
	case reflect.Float64:
		v.SetFloat(r.Float64() * 1000)
	default:
		panic(v.Type())
	}
}

func word(r *rand.Rand) string {
	parts := []string{"a", "web", "1", "-", "_", ".", "[", "]", "=", `"`, `\`, "'", "\n", "\t", "\r", "\x00", "\x1b", "\x7f", " ", "#", "$", "${", "${HOME}", "$$", "{", "}", "ü", "世", "\u200b", "\u2028", "\U0001F600", "\U000E0001"}
	s := "w"
	for range r.IntN(12) {
		s += parts[r.IntN(len(parts))]
	}
	return s
}

func TestPrintIsReadable(t *testing.T) {
	t.Chdir(t.TempDir())
	root := New[Config]()
	root.Listen = []string{"127.0.0.1:8080"}
	root.Route = []*Route{New[Route]()}
	root.Route[0].Files = New[Files]()
	root.Route[0].Files.Root = "www"
	root.Program = map[string]*Program{"my cat": {Command: []string{"cat", "-u"}, Env: map[string]string{"A": "1"}, Stderr: "log"}}
	_, text := printed(t, root)
	want := `listen = ["127.0.0.1:8080"]
drain = "15s"
max_processes = 1024
start_rate = 0

[log]
level = "info"
format = "auto"

[client]
strict = false

[limits]
sessions = 10000
sessions_per_address = 250
rate = 0
rate_per_address = 20
wait = "0s"
waiting = 1000
requests = 10000
requests_per_address = 500

[program."my cat"]
command = ["cat", "-u"]
env = { A = "1" }
no_new_privileges = false
nice = 0
pipe_size = 0
stop = ""
stderr = "log"
unbuffer = false

[[route]]
path = "/"
require_origin = false
default_protocol = "text"
console = "off"

[route.limits]
sessions = 0
sessions_per_address = 0
rate = 0
rate_per_address = 0
sessions_per_user = 0

[route.websocket]
max_message = "1M"
max_frame = 0
max_fragments = 16384
fragment_size = 0
ping = "30s"
ping_grace = "10s"
close_timeout = "5s"
write_timeout = "1m"
message_rate = 0
byte_rate = 0

[route.files]
root = "www"
listings = false
dot_files = false
precompressed = false
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}
