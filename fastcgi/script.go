package fastcgi

import (
	"net/http"

	"github.com/wspawn/wspawn/cgi"
)

// Script says which script a request means, as ServeHTTP does, for those who begin requests with Open. Its
// errors are those of cgi.Gateway.Vars.
func (e *Endpoint) Script(r *http.Request) (cgi.Vars, error) { return e.vars(r) }
