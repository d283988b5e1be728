package framing

import (
	"strings"
	"testing"
)

func TestOptionsThatContradict(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string // in the error; "": none
	}{
		{Options{}, ""},
		{Options{Framing: JSON, InvalidUTF8: Refuse, LongLine: Refuse}, ""},
		{Options{Framing: Base64 + 1}, "framing 7"},
		{Options{MaxLine: -1}, "negative"},
		{Options{OtherType: Escape}, "escape cannot be the choice for other type"},
		{Options{Delimiters: Split}, "split"},
		{Options{InvalidUTF8: Pass}, "pass"},
		{Options{LongLine: Strip}, "strip"},
		{Options{Delimiters: Strip, Framing: Raw}, "not for raw"},
		{Options{LongLine: Strip + 1}, "choice 8"},
		{Options{Delimiters: Escape, Framing: Length}, "not for length"},
		{Options{Framing: JSON, LongLine: Split}, "neither split"},
		{Options{Framing: JSON, InvalidUTF8: AsBinary}, "neither split"},
		{Options{Framing: Frames, InvalidUTF8: Refuse, LongLine: Refuse}, ""},
		{Options{Framing: Frames, Binary: true}, "each frame has its type"},
		{Options{Framing: Frames, OtherType: Pass}, "each frame has its type"},
		{Options{Framing: Frames, OtherType: Refuse}, "each frame has its type"},
		{Options{Framing: Frames, LongLine: Split}, "neither split nor changed"},
		{Options{Framing: Frames, InvalidUTF8: AsBinary}, "neither split nor changed"},
		{Options{Framing: Frames, InvalidUTF8: Replace}, "neither split nor changed"},
		{Options{Framing: Frames, Delimiters: Escape}, "not for frames"},
	} {
		err := tt.o.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}

func TestNamesOfSettings(t *testing.T) {
	for f := Lines; f <= Base64; f++ {
		if got, err := Parse(f.String()); got != f || err != nil {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	if _, err := Parse("line"); err == nil || !strings.Contains(err.Error(), `"lines" "null"`) {
		t.Errorf("got %v", err)
	}
	if got, err := ParseChoice("delimiters", "escape", Pass, Escape, Refuse); got != Escape || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseChoice("delimiters", "split", Pass, Escape, Refuse); err == nil || !strings.Contains(err.Error(), `["pass" "escape" "refuse"]`) {
		t.Errorf("got %v", err)
	}
}
