package license

import (
	"os"
	"testing"
)

func TestTheTextIsThatOfTheRepository(t *testing.T) {
	file, err := os.ReadFile("../../docs/LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if string(file) != Text {
		t.Error("docs/LICENSE and license.Text differ")
	}
}
