package files

import (
	"bytes"
	"html"
	"net/http"
	"net/url"
	"strconv"
)

// list answers with the names in a directory. Each is a link; directories end
// with a slash.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, dir string) {
	entries, err := h.visible(dir)
	if err != nil {
		h.fail(w, err)
		return
	}
	var b bytes.Buffer
	b.WriteString("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n")
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		// The URL type escapes what is special in a path, and a colon in a
		// first segment, which would look like a scheme.
		href := url.URL{Path: name}
		b.WriteString("<a href=\"" + html.EscapeString(href.String()) + "\">" + html.EscapeString(name) + "</a>\n")
	}
	b.WriteString("</pre>\n")
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(b.Len()))
	if r.Method != http.MethodHead {
		w.Write(b.Bytes())
	}
}
