//go:build unix

package cgi_test

import (
	"strings"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/spawner"
)

// A program has a PATH, and nothing else of the server's own environment.
func TestTheEnvironmentIsNotInherited(t *testing.T) {
	t.Setenv("CGI_TEST_SECRET", "tell nobody")
	t.Setenv("HOME", "/nobody's")
	env, err := spawner.Look("env", "")
	if err != nil {
		t.Fatal(err)
	}
	body := get(newEndpoint(t, cgi.Config{File: env}), "/x").Body.String()
	if !strings.Contains("\n"+body, "\nPATH=/") || strings.Contains(body, "nobody") {
		t.Errorf("environment:\n%s", body)
	}
}
