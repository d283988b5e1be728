package wsframe

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// couldBecome reports whether something behind p could make it valid: the definition, slowly.
func couldBecome(p string) bool {
	if utf8.ValidString(p) {
		return true
	}
	for n := 1; n <= min(3, len(p)); n++ {
		head, tail := p[:len(p)-n], p[len(p)-n:]
		if !utf8.ValidString(head) || utf8.FullRuneInString(tail) {
			continue
		}
		for _, end := range []string{"\x80", "\xBF", "\x80\x80", "\xBF\xBF", "\x80\x80\x80", "\xBF\xBF\xBF", "\x90\x80", "\x9F\xBF", "\xA0\x80"} {
			if utf8.ValidString(tail + end) {
				return true
			}
		}
	}
	return false
}

// checkUTF8 feeds pieces of s, and compares with the definition behind each.
func checkUTF8(s string, cuts ...int) error {
	var u utf8Checker
	at := 0
	for _, cut := range append(cuts, len(s)) {
		ok := u.valid([]byte(s[at:cut]))
		if want := couldBecome(s[:cut]); ok != want {
			return fmt.Errorf("%q behind %q: %v, want %v", s[at:cut], s[:at], ok, want)
		}
		if !ok {
			return nil
		}
		if u.complete() != utf8.ValidString(s[:cut]) {
			return fmt.Errorf("%q is complete: %v", s[:cut], u.complete())
		}
		at = cut
	}
	return nil
}

func checkIncompleteRune(s string) error {
	n := IncompleteRune([]byte(s))
	head, tail := s[:len(s)-n], s[len(s)-n:]
	switch {
	case n < 0 || n > 3:
		return fmt.Errorf("%q: %d bytes", s, n)
	case n > 0 && (utf8.FullRuneInString(tail) || !couldBecome(tail)):
		return fmt.Errorf("%q: %q begins no character", s, tail)
	case n == 0 && !utf8.ValidString(s) && couldBecome(s):
		return fmt.Errorf("%q: end not found", s)
	case couldBecome(s) && !utf8.ValidString(head):
		return fmt.Errorf("%q: cut to %q", s, head)
	}
	return nil
}

func TestUTF8InAllPieces(t *testing.T) {
	texts := append(append([]string{""}, validText...), truncatedText...)
	for _, c := range invalidText {
		texts = append(texts, c.text, "ß"+c.text, c.text+"€", strings.Repeat("a", 40)+c.text)
	}
	for _, s := range texts {
		for i := 0; i <= len(s); i++ {
			if err := checkIncompleteRune(s[:i]); err != nil {
				t.Error(err)
			}
			for j := i; j <= len(s); j++ {
				if err := checkUTF8(s, i, j); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestEveryRuneInPieces(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if r > 0x3000 && r < 0xD700 || r > 0x11000 && r%257 != 0 {
			continue
		}
		s := string(r) // of a surrogate: U+FFFD
		for i := range len(s) {
			if err := checkUTF8(s, i); err != nil {
				t.Fatal(err)
			}
			if n := IncompleteRune([]byte(s[:i])); n != i {
				t.Fatalf("%q: %d", s[:i], n)
			}
		}
	}
}

func FuzzUTF8(f *testing.F) {
	for _, s := range append(validText, truncatedText...) {
		f.Add([]byte(s), uint16(1))
	}
	for _, c := range invalidText {
		f.Add([]byte(c.text), uint16(2))
	}
	f.Fuzz(func(t *testing.T, p []byte, step uint16) {
		s := string(p[:min(len(p), 200)])
		if err := checkIncompleteRune(s); err != nil {
			t.Error(err)
		}
		for i := range len(s) {
			if err := checkUTF8(s, i); err != nil {
				t.Error(err)
			}
		}
		var cuts []int
		for i := int(step%8) + 1; i < len(s); i += int(step%8) + 1 {
			cuts = append(cuts, i)
		}
		if err := checkUTF8(s, cuts...); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkUTF8(b *testing.B) {
	for name, s := range map[string]string{"ascii": strings.Repeat("hello wo", 4096), "mixed": strings.Repeat("grüße €\n", 2979)} {
		b.Run(name, func(b *testing.B) {
			p := []byte(s)
			var u utf8Checker
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if !u.valid(p) {
					b.Fatal("invalid")
				}
			}
		})
	}
}
