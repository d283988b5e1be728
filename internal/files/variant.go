package files

import (
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// codings are the content codings of variants (RFC 9110, section 8.4.1), best first, and the
// suffixes of their files.
var codings = []struct{ name, suffix string }{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}

// variant opens the compressed file that the client likes best, and says how it is coded. nil: there is none.
func (h *Handler) variant(r *http.Request, name string, plain fs.FileInfo) (f *os.File, info fs.FileInfo, coding string) {
	accepted := r.Header["Accept-Encoding"]
	if len(accepted) == 0 {
		return nil, nil, ""
	}
	best := 0.0
	for _, c := range codings {
		q := quality(accepted, c.name)
		if q <= best {
			continue
		}
		if info, err := h.root.Stat(name + c.suffix); err != nil || !info.Mode().IsRegular() || info.ModTime().Before(plain.ModTime()) {
			continue
		}
		v, vinfo, err := h.open(name + c.suffix)
		if err != nil {
			continue
		}
		if f != nil {
			f.Close()
		}
		best, f, info, coding = q, v, vinfo, c.name
	}
	return f, info, coding
}

// quality says how much a client likes a coding (RFC 9110, section 12.5.3); 0: not at all.
func quality(lines []string, coding string) float64 {
	any := 0.0
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(element, ";")
			name = strings.TrimSpace(name)
			q := 1.0
			if key, value, ok := strings.Cut(params, "="); ok && strings.EqualFold(strings.TrimSpace(key), "q") {
				var err error
				if q, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
					q = 0
				}
			}
			switch {
			case strings.EqualFold(name, coding), coding == "gzip" && strings.EqualFold(name, "x-gzip"):
				return q
			case name == "*":
				any = q
			}
		}
	}
	return any
}

// conditional reports whether the answer to r may be another one than 200.
func conditional(r *http.Request) bool {
	for _, name := range []string{"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return false
}
