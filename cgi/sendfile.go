package cgi

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sendfileLines are the fields with which a program has a file sent instead of its body.
var sendfileLines = []string{"X-Sendfile", "X-Lighttpd-Send-File", "X-Sendfile2"}

// sendFileRange is the file of a response, or the part of it that the program wants sent.
type sendFileRange struct {
	*os.File
	info fs.FileInfo
	part bool
	from int64
	size int64
}

// sendfile takes the lines that name a file out of the response and opens that file; nil: there is
// none.
func (c *call) sendfile(resp *Response) (*sendFileRange, error) {
	var file, extent string
	for _, name := range sendfileLines {
		if v := resp.Header.Get(name); v != "" && file == "" {
			file, extent = v, ""
			if name == "X-Sendfile2" {
				// "FILE START-END": one of them; several cannot be told from one with commas in its name.
				if i := strings.LastIndexByte(file, ' '); i > 0 {
					file, extent = file[:i], file[i+1:]
				}
			}
		}
		resp.Header.Del(name)
	}
	if file == "" || len(c.g.SendfileRoots) == 0 {
		return nil, nil
	}
	path, err := url.PathUnescape(file)
	if err != nil || !filepath.IsAbs(path) {
		return nil, &GatewayError{Status: http.StatusBadGateway, Reason: "the program did not answer correctly", Err: errors.New("X-Sendfile: not an absolute path: " + clip([]byte(file)))}
	}
	f, err := openBelow(c.g.SendfileRoots, filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, &GatewayError{Status: http.StatusForbidden, Err: errors.New("X-Sendfile: not a regular file: " + path)}
	}
	r := &sendFileRange{File: f, info: info, size: info.Size()}
	if extent != "" {
		if r.from, r.size, err = extentOf(extent, info.Size()); err != nil {
			f.Close()
			return nil, &GatewayError{Status: http.StatusBadGateway, Reason: "the program did not answer correctly", Err: errors.New("X-Sendfile2: bad range " + extent)}
		}
		r.part = true
	}
	resp.Header.Del("Content-Length") // of the program's body
	return r, nil
}

// openBelow opens a file if it is, links resolved, below one of the directories.
func openBelow(roots []string, path string) (*os.File, error) {
	for _, dir := range roots {
		abs, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		rel, err := filepath.Rel(abs, path)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := os.OpenRoot(abs)
		if err != nil {
			return nil, &GatewayError{Status: http.StatusInternalServerError, Err: err}
		}
		defer root.Close()
		// Stat first: opening a FIFO would wait for its writer.
		if info, err := root.Stat(rel); errors.Is(err, fs.ErrNotExist) {
			return nil, &GatewayError{Status: http.StatusNotFound, Err: err}
		} else if err != nil || !info.Mode().IsRegular() {
			return nil, &GatewayError{Status: http.StatusForbidden, Err: errors.New("X-Sendfile: " + path + " may not be sent")}
		}
		f, err := root.Open(rel)
		if err != nil {
			return nil, &GatewayError{Status: http.StatusForbidden, Err: err}
		}
		return f, nil
	}
	return nil, &GatewayError{Status: http.StatusForbidden, Err: errors.New("X-Sendfile: " + path + " is below none of the directories that are listed")}
}

// extentOf reads "START-END", both counted from 0 and included; END may be missing.
func extentOf(s string, size int64) (from, length int64, err error) {
	a, b, ok := strings.Cut(s, "-")
	first, err := strconv.ParseUint(a, 10, 62)
	last := uint64(size) - 1
	if ok && err == nil && b != "" {
		last, err = strconv.ParseUint(b, 10, 62)
	}
	if !ok || err != nil || first > last || last >= uint64(size) {
		return 0, 0, errors.New("bad range")
	}
	return int64(first), int64(last-first) + 1, nil
}

// sendFile answers with a file. The body of the program is thrown away.
func (c *call) sendFile(resp *Response, f *sendFileRange) error {
	w := patientWriter{c}
	if resp.Status == http.StatusOK && !f.part {
		http.ServeContent(w, c.r, f.Name(), f.info.ModTime(), f)
		return nil
	}
	h := c.w.Header()
	h.Set("Content-Length", strconv.FormatInt(f.size, 10))
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
	w.WriteHeader(resp.Status)
	if c.r.Method != http.MethodHead {
		if _, err := io.Copy(w, io.NewSectionReader(f, f.from, f.size)); err != nil {
			return errGone
		}
	}
	return nil
}

// patientWriter gives the client its time for each piece.
type patientWriter struct{ c *call }

func (w patientWriter) Header() http.Header { return w.c.w.Header() }

func (w patientWriter) WriteHeader(status int) {
	w.c.patience()
	w.c.w.WriteHeader(status)
}

func (w patientWriter) Write(p []byte) (int, error) {
	w.c.patience()
	return w.c.w.Write(p)
}

// ReadFrom lets the system copy the file, in parts, so that a slow client is told from one that is gone.
func (w patientWriter) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		if d := orDefault(w.c.g.ClientTimeout, DefaultClientTimeout); d > 0 {
			w.c.rc.SetWriteDeadline(time.Now().Add(d))
		}
		m, err := io.CopyN(w.c.w, r, 256<<10)
		if n += m; errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
