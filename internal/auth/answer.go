package auth

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"

	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/wsframe"
)

// checkField refuses a header line that cannot be added to an answer. Values are not in the error: they may be secrets.
func checkField(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is no name of a header field", name)
	case stream.Reserved(name):
		return fmt.Errorf("%s belongs to the connection or the handshake: it cannot be set", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the value of %s has control characters", name)
	}
	return nil
}

// addLines puts the lines of an identity into an answer, as a middleware does: what answers may have others of the same
// names, but cookies of both are sent.
func addLines(w http.ResponseWriter, lines http.Header) http.ResponseWriter {
	for name, values := range lines {
		if name == "Set-Cookie" {
			values = slices.Concat(w.Header()[name], values)
		}
		w.Header()[name] = values
	}
	if cookies := lines["Set-Cookie"]; len(cookies) > 0 {
		return &cookieWriter{w, cookies}
	}
	return w
}

// A cookieWriter keeps cookies in an answer, whatever lines the program behind it sets. Where a WebSocket is opened, package
// stream does.
type cookieWriter struct {
	http.ResponseWriter
	cookies []string
}

func (w *cookieWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		h := w.Header()
		missing := slices.DeleteFunc(slices.Clone(w.cookies), func(c string) bool { return slices.Contains(h["Set-Cookie"], c) })
		h["Set-Cookie"] = append(missing, h["Set-Cookie"]...)
	}
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets files be sent without a copy.
func (w *cookieWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// Unwrap is for http.ResponseController.
func (w *cookieWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// choose leaves of the subprotocols that r, a WebSocket request, asks for the one that was chosen for the client. So what
// answers sees no other, be it here or a program that does the handshake itself.
func choose(r *http.Request, protocol string) *Refusal {
	if protocol == "" {
		return nil
	}
	req, err := wsframe.ParseRequest(r)
	if err != nil {
		return nil // an ordinary request, or one that is not going to be a WebSocket
	}
	spelling, ok := req.Offers(protocol)
	if !ok {
		return &Refusal{
			Status: http.StatusInternalServerError, Reason: "the subprotocol chosen for this client is none that it asks for",
			Err: fmt.Errorf("%q is not one of %q", protocol, req.Protocols),
		}
	}
	r.Header["Sec-Websocket-Protocol"] = []string{spelling}
	return nil
}

// Select picks the subprotocol that was chosen for a client behind a [Guard], and else that of next, which may be nil. It is
// for [wsframe.Handler].
func Select(next func(*wsframe.Request) string) func(*wsframe.Request) string {
	return func(r *wsframe.Request) string {
		if id := From(r.Context()); id != nil && id.Protocol != "" {
			return id.Protocol
		}
		if next == nil {
			return ""
		}
		return next(r)
	}
}
