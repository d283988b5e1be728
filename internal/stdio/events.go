package stdio

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/wspawn/wspawn/wsframe"
)

// openEvent describes a request to the program. env is what a program started for this request would
// have in its environment because of it.
func openEvent(r *wsframe.Request, env []string) []byte {
	variables := make(map[string]string, len(env))
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		variables[name] = value
	}
	return event(struct {
		Type      string            `json:"type"`
		Method    string            `json:"method"`
		Host      string            `json:"host"`
		Path      string            `json:"path"`
		Query     string            `json:"query"`
		Remote    string            `json:"remote"`
		Origin    string            `json:"origin,omitempty"`
		Protocols []string          `json:"protocols,omitempty"`
		Header    http.Header       `json:"header"`
		Env       map[string]string `json:"env,omitempty"`
	}{"open", r.Method, r.Host, r.URL.Path, r.URL.RawQuery, r.RemoteAddr, r.Origin, r.Protocols, r.Header, variables})
}

func closeEvent(e *wsframe.CloseError) []byte {
	return event(struct {
		Type   string            `json:"type"`
		Code   wsframe.CloseCode `json:"code"`
		Reason string            `json:"reason"`
	}{"close", e.Code, e.Reason})
}

func event(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // these types always can be
		panic(err)
	}
	return append(b, '\n')
}
