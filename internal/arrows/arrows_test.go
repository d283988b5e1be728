// Package arrows holds the test that keeps dependencies between packages one-way.
package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wspawn/wspawn/"

// allowed says which packages of this module a package may import. What is not listed here must be
// added, with a thought about whether the new arrow points down.
var allowed = map[string][]string{
	"internal/xconnect": {},
	"internal/rawio":    {},
	"internal/stream":   {},
	"internal/origin":   {"internal/glob"},
	"internal/glob":     {},
	"internal/files":    {},
	"internal/scripts":  {},
	"internal/console":  {},
	"internal/license":  {},
	"internal/trim":     {},
	"internal/certs":    {},
	"internal/inflate":  {},
	"internal/watch":    {},
	"internal/manpage":  {},
	"internal/stale":    {},
	"internal/metrics":  {},
	"internal/loglimit": {},

	"internal/gateway": {"internal/stream"},
	"internal/backend": {"spawner", "internal/gateway", "internal/rawio"},
	"internal/proxy":   {"internal/backend", "internal/gateway", "internal/relay", "internal/stream"},
	"internal/relay":   {"internal/rawio"},
	"cgi":              {"spawner", "internal/gateway", "internal/stream", "internal/relay", "internal/scripts", "internal/rawio"},
	"scgi":             {"cgi", "internal/rawio", "internal/backend"},
	"internal/cgirun":  {"cgi", "spawner", "internal/rawio", "internal/stale"},
	"fastcgi":          {"cgi", "internal/rawio", "internal/backend", "internal/gateway"},

	"wsframe": {"internal/stream", "internal/rawio", "internal/inflate"},
	"spawner": {"internal/rawio"},

	"internal/clientip":    {"cgi", "wsframe", "internal/glob"},
	"internal/auth":        {"cgi", "spawner", "wsframe", "internal/limit", "internal/stream"},
	"internal/limit":       {"wsframe"},
	"internal/route":       {"wsframe"},
	"internal/hostname":    {"wsframe", "internal/glob"},
	"internal/subprotocol": {"wsframe"},

	"internal/framing": {"wsframe", "internal/rawio"},
	"internal/feed":    {"internal/rawio"},
	"internal/tunnel":  {"wsframe", "cgi", "internal/backend", "internal/framing", "internal/feed", "internal/rawio"},
	"internal/stdio":   {"wsframe", "spawner", "internal/framing", "internal/feed"},
	"internal/client":  {"wsframe"},
	"internal/listen":  {"internal/clientip", "internal/stale"},
	"internal/config": {
		"cgi", "wsframe", "spawner", "internal/backend", "internal/clientip", "internal/framing", "internal/hostname", "internal/origin", "internal/route",
		"internal/stdio", "internal/stream",
	},
	"internal/host": {
		"cgi", "scgi", "fastcgi", "wsframe", "spawner", "internal/config", "internal/console", "internal/files",
		"internal/origin", "internal/scripts", "internal/stdio", "internal/trim", "internal/watch", "internal/backend",
		"internal/framing", "internal/proxy", "internal/rawio", "internal/route", "internal/stream", "internal/tunnel", "internal/xconnect",
		"internal/auth", "internal/certs", "internal/clientip", "internal/hostname", "internal/limit", "internal/loglimit", "internal/metrics", "internal/listen", "internal/subprotocol",
	},
}

// anywhere are packages that may import everything, because nothing imports them, and test helpers.
func anywhere(pkg string) bool {
	return strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "examples") || pkg == "internal/browsertest" || pkg == "internal/gatewaytest" || pkg == "internal/frametest" || pkg == "internal/h2test" || pkg == "internal/streamtest" || pkg == "internal/arrows"
}

func TestPackagesImportOnlyWhatIsBelowThem(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if anywhere(name) {
			continue
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("%s: a new package: say in this test what it may import", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s, which is not below it", name, ours)
			}
			if name == "internal/xconnect" && i != "os" {
				t.Errorf("%s imports %s: it has to be initialised before net/http, and only os is ready then for sure", name, i)
			}
			if i == "unsafe" && name != "internal/rawio" {
				t.Errorf("%s imports unsafe: that is for internal/rawio alone", name)
			}
		}
	}
}

// The switch for WebSockets over HTTP/2 depends on the order in which packages are initialised.
func TestModulePathSortsBeforeNetHTTP(t *testing.T) {
	if module > "net/http" {
		t.Errorf("%s sorts behind net/http", module)
	}
}
