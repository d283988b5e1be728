package host

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsOnPage returns what a page of docs names of tests, each as "TestX" or "TestX/y". It complains about those that do not exist.
func testsOnPage(t *testing.T, page, code string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range regexp.MustCompile("`(Test[A-Z]\\w+)((?:/[\\w.-]+)?)").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(code, "func "+m[1]+"(t *testing.T)") {
			t.Errorf("%s: there is no %s", filepath.Base(page), m[1])
		}
		named = append(named, m[1]+m[2])
	}
	return named
}

// codeOfTests is the text of all files with tests.
func codeOfTests(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return code.String()
}

func TestPagesNameTestsThatExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	code := codeOfTests(t)
	for _, page := range pages {
		named := testsOnPage(t, page, code)
		switch filepath.Base(page) {
		case "from-lighttpd.md", "from-inspircd-and-node.md", "security.md":
			if len(named) < 40 {
				t.Errorf("%s names %d tests alone", page, len(named))
			}
		}
	}
}

// Who comes from InspIRCd or WebSocket-Node finds every setting.
func TestPageForInspIRCdAndNodeHasEverySetting(t *testing.T) {
	page, err := os.ReadFile("../../docs/from-inspircd-and-node.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(`
		hook defaultmode sendastext nativeping proxyranges allow allowmissingorigin pingfreq text.ircv3.net binary.ircv3.net
		httpServer maxReceivedFrameSize maxReceivedMessageSize fragmentOutgoingMessages fragmentationThreshold keepalive keepaliveInterval
		dropConnectionOnKeepaliveTimeout keepaliveGracePeriod useNativeKeepalive assembleFragments autoAcceptConnections ignoreXForwardedFor
		parseCookies parseExtensions disableNagleAlgorithm closeTimeout
		mount unmount closeAllConnections shutDown broadcast request connect close requestAccepted requestRejected upgradeError error
		host resource resourceURL remoteAddress remoteAddresses webSocketVersion key origin requestedProtocols requestedExtensions cookies
		accept reject WebSocketRequest socket protocol extensions connected state message sendUTF sendBytes send drop ping pong sendFrame
		frame fin rsv1 mask opcode length binaryPayload utf8Data binaryData pause resume drain connectFailed httpResponse`) {
		if !regexp.MustCompile("`[^`\n]*\\b" + regexp.QuoteMeta(name) + "\\b").Match(page) {
			t.Errorf("%s is not on the page", name)
		}
	}
}
