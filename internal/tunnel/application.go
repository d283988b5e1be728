package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// An Application answers each session as one request behind a gateway (SCGI, uwsgi or FastCGI), without
// knowing the WebSocket protocol: the handshake and the frames are spoken here, and it reads the messages
// of the client as its input and writes its own as output.
//
// It sees an ordinary GET without a body, and no Upgrade. WEBSOCKET_FRAMING tells it that this is a session, and
// how messages lie in the streams: "lines", say. WEBSOCKET_PROTOCOL has the subprotocols that the client asks for, separated by
// ", ". It answers with a CGI header block first: a status of 2xx, or none, accepts, and what follows are messages; it may pick
// a subprotocol with Sec-WebSocket-Protocol, and its Set-Cookie lines go into the 101. Any other status is
// the answer to the client.
type Application struct {
	// Open begins a request: that of an scgi.Endpoint or a fastcgi.Endpoint.
	Open func(ctx context.Context, r *cgi.Request) (cgi.Exchange, error)

	// Vars says which script a request means. Its errors are those of [cgi.Gateway]. nil: SCRIPT_NAME is empty
	// and PATH_INFO is the whole path.
	Vars func(r *http.Request) (cgi.Vars, error)

	// ContentLength is the CONTENT_LENGTH for applications that read no more than that of their
	// input: PHP needs one that no session reaches. 0 = 0, as for every GET; negative = none, which is right for
	// FastCGI.
	ContentLength int64

	// MaxHeader bounds the header block of the answer, in bytes. 0 = 64 KiB.
	MaxHeader int

	// ReadTimeout is how long the application may take to answer. 0 = 60 s.
	ReadTimeout time.Duration
}

// maxRefusal bounds the body of an answer that is no session.
const maxRefusal = 1 << 20

// Endpoint returns the endpoint of the sessions. With o.Framing nil, messages are lines.
func (a *Application) Endpoint(o Options) *Endpoint {
	if o.Framing == nil {
		o.Framing = new(framing.Options)
	}
	kind := o.Framing.Framing
	return &Endpoint{Options: o, Dial: func(ctx context.Context, r *wsframe.Request) (Stream, error) {
		return a.dial(ctx, r, kind)
	}}
}

func (a *Application) dial(ctx context.Context, r *wsframe.Request, kind framing.Kind) (Stream, error) {
	in, err := a.request(r, kind)
	if err != nil {
		return nil, err
	}
	ex, err := a.Open(ctx, in)
	if err != nil {
		return nil, err
	}
	s, err := a.accepted(ctx, r, ex)
	if err != nil {
		ex.Close()
		return nil, err
	}
	return s, nil
}

// request is what the application sees of the handshake.
func (a *Application) request(r *wsframe.Request, kind framing.Kind) (*cgi.Request, error) {
	get := *r.Request
	get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
	get.Header = maps.Clone(r.Header)
	maps.DeleteFunc(get.Header, func(name string, _ []string) bool {
		return name == "Upgrade" || name == "Connection" || name[0] == ':' || strings.HasPrefix(name, "Sec-Websocket-")
	})
	v := cgi.Vars{PathInfo: r.URL.Path}
	if a.Vars != nil {
		var err error
		if v, err = a.Vars(&get); err != nil {
			if _, ok := errors.AsType[*cgi.GatewayError](err); !ok {
				err = internal(err)
			}
			return nil, err
		}
	}
	list, err := cgi.Variables(&get, v)
	if bad, ok := errors.AsType[*cgi.RequestError](err); ok {
		return nil, &wsframe.Rejection{Status: http.StatusBadRequest, Reason: bad.Error(), Err: err}
	} else if err != nil {
		return nil, internal(err)
	}
	switch {
	case a.ContentLength > 0:
		list.Set("CONTENT_LENGTH", strconv.FormatInt(a.ContentLength, 10))
	case a.ContentLength < 0:
		list = slices.DeleteFunc(list, func(v cgi.Var) bool { return v.Name == "CONTENT_LENGTH" })
	}
	list.Set(cgi.FramingVariable, kind.String())
	list.Set("WEBSOCKET_PROTOCOL", strings.Join(r.Protocols, ", "))
	return &cgi.Request{Request: &get, Vars: list, Script: v, Upgrade: true}, nil
}

func internal(err error) error {
	return &wsframe.Rejection{Status: http.StatusInternalServerError, Reason: "internal error", Err: err}
}

// accepted reads the beginning of the answer.
func (a *Application) accepted(ctx context.Context, r *wsframe.Request, ex cgi.Exchange) (Stream, error) {
	defer context.AfterFunc(ctx, func() { ex.SetReadDeadline(time.Unix(1, 0)) })()
	timeout := a.ReadTimeout
	if timeout <= 0 {
		timeout = cgi.DefaultReadTimeout
	}
	ex.SetReadDeadline(time.Now().Add(timeout))
	br := bufio.NewReader(ex)
	answer, err := cgi.ReadResponse(br, cgi.ResponseOptions{MaxHeader: a.MaxHeader})
	if err != nil {
		return nil, err
	}
	switch {
	case answer.Status < 200:
		return nil, fmt.Errorf("the application tries to switch protocols itself")
	case answer.Status >= 300:
		return nil, refused(answer)
	case answer.Body != br:
		return nil, fmt.Errorf("the messages of the application are chunked")
	}
	if p := answer.Header.Get("Sec-Websocket-Protocol"); p != "" {
		if _, ok := r.Offers(p); !ok {
			return nil, fmt.Errorf("the application chose the subprotocol %q, which the client does not ask for", p)
		}
		r.Protocol = p
	}
	if cookies := answer.Header["Set-Cookie"]; len(cookies) > 0 {
		if r.AnswerHeader == nil {
			r.AnswerHeader = make(http.Header)
		}
		r.AnswerHeader["Set-Cookie"] = append(r.AnswerHeader["Set-Cookie"], cookies...)
	}
	early, _ := br.Peek(br.Buffered())
	return &exchange{ex, append([]byte(nil), early...)}, nil
}

// refused is an answer without a session.
func refused(answer *cgi.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	if err != nil {
		return err
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Upgrade", "Trailer", "Transfer-Encoding", "Content-Length"} {
		answer.Header.Del(name)
	}
	return &wsframe.Rejection{Status: answer.Status, Header: answer.Header, Body: string(body)}
}

// An exchange is the Stream of an application.
type exchange struct {
	cgi.Exchange
	early []byte // read with the header block
}

// Early returns what was read before the session, once.
func (x *exchange) Early() []byte {
	p := x.early
	x.early = nil
	return p
}

// Unwrap lets bytes take the short way, where the exchange has one.
func (x *exchange) Unwrap() (io.Reader, rawio.WriteStream) {
	if u, ok := x.Exchange.(unwrapper); ok {
		return u.Unwrap()
	}
	return x.Exchange, x.Exchange
}

// Crashed asks the exchange.
func (x *exchange) Crashed() error {
	if c, ok := x.Exchange.(interface{ Crashed() error }); ok {
		return c.Crashed()
	}
	return nil
}
