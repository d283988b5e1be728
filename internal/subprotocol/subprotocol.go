// Package subprotocol is a table of WebSocket subprotocols.
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

// A Table picks subprotocols. It does not change, and its methods may be called at the same time.
type Table struct {
	reject bool
	byName map[string]string // in lower case: as it was given
	names  []string
}

// New checks the names, which are tokens. With reject, clients that ask for none of them are refused. The error has all names
// that are wrong.
func New(reject bool, names ...string) (*Table, error) {
	t := &Table{reject: reject, byName: make(map[string]string, len(names)), names: names}
	var all *multierror.Error
	for _, name := range names {
		folded := strings.ToLower(name)
		if !isToken(name) {
			all = multierror.Append(all, fmt.Errorf("subprotocol %q: not a token (RFC 9110, section 5.6.2)", name))
		} else if _, twice := t.byName[folded]; twice {
			all = multierror.Append(all, fmt.Errorf("subprotocol %q: listed twice", name))
		}
		t.byName[folded] = name
	}
	if reject && len(names) == 0 {
		all = multierror.Append(all, fmt.Errorf("a table without a subprotocol refuses everybody"))
	}
	return t, all.ErrorOrNil()
}

// Select picks the first subprotocol of the client's list that is in the table, "" when none is. It is for
// [wsframe.Handler].Select.
func (t *Table) Select(r *wsframe.Request) string {
	for _, p := range r.Protocols {
		if t.Name(p) != "" {
			return p
		}
	}
	return ""
}

// Check refuses with 400 a client that gets nothing from a table that rejects. Select cannot refuse, so call it where the
// origin is checked, or in Open.
func (t *Table) Check(r *wsframe.Request) error {
	if !t.reject || t.Select(r) != "" {
		return nil
	}
	rej := wsframe.Reject(http.StatusBadRequest, "a subprotocol is needed: "+strings.Join(t.names, ", "))
	if len(r.Protocols) > 0 {
		rej.Err = fmt.Errorf("the client asks for %q", r.Protocols)
	}
	return rej
}

// Name returns the name in the table of a subprotocol in any spelling, "" when it is not there.
func (t *Table) Name(protocol string) string { return t.byName[strings.ToLower(protocol)] }

func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}
