package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is checked in: schema.json, docs/config.md, the answers in testdata")

// in makes a directory with the files of an archive the working directory.
func in(t *testing.T, a *txtar.Archive) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range a.Files {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// Each archive in testdata/mistakes has files, and in `want` what is said about wspawn.toml. `go test -update` writes it.
func TestMistakesAreToldExactly(t *testing.T) {
	archives, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(archives) < 30 {
		t.Fatalf("%d archives, %v", len(archives), err)
	}
	t.Setenv("LEVEL", "loud")
	for _, archive := range archives {
		archive, _ = filepath.Abs(archive)
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			in(t, a)
			root, source, err := Load("wspawn.toml")
			if err == nil || root != nil || source == nil {
				t.Fatalf("%v, %v, %v", root, source, err)
			}
			if _, ok := err.(*multierror.Error); !ok {
				t.Fatalf("%T", err)
			}
			got := err.Error() + "\n"
			if filepath.Separator != '/' {
				got = strings.ReplaceAll(got, string(filepath.Separator), "/")
				a.Files[len(a.Files)-1].Data = []byte(strings.ReplaceAll(string(a.Files[len(a.Files)-1].Data), string(filepath.Separator), "/"))
			}
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			if i < 0 {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				i = len(a.Files) - 1
			}
			if *update {
				a.Files[i].Data = []byte(got)
				if err := os.WriteFile(archive, txtar.Format(a), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(a.Files[i].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTwelveMistakesAreTwelveProblems(t *testing.T) {
	a, err := txtar.ParseFile("testdata/mistakes/twelve-mistakes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	in(t, a)
	var marked, told []int
	for i, line := range strings.Split(string(a.Files[0].Data), "\n") {
		if strings.Contains(line, " # ") {
			marked = append(marked, i+1)
		}
	}
	_, _, err = Load("wspawn.toml")
	var many *multierror.Error
	if !errors.As(err, &many) {
		t.Fatal(err)
	}
	for _, err := range many.Errors {
		told = append(told, err.(*Located).At.Line)
	}
	if len(marked) != 12 || !slices.Equal(marked, told) {
		t.Errorf("marked %v, told %v", marked, told)
	}
}

func load(t *testing.T, archive string) (*Config, *Source) {
	t.Helper()
	in(t, txtar.Parse([]byte(archive)))
	root, source, err := Load("wspawn.toml")
	if err != nil {
		t.Fatal(err)
	}
	return root, source
}

func TestEmptyFileHasTheDefaults(t *testing.T) {
	root, _ := load(t, "-- wspawn.toml --\n")
	if diff := cmp.Diff(New[Config](), root); diff != "" {
		t.Error(diff)
	}
	if root.Log.Level != "info" || root.MaxProcesses != 1024 || root.Drain.String() != "15s" {
		t.Errorf("%+v", root)
	}
}

func TestSettingsAreRead(t *testing.T) {
	t.Setenv("PORT", "8081")
	t.Setenv("WAIT", "5s")
	t.Setenv("EMPTY", "")
	root, source := load(t, `
-- wspawn.toml --
include = ["conf.d/*.toml"]
listen = ["127.0.0.1:${PORT}", "unix:${WSPAWN_TEST_NOT_SET:-/run/x}", "$${PORT}", "a$$${b", "${EMPTY}:1", "${EMPTY:-y}:1"]
drain = "${WAIT}"
start_rate = 5

[program.cat]
command = ["./cat", "-u", "./x"]
directory = "work"
env = { "a.b" = "$${HOME}", c = "1" }
pass_env = []

[[route]]
websocket = { max_message = 2048, ping = 0 }
[route.stdio]
program = "cat"
max_line = "64k"
close_codes = { 3 = 4003, signal = 1011 }
framing = "json"

[[backends.b.server]]
address = "a:1"
[[backends.b.server]]
address = "a:2"
weight = 0
-- conf.d/b.toml --
listen = ["b"]
[log]
level = "debug"
[[route]]
path = "/b"
files.root = "/srv"
-- conf.d/a.toml --
listen = ["a"]
[[route]]
path = "/a"
[route.cgi]
path = "../scripts"
sendfile = ["x", "/y"]
[route.fastcgi.authorizer]
servers = ["z"]
[program.env]
command = ["env"]
`)
	want := New[Config]()
	want.Listen = []string{"127.0.0.1:8081", "unix:/run/x", "${PORT}", "a$${b", ":1", "y:1", "a", "b"}
	want.Drain = Duration(5e9)
	want.StartRate = 5
	want.Log.Level = "debug"
	cat := New[Program]()
	cat.Command = []string{"./cat", "-u", "./x"}
	cat.Directory, cat.PassEnv = "work", []string{}
	cat.Env = map[string]string{"a.b": "${HOME}", "c": "1"}
	env := New[Program]()
	env.Command = []string{"env"}
	want.Program = map[string]*Program{"cat": cat, "env": env}
	main, a, b := New[Route](), New[Route](), New[Route]()
	main.WebSocket.MaxMessage, main.WebSocket.Ping = 2048, 0
	main.Stdio = New[Stdio]()
	main.Stdio.Program, main.Stdio.MaxLine, main.Stdio.Framing.Framing = "cat", 64<<10, "json"
	main.Stdio.CloseCodes = map[string]int{"3": 4003, "signal": 1011}
	a.Path, a.CGI, a.FastCGI = "/a", New[CGI](), New[FastCGI]()
	a.CGI.Path, a.CGI.Sendfile = "scripts", []Path{"conf.d/x", "/y"}
	a.FastCGI.Authorizer = &Target{Servers: []string{"z"}}
	b.Path, b.Files = "/b", New[Files]()
	b.Files.Root = "/srv"
	want.Route = []*Route{main, a, b}
	two := New[Server]()
	two.Address, two.Weight = "a:2", 0
	want.Backends = map[string]*Backends{"b": New[Backends]()}
	want.Backends["b"].Server = []*Server{{Address: "a:1", Weight: 1}, two}
	if diff := cmp.Diff(want, root); diff != "" {
		t.Error(diff)
	}

	for path, want := range map[string]string{
		"drain":                           "wspawn.toml:3:9",
		"listen[1]":                       "wspawn.toml:2:32",
		"listen[7]":                       "conf.d/b.toml:1:11",
		"listen[8]":                       "wspawn.toml:2:10", // its parent
		"route[0].websocket":              "wspawn.toml:13:13",
		"route[0].websocket.ping":         "wspawn.toml:13:42",
		"route[0].websocket.ping_grace":   "wspawn.toml:13:13",
		"route[1].cgi.sendfile[1]":        "conf.d/a.toml:6:18",
		"route[2].files":                  "conf.d/b.toml:6:1",
		"route[2].files.index":            "conf.d/b.toml:6:1",
		`program.cat.env."a.b"`:           "wspawn.toml:9:17",
		`program.cat.env."a.\".[x"`:       "wspawn.toml:9:7",
		"backends.b.server[1].weight":     "wspawn.toml:24:10",
		"backends.b.server[0].weight":     "wspawn.toml:20:14",
		"backends.b":                      "wspawn.toml:20:12",
		"route[1].fastcgi.authorizer":     "conf.d/a.toml:7:16",
		"route[1].fastcgi.authorizer.foo": "conf.d/a.toml:7:16",
	} {
		if at, ok := source.Position(path); !ok || filepath.ToSlash(at.String()) != want {
			t.Errorf("%s: %v %v, want %s", path, at, ok, want)
		}
	}
	if at, ok := source.Position("max_processes"); ok || at.String() != "wspawn.toml" {
		t.Errorf("%v %v", at, ok)
	}
	files := []string{"wspawn.toml", "conf.d/a.toml", "conf.d/b.toml", "conf.d"}
	for i := range files {
		files[i] = filepath.FromSlash(files[i])
	}
	if diff := cmp.Diff(files, source.Files()); diff != "" {
		t.Error(diff)
	}
}

func TestDirectoriesOfPatternsAreWatched(t *testing.T) {
	_, source := load(t, `
-- wspawn.toml --
include = ["sites/*/conf.d/*.toml", "*.conf", "none/*.toml"]
-- sites/a/conf.d/x.toml --
-- sites/b/conf.d/README --
-- sites/c/README --
`)
	want := []string{"wspawn.toml", "sites/a/conf.d/x.toml", "sites/a/conf.d", "sites/b/conf.d", "sites/a", "sites/b", "sites/c", "sites", ".", "none"}
	var got []string
	for _, f := range source.Files() {
		got = append(got, filepath.ToSlash(f))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilesOfSeveralPatternsAreReadOnce(t *testing.T) {
	t.Setenv("SITES", "sites")
	root, source := load(t, `
-- wspawn.toml --
include = ["${SITES}/*.toml", "sites/b.toml", "./sites/../sites/a.toml", "sites/[b-c].toml"]
-- sites/a.toml --
include = ["c.toml"]
listen = ["a"]
-- sites/b.toml --
listen = ["b"]
-- sites/c.toml --
listen = ["c"]
`)
	if !slices.Equal(root.Listen, []string{"a", "c", "b"}) || root.Include != nil || len(source.Files()) != 5 {
		t.Errorf("%q of %q", root.Listen, source.Files())
	}
}

func TestMarkOfByteOrderIsNoMistake(t *testing.T) {
	if root, _ := load(t, "-- wspawn.toml --\n\ufeffmax_processes = 5\n"); root.MaxProcesses != 5 {
		t.Error(root.MaxProcesses)
	}
}

func TestNamesOfFilesAreAbsoluteWhereTheFileIs(t *testing.T) {
	in(t, txtar.Parse([]byte("-- c/x.toml --\n[program.p]\ncommand = [\"../bin/p\", \"q/r\"]\ndirectory = \".\"\n")))
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := Load(filepath.Join(dir, "c", "x.toml"))
	if err != nil {
		t.Fatal(err)
	}
	p := root.Program["p"]
	if p.Command[0] != filepath.Join(dir, "bin", "p") || p.Command[1] != "q/r" || string(p.Directory) != filepath.Join(dir, "c") {
		t.Errorf("%q %q", p.Command, p.Directory)
	}
}

func TestFileThatCannotBeReadIsTold(t *testing.T) {
	t.Chdir(t.TempDir())
	root, source, err := Load("none.toml")
	if root != nil || err == nil || err.Error() != "none.toml: no such file; create it, or correct the name" {
		t.Errorf("%v", err)
	}
	if !slices.Equal(source.Files(), []string{"none.toml"}) {
		t.Errorf("%q", source.Files())
	}
	if err := os.Truncate(touch(t, "large.toml"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load("large.toml"); err == nil || err.Error() != "large.toml: larger than 16M, which no configuration is" {
		t.Errorf("%v", err)
	}
}

func touch(t *testing.T, name string) string {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

// What a check finds is told as what Load finds.
func TestProblemsOfChecksGetTheirPlace(t *testing.T) {
	_, source := load(t, "-- wspawn.toml --\n[[route]]\nstdio = { program = \"no\" }\n")
	var p problems
	p.addf("route[0].stdio.program", "there is no [program.no]")
	p.addf("route[0].cgi", "excludes stdio")
	p.addf("listen", "in use")
	err := source.Locate(p.all)
	want := `wspawn.toml:2:21: route[0].stdio.program: there is no [program.no]
    2 | stdio = { program = "no" }
      |                     ^
wspawn.toml:1:3: route[0].cgi: excludes stdio
    1 | [[route]]
      |   ^
wspawn.toml: listen: in use`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if again := source.Locate(err); again.Error() != want {
		t.Errorf("%v", again)
	}
	var located *Located
	var problem *Problem
	if !errors.As(err, &located) || located.At.Line != 2 || !errors.As(err, &problem) || problem.Setting != "route[0].stdio.program" {
		t.Errorf("%#v", err)
	}
	if source.Locate(nil) != nil {
		t.Error("nothing is a problem")
	}
	if err := (*Source)(nil).Locate(p.all); err.Error() != "route[0].stdio.program: there is no [program.no]\nroute[0].cgi: excludes stdio\nlisten: in use" {
		t.Errorf("%v", err)
	}
	if err := source.Locate(errors.New("plain")); err.Error() != "plain" {
		t.Errorf("%v", err)
	}
}

// Whatever a key has instead of what it should, Read tells the place and what is wrong, once, and goes on.
func TestEveryKeyMayHaveAnyValue(t *testing.T) {
	t.Chdir(t.TempDir())
	var try func(typ reflect.Type, before, after string)
	try = func(typ reflect.Type, before, after string) {
		for _, f := range fields(typ) {
			before := before + f.key + " = "
			for _, value := range []string{"5", `"x"`, `""`, "true", "[]", `["x"]`, "[[]]", "{}", "{ x = 5 }", "{ x = {} }", "[{}]"} {
				text := before + value + after
				if err := os.WriteFile("x.toml", []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
				_, _, err := Read("x.toml")
				var many *multierror.Error
				if !errors.As(err, &many) {
					continue
				}
				seen, unread := map[string]bool{}, ""
				for _, e := range many.Errors {
					l, ok := e.(*Located)
					if !ok || l.Err.Error() == "" || seen[e.Error()] || unread != "" && within(l.Setting, unread) {
						t.Fatalf("%s\n%v", text, err)
					}
					seen[e.Error()] = true
					if strings.Contains(l.Err.Error(), "is not a table") || strings.Contains(l.Err.Error(), "is not a single table") {
						unread = l.Setting
					}
				}
			}
			switch sub := f.typ; {
			case sub.Kind() == reflect.Slice && sub.Elem().Kind() == reflect.Pointer:
				try(sub.Elem().Elem(), before+"[{ ", " }]"+after)
			case sub.Kind() == reflect.Map && sub.Elem().Kind() == reflect.Pointer:
				try(sub.Elem().Elem(), before+"{ x = { ", " } }"+after)
			case sub.Kind() == reflect.Pointer:
				try(sub.Elem(), before+"{ ", " }"+after)
			case sub.Kind() == reflect.Struct:
				try(sub, before+"{ ", " }"+after)
			}
		}
	}
	try(reflect.TypeFor[Config](), "", "\n")
}

func TestFilesThatAreNoText(t *testing.T) {
	t.Chdir(t.TempDir())
	for content, want := range map[string]string{
		"\xff\xfel\x00":          "x.toml: in UTF-16; save it in UTF-8",
		"\xfe\xff\x00l":          "x.toml: in UTF-16; save it in UTF-8",
		"# caf\xe9\n":            "x.toml:1:6: invalid UTF-8 character in comment; save the file in UTF-8\n    1 | # caf?\n      |      ^",
		"drain = '5s'\n\x00\x01": "x.toml: not a text file; a configuration is written in TOML",
	} {
		if err := os.WriteFile("x.toml", []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load("x.toml"); err == nil || err.Error() != want {
			t.Errorf("%q: %v", content, err)
		}
	}
}
