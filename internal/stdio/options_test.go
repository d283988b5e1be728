package stdio

import (
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

func TestOptionsThatContradict(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string // in the error; "": none
	}{
		{Options{}, ""},
		{Options{Options: framing.Options{Framing: framing.JSON, InvalidUTF8: framing.Refuse}, Events: true}, ""},
		{Options{PassStderr: true}, ""},
		{Options{CloseCodes: map[int]wsframe.CloseCode{3: 4003, -1: 1011}}, ""},
		{Options{Options: framing.Options{Framing: framing.Null}, PassStderr: true}, "lines only"},
		{Options{Options: framing.Options{Binary: true}, PassStderr: true}, "excludes binary"},
		{Options{Options: framing.Options{Framing: framing.Base64}}, "for tunnels"},
		{Options{Events: true}, "need the framing json"},
		{Options{RequestMessage: true}, ""},
		{Options{Options: framing.Options{Framing: framing.Raw}, RequestMessage: true}, "needs the framing json or lines"},
		{Options{Options: framing.Options{MaxLine: -1}}, "negative"},
		{Options{Queue: -1}, "negative"},
		{Options{StallTimeout: -1}, "negative"},
		{Options{CloseCodes: map[int]wsframe.CloseCode{3: 1006}}, "1006"},
		{Options{Options: framing.Options{OtherType: framing.Escape}}, "escape cannot be the choice for other type"},
	} {
		err := tt.o.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}
