package glob

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"a", "a", true}, {"a", "A", false},
		{"*", "", true}, {"*", "abc", true}, {"**", "abc", true}, {"?", "", false}, {"?", "a", true}, {"??", "a", false},
		{"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true}, {"a*c", "ac", true}, {"a*b", "abc", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*?", "", false}, {"?*", "x", true},
		{"*ab*ab", "abab", true}, {"*ab*ab", "aab", false}, {"*a*b*c*", "xxaxxbxxcxx", true}, {"*a*b*c*", "xxaxxcxxbxx", false},
		{"*.a.test", "x.a.test", true}, {"*.a.test", "a.test", false}, {"*aab", "aaaab", true},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.s, got)
		}
	}
	// Much slower ways to do it would take years here.
	if Match(strings.Repeat("*a", 50)+"b", strings.Repeat("a", 10_000)) {
		t.Error("matched")
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("*.a.test", "x.a.test")
	f.Add("?*a?", "aaaa")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 20 || len(s) > 200 || strings.ContainsFunc(pattern+s, func(r rune) bool { return r > 0x7e || r < ' ' }) {
			return // regular expressions are about characters
		}
		quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		if want := regexp.MustCompile("^" + quoted + "$").MatchString(s); Match(pattern, s) != want {
			t.Errorf("%q matches %q: not %v", pattern, s, want)
		}
	})
}
