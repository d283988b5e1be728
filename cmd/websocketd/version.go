package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set when releases are built (-ldflags "-X main.version=1.2.3").
var version string

// versionString is the product that answers: "wspawn-1.2.3". As a drop-in the
// command introduces itself as websocketd to programs (SERVER_SOFTWARE), and
// says with the version which websocketd it is.
func versionString() string {
	v := version
	if v == "" {
		v = "devel"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
	}
	return "wspawn-" + v
}

// softwareString is SERVER_SOFTWARE (RFC 3875 section 4.1.17).
func softwareString() string { return "websocketd/" + versionString() }

// versionLine is what --version prints.
func versionLine(name string) string {
	return fmt.Sprintf("%s %s (%s %s-%s)", name, versionString(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
