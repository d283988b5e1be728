//go:build !unix

package config

// DefaultPassEnv returns what a program gets of the server's environment: what programs need to be
// found and run, and nothing that is likely to be secret.
func DefaultPassEnv() []string {
	return []string{"PATH", "PATHEXT", "SystemRoot", "WINDIR", "COMSPEC", "TEMP", "TMP", "USERPROFILE"}
}
