// Package xconnect makes the HTTP/2 servers of this process offer WebSockets: they send
// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, section 3) and accept extended CONNECT requests.
//
// Go has no other switch for that than a word in the environment variable GODEBUG, which net/http reads once, when it
// is initialised. Packages are initialised in the order of their paths, those whose imports are ready; so this
// one, which imports nothing but os and whose path sorts before net/http, comes first. Importing it is all that is
// needed, and it concerns every HTTP/2 server of the process: all their handlers must expect such requests.
//
// GODEBUG=http2xconnect=0, set before the process starts, keeps it off.
package xconnect

import "os"

const (
	variable = "GODEBUG"
	setting  = "http2xconnect="
)

var before, wasSet = switchOn()

func switchOn() (before string, wasSet bool) {
	before, wasSet = os.LookupEnv(variable)
	if !says(before) {
		after := setting + "1"
		if before != "" {
			after = before + "," + after
		}
		os.Setenv(variable, after)
	}
	return before, wasSet
}

// says reports whether s has the setting, on or off.
func says(s string) bool {
	for i := 0; i+len(setting) <= len(s); i++ {
		if s[i:i+len(setting)] == setting && (i == 0 || s[i-1] == ',') {
			return true
		}
	}
	return false
}

// Restore gives GODEBUG the value that it had when the process started, so that programs which inherit it know
// nothing of the switch. It is to be called once net/http is initialised, as in an init function of a package
// that imports it.
func Restore() {
	if wasSet {
		os.Setenv(variable, before)
	} else {
		os.Unsetenv(variable)
	}
}
