// Package console is the development console: one page to talk to a WebSocket
// by hand.
//
// The page is complete in itself and loads nothing. It connects to the URL that
// it was loaded from, unless its user says otherwise; whether that is allowed is
// up to the route (the page sends the Origin of the server that it came from).
package console

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strconv"
)

//go:embed console.html
var page []byte

// Where the page has the command.
var placeholder = []byte("{{command}}")

var policy = Policy(page)

// Policy returns the Content-Security-Policy of a console with one script and one
// style element. It names them by their hashes, so that nothing else can run,
// whatever a URL or a message contains. Connections may go to any WebSocket: that
// is the purpose of the page. A page without these elements is a panic.
func Policy(page []byte) string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src ws: wss:; "+
		"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		hashOf(page, "script"), hashOf(page, "style"))
}

// hashOf returns the CSP source expression for the content of the only element
// of the page with that name.
func hashOf(page []byte, element string) string {
	_, rest, _ := bytes.Cut(page, []byte("<"+element+">"))
	content, _, found := bytes.Cut(rest, []byte("</"+element+">"))
	if !found {
		panic("the console has no " + element)
	}
	sum := sha256.Sum256(content)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Handler returns a handler that answers every GET and HEAD with the console.
// The page shows command, which is any text: what runs behind the WebSocket.
func Handler(command string) http.Handler {
	body := bytes.ReplaceAll(page, placeholder, []byte(html.EscapeString(command)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the console answers only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		w.Write(body) // net/http leaves it out for HEAD
	})
}
