package host

import (
	"context"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/subprotocol"
	"github.com/wspawn/wspawn/wsframe"
)

// protocols is the endpoint of a route whose subprotocols mean something for messages: it has an endpoint for each.
type protocols struct {
	table     *subprotocol.Table // nil: there are none
	otherwise wsframe.Endpoint
	endpoints map[string]wsframe.Endpoint
}

// An endpointMaker makes the endpoint for a framing, and for what a subprotocol says beyond it; nil: it is for clients
// without one.
type endpointMaker func(framing.Options, *config.Protocol) (wsframe.Endpoint, error)

func newProtocols(r *config.Route, f framing.Options, endpoint endpointMaker) (*protocols, error) {
	p := &protocols{endpoints: make(map[string]wsframe.Endpoint)}
	if len(r.Protocols) == 0 {
		var err error
		p.otherwise, err = endpoint(f, nil)
		return p, err
	}
	var names []string
	var err error
	for _, x := range r.Protocols {
		own := f
		own.Binary, own.OtherType = x.Binary, framing.Pass // both types are good from clients
		if x.Framing != "" {
			if own.Framing, err = framing.Parse(x.Framing); err != nil {
				return nil, err
			}
		}
		names = append(names, x.Name)
		if p.endpoints[x.Name], err = endpoint(own, x); err != nil {
			return nil, err
		}
	}
	f.Binary, f.OtherType = r.DefaultProtocol == "binary", framing.Pass
	if p.otherwise, err = endpoint(f, nil); err != nil {
		return nil, err
	}
	p.table, err = subprotocol.New(r.DefaultProtocol == "reject", names...)
	return p, err
}

// anyProtocol picks the subprotocol that a client likes best.
func anyProtocol(r *wsframe.Request) string {
	if len(r.Protocols) == 0 {
		return ""
	}
	return r.Protocols[0]
}

// check refuses clients that ask for nothing that there is, if that is not allowed.
func (p *protocols) check(r *wsframe.Request) error {
	if p.table == nil {
		return nil
	}
	return p.table.Check(r)
}

// Open opens a session of the endpoint of its subprotocol.
func (p *protocols) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	if p.table != nil && r.Protocol != "" {
		if e := p.endpoints[p.table.Name(r.Protocol)]; e != nil {
			return e.Open(ctx, r)
		}
	}
	return p.otherwise.Open(ctx, r)
}
