package framing

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestBase64OfClients(t *testing.T) {
	o := Options{Framing: Base64}
	for _, tt := range []struct {
		in   []byte
		want string
		code wsframe.CloseCode
	}{
		{join(messageIn(opText, "YQ=="), messageIn(opText, "YmM="), messageIn(opBin, "ZGVm"), messageIn(opText, "")), "abcdef", 0},
		{messageIn(opText, "YQ"), "a", 0}, // without padding
		{messageIn(opText, "YWJj\r\nZGVm\n"), "abcdef", 0},
		{fragments(opText, "Y", "W", "", "Jj", "Z", "A=", "="), "abcd", 0},
		{join(messageIn(opText, "YWJj"), messageIn(opText, "Y")), "abc", 1007},
		{messageIn(opText, "YQ=a"), "", 1007},
		{messageIn(opText, "YQ==="), "", 1007},
		{messageIn(opText, "YQ="), "", 1007},
		{messageIn(opText, "Y==="), "", 1007},
		{messageIn(opText, "===="), "", 1007},
		{messageIn(opText, "YWJj===="), "abc", 1007},
		{messageIn(opText, "YW_-"), "", 1007},
	} {
		var single [][]byte
		for i := range tt.in {
			single = append(single, clone(tt.in[i:i+1]))
		}
		for _, pieces := range [][][]byte{{clone(tt.in)}, single} {
			got, end := encode(&o, pieces...)
			var code wsframe.CloseCode
			if end != nil {
				code = end.Code
			}
			if code != tt.code || tt.code == 0 && got != tt.want || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q: got %q, %d", tt.in, got, code)
			}
		}
	}
}

func TestBase64ForClients(t *testing.T) {
	o := Options{Framing: Base64}
	all := strings.Repeat("\x00\xffabc", 13107)
	got, _ := decode(t, &o, "a", "bc\xff", all)
	if len(got) != 4 || got[0] != text("YQ==") || got[1] != text("YmP/") {
		t.Fatalf("got %v", got)
	}
	var b strings.Builder
	for _, f := range got[2:] {
		p, err := base64.StdEncoding.DecodeString(f.Payload)
		if err != nil || f.Op != opText {
			t.Fatalf("%v: %v", f, err)
		}
		b.Write(p)
	}
	if b.String() != all {
		t.Error("got something else")
	}
}

// What was coded by package encoding/base64 is decoded however it is cut, and nothing makes it write
// more than there is room for.
func FuzzBase64(f *testing.F) {
	f.Add("abcd", "YQ==", []byte{1, 2})
	f.Fuzz(func(t *testing.T, data, other string, cuts []byte) {
		if len(data)+len(other) > 2000 {
			return
		}
		o := Options{Framing: Base64}
		coded := base64.StdEncoding.EncodeToString([]byte(data))
		in := join(fragments(opBin, append(pieces(coded, cuts), "")...), messageIn(opBin, other))
		got, end := encode(&o, in)
		if !strings.HasPrefix(got, data) {
			t.Errorf("got %q, %v", got, end)
		}
		if want, err := base64.StdEncoding.DecodeString(other); err == nil && (end != nil || got != data+string(want)) {
			t.Errorf("%q: got %q, %v", other, got, end)
		}
	})
}
