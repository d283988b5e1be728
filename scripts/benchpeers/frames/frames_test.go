package main

import (
	"testing"
	"time"
)

// Dialing compares the bytes of the echoes, so this sees that every server
// works with every load.
func TestEveryServerEchoesEveryLoad(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			for _, l := range libraries {
				res, err := r.run(l, 5*time.Millisecond)
				if err != nil {
					t.Errorf("%s: %v", l.name, err)
				} else if res.Rate <= 0 {
					t.Errorf("%s: no messages", l.name)
				}
			}
		})
	}
}
