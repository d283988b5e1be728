//go:build unix

package config

// DefaultPassEnv returns what a program gets of the server's environment: what interpreters need to
// be found and to speak the user's language, and nothing that is likely to be secret.
func DefaultPassEnv() []string {
	return []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
}
