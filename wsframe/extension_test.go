package wsframe

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseExtensions(t *testing.T) {
	tests := []struct {
		lines []string
		want  []string // as String writes them; nil means malformed
	}{
		{nil, []string{}},
		{[]string{""}, []string{}},
		{[]string{" , ,\t"}, []string{}},
		{[]string{"foo"}, []string{"foo"}},
		{[]string{"permessage-deflate; client_max_window_bits; server_max_window_bits=10, x-webkit"},
			[]string{"permessage-deflate; client_max_window_bits; server_max_window_bits=10", "x-webkit"}},
		{[]string{`foo; a="10"`, "foo"}, []string{"foo; a=10", "foo"}},
		{[]string{"foo\t;\ta = b\t,bar "}, []string{"foo; a=b", "bar"}},
		{[]string{`foo; a="\1\0"`}, []string{"foo; a=10"}},
		{[]string{",foo,,"}, []string{"foo"}},
		{[]string{"Foo; Bar=Baz"}, []string{"Foo; Bar=Baz"}},

		{[]string{"foo bar"}, nil},
		{[]string{"foo;"}, nil},
		{[]string{"foo; ;a"}, nil},
		{[]string{"foo; =b"}, nil},
		{[]string{"foo; a="}, nil},
		{[]string{"foo; a=,bar"}, nil},
		{[]string{`foo; a=""`}, nil},
		{[]string{`foo; a="b c"`}, nil},
		{[]string{`foo; a="b,c"`}, nil},
		{[]string{`foo; a="b`}, nil},
		{[]string{`foo; a="b`, `c"`}, nil},
		{[]string{`foo; a="b\`}, nil},
		{[]string{`foo; a="\""`}, nil},
		{[]string{`foo; a="b"c`}, nil},
		{[]string{`"foo"`}, nil},
		{[]string{"foo;a=b=c"}, nil},
		{[]string{"foo/1"}, nil},
		{[]string{"föo"}, nil},
		{[]string{"foo" + strings.Repeat(";a", maxListed+1)}, nil},
	}
	for _, tt := range tests {
		all, err := parseExtensions(tt.lines)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%q: %v, error %v", tt.lines, all, err)
			continue
		}
		var got []string
		for _, e := range all {
			got = append(got, e.String())
		}
		if err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
		}
	}
}

// Whatever is parsed can be written, and then has the same meaning.
func FuzzExtensions(f *testing.F) {
	for _, s := range []string{
		"", "foo", "permessage-deflate; client_max_window_bits; server_max_window_bits=10, foo",
		`foo; a="10"; b="\x"`, ",,a;b=c ;d , e\ng; h", `a;b="`, `a;b="\`, "a;", "a\x00b", "a=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseExtensions(strings.Split(s, "\n"))
		if err != nil {
			return
		}
		var list []string
		for _, e := range all {
			list = append(list, e.String())
			if !isToken(e.Name) || len(e.Params) > maxListed {
				t.Errorf("%q: extension %q", s, e)
			}
			for _, p := range e.Params {
				if !isToken(p.Name) || p.Value != "" && !isToken(p.Value) {
					t.Errorf("%q: parameter %q", s, p)
				}
			}
		}
		again, err := parseExtensions([]string{strings.Join(list, ", ")})
		if err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("%q: %q, then %q, %v", s, all, again, err)
		}
	})
}
