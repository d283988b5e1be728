package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Duration is written as "30s" or "1h30m"; 0 needs no unit.
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a time like 30s, 500ms or 1h30m%s", b, meantTime(string(b)))
	}
	*d = Duration(v)
	return nil
}

// meantTime says how a time is written that is meant by something else, "" if that is not known.
func meantTime(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, " ", ""))
	if number, days := strings.CutSuffix(s, "d"); days {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			s = fmt.Sprint(24*n, "h")
		}
	} else if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		s += "s"
	}
	if d, err := time.ParseDuration(s); err != nil || d < 0 {
		return ""
	}
	return "; write " + s
}

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is what UnmarshalText reads.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Set is UnmarshalText, for flags.
func (d *Duration) Set(s string) error { return d.UnmarshalText([]byte(s)) }

// Type is the name that a flag's help shows.
func (d *Duration) Type() string { return "duration" }

// A Size is a number of bytes, written as 4096, "64K", "1M" or "2G" (powers of 1024).
type Size int64

// UnmarshalText reads it.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := ParseSize(string(b))
	*s = Size(n)
	return err
}

// MarshalText writes it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String is what UnmarshalText reads.
func (s Size) String() string {
	for i, unit := range "GMK" {
		if shift := 30 - 10*i; s != 0 && s&(1<<shift-1) == 0 {
			return strconv.FormatInt(int64(s)>>shift, 10) + string(unit)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Set is UnmarshalText, for flags.
func (s *Size) Set(v string) error { return s.UnmarshalText([]byte(v)) }

// Type is the name that a flag's help shows.
func (s *Size) Type() string { return "size" }

// ParseSize reads a number of bytes with an optional K, M or G (2^10, 2^20, 2^30). With an error it is 0.
func ParseSize(s string) (int64, error) {
	if n, ok := parseSize(s); ok {
		return n, nil
	}
	meant := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	meant = strings.TrimSuffix(strings.TrimSuffix(meant, "B"), "I") // KB and KiB
	if _, ok := parseSize(meant); ok {
		return 0, fmt.Errorf("%q is not a size like 4096, 64K or 1M; write %s", s, meant)
	}
	return 0, fmt.Errorf("%q is not a size like 4096, 64K or 1M", s)
}

func parseSize(s string) (n int64, ok bool) {
	digits, shift := s, 0
	if len(s) > 0 {
		if i := strings.IndexByte("KMG", s[len(s)-1]&^0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n << shift, err == nil && n >= 0 && n <= math.MaxInt64>>shift
}

// A Mode is a set of permissions, written in octal: "0660". "" = not set, which is not the same as "0".
type Mode string

// UnmarshalText reads it.
func (m *Mode) UnmarshalText(b []byte) error {
	if _, err := strconv.ParseUint(string(b), 8, 12); err != nil {
		return fmt.Errorf("%q is not an octal number like 0660", b)
	}
	*m = Mode(b)
	return nil
}

// Bits returns the permissions, and whether there are any.
func (m Mode) Bits() (bits uint32, set bool) {
	n, err := strconv.ParseUint(string(m), 8, 12)
	return uint32(n), err == nil
}

// String is what UnmarshalText reads.
func (m Mode) String() string { return string(m) }

// Set is UnmarshalText, for flags.
func (m *Mode) Set(s string) error { return m.UnmarshalText([]byte(s)) }

// Type is the name that a flag's help shows.
func (m *Mode) Type() string { return "mode" }

// A Path is the name of a file or directory, relative to the file that says it.
type Path string

// String is the name.
func (p Path) String() string { return string(p) }

// Set is for flags.
func (p *Path) Set(s string) error { *p = Path(s); return nil }

// Type is the name that a flag's help shows.
func (p *Path) Type() string { return "path" }

// Value is the time in the terms of package time.
func (d Duration) Value() time.Duration { return time.Duration(d) }

// OrNever is Value for packages that take a negative time for no limit, where 0 is one here.
func (d Duration) OrNever() time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}
