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
	"github.com/wspawn/wspawn/internal/gateway"
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
		a.refuse(w, r, &gateway.Error{Status: http.StatusBadRequest, Reason: err.Error()})
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
		a.refuse(w, r, err)
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
		a.refuse(w, r, err)
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
		a.refuse(w, r, errors.New("an authorizer cannot switch protocols"))
		return nil, false
	}
	gateway.Copy(w.Header(), resp.Header)
	gateway.Early(w, r)
	w.WriteHeader(resp.Status)
	io.Copy(w, resp.Body)
	return nil, false
}

// refuse answers for a backend that has not answered.
func (a *Authorizer) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := err.(*gateway.Error)
	if theirs, is := errors.AsType[*cgi.GatewayError](err); is {
		e = (*gateway.Error)(theirs)
	} else if !ok {
		e = &gateway.Error{Status: http.StatusBadGateway, Err: err}
	}
	if a.Client.Log != nil && e.Status >= 500 {
		a.Client.Log.Warn("authorizer failed", "status", e.Status, "err", err)
	}
	e.Answer(w, r)
}
