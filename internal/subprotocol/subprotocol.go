// Package subprotocol is a table of WebSocket subprotocols and what each means for the messages of a session.
//
// The client's order counts, its spelling is what the answer has, and case does not matter otherwise.
package subprotocol

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/wsframe"
)

// Entry is what a subprotocol means.
type Entry struct {
	// Name is that of the handshake: a token.
	Name string
	// Op is what messages to the client are: wsframe.OpText or OpBinary. 0 = as the table has it by default, text if
	// that refuses. From the client both are good.
	Op wsframe.Opcode
	// Framing is the name of how messages are told apart on the far side. Empty: as for other clients.
	Framing string
}

// Mode is what becomes of clients that ask for nothing in the table.
type Mode uint8

// The modes, by the names of InspIRCd's defaultmode.
const (
	Text   Mode = iota // they get no subprotocol and text messages
	Binary             // they get no subprotocol and binary messages
	Reject             // they are refused with 400
)

// ParseMode reads "text", "binary" or "reject". Empty is text.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "", "text":
		return Text, nil
	case "binary":
		return Binary, nil
	case "reject":
		return Reject, nil
	}
	return 0, fmt.Errorf("default mode %q: not text, binary or reject", s)
}

// IRC returns the subprotocols of IRC over WebSockets: those of IRCv3 and the older ones of InspIRCd. One line is one
// message, without its line end.
func IRC() []Entry {
	return []Entry{
		{Name: "text.ircv3.net", Op: wsframe.OpText}, {Name: "binary.ircv3.net", Op: wsframe.OpBinary},
		{Name: "text.inspircd.org", Op: wsframe.OpText}, {Name: "binary.inspircd.org", Op: wsframe.OpBinary},
	}
}

// A Table picks subprotocols. It does not change, and its methods may be called at the same time.
type Table struct {
	mode   Mode
	byName map[string]Entry // in lower case
	names  []string
}

// New checks the entries. The error has all that are wrong.
func New(mode Mode, entries ...Entry) (*Table, error) {
	t := &Table{mode: mode, byName: make(map[string]Entry, len(entries))}
	var all *multierror.Error
	for _, e := range entries {
		folded := strings.ToLower(e.Name)
		_, twice := t.byName[folded]
		switch {
		case !isToken(e.Name):
			all = multierror.Append(all, fmt.Errorf("subprotocol %q: not a token (RFC 9110, section 5.6.2)", e.Name))
		case twice:
			all = multierror.Append(all, fmt.Errorf("subprotocol %q: listed twice", e.Name))
		case e.Op != 0 && e.Op != wsframe.OpText && e.Op != wsframe.OpBinary:
			all = multierror.Append(all, fmt.Errorf("subprotocol %q: messages are text or binary", e.Name))
		}
		if e.Op == 0 {
			e.Op = mode.op()
		}
		t.byName[folded] = e
		t.names = append(t.names, e.Name)
	}
	if mode == Reject && len(entries) == 0 {
		all = multierror.Append(all, fmt.Errorf("default mode reject without a subprotocol refuses everybody"))
	}
	return t, all.ErrorOrNil()
}

func (m Mode) op() wsframe.Opcode {
	if m == Binary {
		return wsframe.OpBinary
	}
	return wsframe.OpText
}

// Select picks the first subprotocol of the client's list that is in the table, "" when none is. It is for
// [wsframe.Handler].Select.
func (t *Table) Select(r *wsframe.Request) string {
	for _, p := range r.Protocols {
		if _, ok := t.byName[strings.ToLower(p)]; ok {
			return p
		}
	}
	return ""
}

// Check refuses with 400 a client that gets nothing from the table, when the mode is [Reject]. Select cannot refuse, so
// call it where the origin is checked, or in Open.
func (t *Table) Check(r *wsframe.Request) error {
	if t.mode != Reject || t.Select(r) != "" {
		return nil
	}
	rej := wsframe.Reject(http.StatusBadRequest, "a subprotocol is needed: "+strings.Join(t.names, ", "))
	if len(r.Protocols) > 0 {
		rej.Err = fmt.Errorf("the client asks for %q", r.Protocols)
	}
	return rej
}

// Lookup returns what the subprotocol of a session means, in any spelling; "" is none.
func (t *Table) Lookup(protocol string) Entry {
	if e, ok := t.byName[strings.ToLower(protocol)]; ok {
		return e
	}
	return Entry{Op: t.mode.op()}
}

func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}
