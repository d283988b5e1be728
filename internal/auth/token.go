package auth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// token returns the token of a request, from the first place that has one; "": none has.
func (j *JWT) token(r *http.Request) (string, error) {
	if hasScheme(r, "Bearer") {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.TrimSpace(token), nil
	}
	if j.c.Protocol != "" {
		for _, p := range protocols(r) {
			if token, ok := strings.CutPrefix(p, j.c.Protocol); ok && token != "" {
				return token, nil
			}
		}
	}
	if j.c.Query != "" {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			if name, value := splitPair(pair); name == j.c.Query && value != "" {
				return value, nil
			}
		}
	}
	if j.c.Cookie != "" {
		return cookie(r, j.c.Cookie)
	}
	return "", nil
}

// cookie returns the value of a cookie, "" if there is none. Servers of neighbouring names and pages without TLS can set
// a second one of the same name, and browsers do not say which is whose: then nobody knows who the user is.
func cookie(r *http.Request, name string) (value string, err error) {
	for _, c := range r.CookiesNamed(name) {
		if value != "" && c.Value != "" && c.Value != value {
			return "", &Refusal{Status: http.StatusUnauthorized, Reason: "several cookies have the name of the one with the token"}
		}
		value = or(value, c.Value)
	}
	return value, nil
}

// Strip removes tokens from everywhere they are looked for.
func (j *JWT) Strip(r *http.Request) {
	if hasScheme(r, "Bearer") {
		r.Header.Del("Authorization")
	}
	if j.c.Protocol != "" {
		replace(r, protocolField, slices.DeleteFunc(protocols(r), func(p string) bool { return strings.HasPrefix(p, j.c.Protocol) }), ", ")
	}
	if j.c.Query != "" {
		stripQuery(r, j.c.Query)
	}
	if j.c.Cookie != "" {
		stripCookie(r, j.c.Cookie)
	}
}

const protocolField = "Sec-Websocket-Protocol"

func protocols(r *http.Request) []string { return split(r.Header[protocolField], ",") }

// split returns what is between separators, on all lines.
func split(lines []string, separator string) []string {
	var all []string
	for _, line := range lines {
		for item := range strings.SplitSeq(line, separator) {
			if item = strings.Trim(item, " \t"); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// replace leaves only some items of a field that may not be there at all.
func replace(r *http.Request, field string, left []string, separator string) {
	if r.Header[field] == nil {
		return
	}
	if delete(r.Header, field); len(left) > 0 {
		r.Header[field] = []string{strings.Join(left, separator)}
	}
}

func stripCookie(r *http.Request, name string) {
	left := slices.DeleteFunc(split(r.Header["Cookie"], ";"), func(pair string) bool {
		got, _, _ := strings.Cut(pair, "=")
		return strings.TrimSpace(got) == name
	})
	replace(r, "Cookie", left, "; ")
}

// splitPair decodes a pair of a query.
func splitPair(pair string) (name, value string) {
	n, v, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(n)
	if err != nil {
		return "", ""
	}
	if value, err = url.QueryUnescape(v); err != nil {
		value = v
	}
	return name, value
}

// stripQuery leaves the other parameters as they are, also in the request line as it was received.
func stripQuery(r *http.Request, name string) {
	pairs := strings.Split(r.URL.RawQuery, "&")
	left := slices.DeleteFunc(pairs, func(pair string) bool {
		got, _ := splitPair(pair)
		return got == name
	})
	query := strings.Join(left, "&")
	if query == r.URL.RawQuery {
		return
	}
	r.URL.RawQuery = query
	if r.RequestURI != "" {
		if r.RequestURI, _, _ = strings.Cut(r.RequestURI, "?"); query != "" {
			r.RequestURI += "?" + query
		}
	}
}
