package fastcgi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// An Authorizer is a middleware that asks a backend in the authorizer role
// (specification, section 6.3) before it lets a request pass. The backend sees
// the header of the request and nothing of its body. Status 200 lets it pass,
// and header fields "Variable-NAME: value" become variables of what follows,
// whatever kind of endpoint that is, see [cgi.WithVars]; anything else is the answer to the
// client. A backend that fails is answered with 502 or 503: nothing passes then.
//
// Client and Next are required; the fields must not change after the first
// request.
type Authorizer struct {
	// Client reaches the backends.
	Client *Client
	// Next answers what may pass.
	Next http.Handler
	// Timeout bounds the whole question. 0 = 60 s, negative = no limit.
	Timeout time.Duration
}

// ServeHTTP asks and then answers or hands on.
func (a *Authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if vars, ok := a.ask(w, r); ok {
		a.Next.ServeHTTP(w, r.WithContext(cgi.WithVars(r.Context(), vars...)))
	}
}

// ask puts the question and answers the client unless the request may pass.
func (a *Authorizer) ask(w http.ResponseWriter, r *http.Request) (vars []cgi.Var, ok bool) {
	list, err := cgi.Variables(r, cgi.Vars{})
	if err != nil {
		http.Error(w, "400 "+err.Error(), http.StatusBadRequest)
		return nil, false
	}
	list = slices.DeleteFunc(list, func(v cgi.Var) bool {
		switch v.Name {
		case "CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME", "SCRIPT_FILENAME":
			return true
		}
		return false
	})
	ex, err := a.Client.open(r.Context(), r, RoleAuthorizer, list, false)
	if err != nil {
		a.fail(w, err)
		return nil, false
	}
	defer ex.Close()
	defer context.AfterFunc(r.Context(), func() { ex.Close() })()
	if d := or(a.Timeout, cgi.DefaultReadTimeout); d > 0 {
		ex.SetReadDeadline(time.Now().Add(d))
	}
	br := bufio.NewReader(ex)
	resp, err := cgi.ReadResponse(br, cgi.ResponseOptions{})
	if err != nil {
		a.fail(w, err)
		return nil, false
	}
	if resp.Status == http.StatusOK {
		for name, values := range resp.Spelled() {
			if len(name) > len("Variable-") && strings.EqualFold(name[:len("Variable-")], "Variable-") {
				vars = append(vars, cgi.Var{Name: name[len("Variable-"):], Value: strings.Join(values, ", ")})
			}
		}
		slices.SortFunc(vars, func(a, b cgi.Var) int { return strings.Compare(a.Name, b.Name) })
		io.Copy(io.Discard, resp.Body)
		return vars, true
	}
	if resp.Status == http.StatusSwitchingProtocols {
		a.fail(w, errors.New("an authorizer cannot switch protocols"))
		return nil, false
	}
	for name, values := range resp.Header {
		switch name {
		case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		default:
			w.Header()[name] = values
		}
	}
	w.WriteHeader(resp.Status)
	io.Copy(w, resp.Body)
	return nil, false
}

func (a *Authorizer) fail(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	if e, ok := errors.AsType[*cgi.GatewayError](err); ok {
		status = e.Status
	}
	if a.Client.Log != nil {
		a.Client.Log.Warn("authorizer failed", "status", status, "err", err)
	}
	http.Error(w, http.StatusText(status), status)
}
