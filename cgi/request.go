package cgi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/wspawn/wspawn/internal/gateway"
)

// unknownLength deals with a body of unknown length: it is collected, refused or left as it is.
func (c *call) unknownLength(r *http.Request) (*http.Request, error) {
	g := c.g
	if g.CollectBody <= 0 {
		if g.NeedLength {
			return nil, &GatewayError{Status: http.StatusLengthRequired, Reason: "the length of the request body is needed"}
		}
		return r, nil
	}
	limit := g.CollectBody
	if g.MaxBody > 0 {
		limit = min(limit, g.MaxBody)
	}
	var all bytes.Buffer
	var body gateway.Body
	body.Init(c.rc, r, gateway.OrDefault(g.ClientTimeout, DefaultClientTimeout), limit)
	if !c.here.Cut(func() { body.End(false) }) {
		return nil, shuttingDown()
	}
	if _, err := all.ReadFrom(&body); err != nil && body.Err() == nil {
		return nil, shuttingDown() // it was cut
	} else if err != nil {
		return nil, ours(err)
	}
	known := *r
	known.TransferEncoding = nil
	known.ContentLength = int64(all.Len())
	known.Body = io.NopCloser(&all)
	return &known, nil
}

type redirectKey struct{}

// redirection is what a request knows about the local redirects that led to it.
type redirection struct {
	count    int
	original string // request target of the client
}

// redirected puts the target of a local redirect into the variables.
func redirected(r *http.Request, v *Vars) {
	if d, ok := r.Context().Value(redirectKey{}).(redirection); ok {
		if v.RequestURI == "" {
			v.RequestURI = d.original
		}
		if v.RedirectURI == "" {
			v.RedirectURI = r.URL.RequestURI()
		}
	}
}

// localRequest makes the request that a local redirect to target means. Nothing of a body is
// left in it, and no wish for an upgrade.
func localRequest(r *http.Request, status int, target string) (*http.Request, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" {
		return nil, &GatewayError{Status: http.StatusBadGateway, Reason: "the program redirects to nowhere", Err: err}
	}
	d, _ := r.Context().Value(redirectKey{}).(redirection)
	if d.count++; d.count > MaxRedirects {
		return nil, &GatewayError{Status: http.StatusBadGateway, Reason: "too many local redirects", Err: errors.New("redirect loop at " + target)}
	}
	if d.original == "" {
		if d.original = r.RequestURI; d.original == "" {
			d.original = r.URL.RequestURI()
		}
	}
	local := r.Clone(context.WithValue(r.Context(), redirectKey{}, d))
	keep := status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
	if local.Method != http.MethodHead && !keep {
		local.Method = http.MethodGet
	}
	u.Scheme, u.Host = r.URL.Scheme, r.URL.Host
	local.URL, local.RequestURI = u, target
	local.Body, local.ContentLength, local.TransferEncoding, local.Trailer = http.NoBody, 0, nil, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Expect", "Upgrade", "Transfer-Encoding"} {
		local.Header.Del(name)
	}
	return local, nil
}
