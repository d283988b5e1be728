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
	mode, err := subprotocol.ParseMode(r.DefaultProtocol)
	if err != nil {
		return nil, err
	}
	var entries []subprotocol.Entry
	for _, x := range r.Protocols {
		entry := subprotocol.Entry{Name: x.Name, Op: wsframe.OpText, Framing: x.Framing}
		own := f
		own.OtherType = framing.Pass // both types are good from clients
		if own.Binary = x.Binary; x.Binary {
			entry.Op = wsframe.OpBinary
		}
		if x.Framing != "" {
			if own.Framing, err = framing.Parse(x.Framing); err != nil {
				return nil, err
			}
		}
		entries = append(entries, entry)
		if p.endpoints[x.Name], err = endpoint(own, x); err != nil {
			return nil, err
		}
	}
	f.Binary, f.OtherType = mode == subprotocol.Binary, framing.Pass
	if p.otherwise, err = endpoint(f, nil); err != nil {
		return nil, err
	}
	p.table, err = subprotocol.New(mode, entries...)
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
		if e := p.endpoints[p.table.Lookup(r.Protocol).Name]; e != nil {
			return e.Open(ctx, r)
		}
	}
	return p.otherwise.Open(ctx, r)
}
