package stdio

import (
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestOptionsThatContradict(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string // in the error; "": none
	}{
		{Options{}, ""},
		{Options{Framing: JSON, Events: true, InvalidUTF8: Refuse, LongLine: Refuse}, ""},
		{Options{PassStderr: true}, ""},
		{Options{CloseCodes: map[int]wsframe.CloseCode{3: 4003, -1: 1011}}, ""},
		{Options{Framing: Raw + 1}, "framing 5"},
		{Options{Framing: Null, PassStderr: true}, "lines only"},
		{Options{Binary: true, PassStderr: true}, "excludes binary"},
		{Options{Events: true}, "need the framing json"},
		{Options{MaxLine: -1}, "negative"},
		{Options{Queue: -1}, "negative"},
		{Options{StallTimeout: -1}, "negative"},
		{Options{CloseCodes: map[int]wsframe.CloseCode{3: 1006}}, "1006"},
		{Options{OtherType: Escape}, "escape cannot be the choice for other type"},
		{Options{Delimiters: Split}, "split"},
		{Options{InvalidUTF8: Pass}, "pass"},
		{Options{LongLine: Split + 1}, "choice 7"},
		{Options{Delimiters: Escape, Framing: Length}, "not for length"},
		{Options{Framing: JSON, LongLine: Split}, "neither split"},
		{Options{Framing: JSON, InvalidUTF8: AsBinary}, "neither split"},
	} {
		err := tt.o.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}

func TestNamesOfSettings(t *testing.T) {
	for f := Lines; f <= Raw; f++ {
		if got, err := ParseFraming(f.String()); got != f || err != nil {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	if _, err := ParseFraming("line"); err == nil || !strings.Contains(err.Error(), `"lines" "null"`) {
		t.Errorf("got %v", err)
	}
	if got, err := ParseChoice("delimiters", "escape", Pass, Escape, Refuse); got != Escape || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseChoice("delimiters", "split", Pass, Escape, Refuse); err == nil || !strings.Contains(err.Error(), `["pass" "escape" "refuse"]`) {
		t.Errorf("got %v", err)
	}
}
