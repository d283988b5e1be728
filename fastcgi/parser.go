package fastcgi

// A Parser takes the bytes of a connection apart into records, whatever pieces
// they come in. It does no I/O and keeps no content: pieces of it are handed on
// as they are. The zero value is ready. Not for concurrent use.
type Parser struct {
	head  [HeaderLen]byte
	have  int    // bytes of head, HeaderLen inside a record
	h     Header // while have == HeaderLen
	left  int    // content that is still to come
	pad   int    // padding that is still to come
	fixed []byte // content of records that are of use only as a whole
}

// Feed parses b. It stops at the first error, which is a [*ProtocolError] or
// comes from handle; the parser is of no use then.
//
// handle is called for each piece of content that b has, with last set when
// the content of its record is complete; a record without content gives one
// call with an empty piece.
func (p *Parser) Feed(b []byte, handle func(h Header, piece []byte, last bool) error) error {
	for len(b) > 0 {
		switch {
		case p.have < HeaderLen:
			n := copy(p.head[p.have:], b)
			p.have += n
			b = b[n:]
			if p.have < HeaderLen {
				return nil
			}
			h, err := ParseHeader(p.head[:])
			if err != nil {
				return err
			}
			p.h, p.left, p.pad = h, int(h.Length), int(h.Padding)
			if p.left == 0 {
				if err := handle(p.h, nil, true); err != nil {
					return err
				}
				p.next()
			}
		case p.left > 0:
			n := min(p.left, len(b))
			p.left -= n
			if err := handle(p.h, b[:n], p.left == 0); err != nil {
				return err
			}
			b = b[n:]
			p.next()
		default:
			n := min(p.pad, len(b))
			p.pad -= n
			b = b[n:]
			p.next()
		}
	}
	return nil
}

// next begins a new record when nothing of the last one is missing.
func (p *Parser) next() {
	if p.left == 0 && p.pad == 0 {
		p.have = 0
	}
}

// whole collects the content of records that are small by nature, up to limit
// bytes, and returns it when it is complete.
func (p *Parser) whole(piece []byte, last bool, limit int) (content []byte, done bool, err error) {
	if len(p.fixed) == 0 && last {
		if len(piece) > limit {
			return nil, false, protocolError("%s of %d bytes", p.h.Type, len(piece))
		}
		return piece, true, nil
	}
	if len(p.fixed)+len(piece) > limit {
		return nil, false, protocolError("%s of more than %d bytes", p.h.Type, limit)
	}
	p.fixed = append(p.fixed, piece...)
	if !last {
		return nil, false, nil
	}
	content, p.fixed = p.fixed, nil
	return content, true, nil
}
