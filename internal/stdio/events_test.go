package stdio

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestEvents(t *testing.T) {
	var v struct {
		Type, Reason string
		Code         int
	}
	line := closeEvent(&wsframe.CloseError{Code: 4001, Reason: "a\n\"b\""})
	if err := json.Unmarshal(line, &v); err != nil || v.Type != "close" || v.Code != 4001 || v.Reason != "a\n\"b\"" {
		t.Errorf("%s: %+v, %v", line, v, err)
	}
	if strings.Count(string(line), "\n") != 1 {
		t.Errorf("%q is not a line", line)
	}
}
