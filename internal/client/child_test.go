package client

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func childCommand(url string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append([]string{childEnv + "=" + url}, env...)...)
	return cmd
}

// runChild runs the client as a process and returns all it printed.
func runChild(t *testing.T, url string, env ...string) (output string, status int) {
	t.Helper()
	b, err := childCommand(url, env...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(b), 0
}
