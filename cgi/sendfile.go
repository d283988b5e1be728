package cgi

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/wspawn/wspawn/internal/gateway"
)

// sendfileLines are the fields with which a program has a file sent instead of its body.
var sendfileLines = []string{"X-Sendfile", "X-Lighttpd-Send-File", "X-Sendfile2"}

// maxParts bounds the parts of files that one response may be made of.
const maxParts = 64

// A sentFile is what a response names instead of its body: a file, or parts of files, one behind the other.
type sentFile struct {
	files []*os.File
	info  fs.FileInfo // of the first file
	parts []io.Reader // nil: the first file as a whole
	size  int64       // of all parts
}

// Close closes the files.
func (s *sentFile) Close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// sendfile takes the lines that name a file out of the response and opens that file; nil: there is
// none.
func (c *call) sendfile(resp *Response) (*sentFile, error) {
	var value, from string
	for _, name := range sendfileLines {
		if v := resp.Header.Get(name); v != "" && value == "" {
			value, from = v, name
		}
		resp.Header.Del(name)
	}
	if value == "" || len(c.g.SendfileRoots) == 0 {
		return nil, nil
	}
	s := &sentFile{}
	var err error
	if from == "X-Sendfile2" {
		err = s.openParts(c.g.SendfileRoots, value)
	} else {
		_, err = s.open(c.g.SendfileRoots, value)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	resp.Header.Del("Content-Length") // of the program's body
	return s, nil
}

// open opens a file by the name that a program gives it.
func (s *sentFile) open(roots []string, name string) (size int64, err error) {
	path, err := url.PathUnescape(name)
	if err != nil || !filepath.IsAbs(path) {
		return 0, badSendfile("not an absolute path: " + clip([]byte(name)))
	}
	f, err := openBelow(roots, filepath.Clean(path))
	if err != nil {
		return 0, err
	}
	s.files = append(s.files, f)
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, &GatewayError{Status: http.StatusForbidden, Err: errors.New("X-Sendfile: not a regular file: " + path)}
	}
	if s.info == nil {
		s.info = info
	}
	return info.Size(), nil
}

// openParts opens what X-Sendfile2 names: "FILE START-END, FILE START-END". A name may contain a comma, but
// nothing that looks like a range with a comma behind it.
func (s *sentFile) openParts(roots []string, list string) error {
	for list != "" {
		end := extentInList.FindStringSubmatchIndex(list)
		if end == nil {
			if s.parts != nil {
				return badSendfile("not a list of ranges")
			}
			_, err := s.open(roots, list) // all of one file
			return err
		}
		if len(s.parts) == maxParts {
			return badSendfile("too many ranges")
		}
		size, err := s.open(roots, list[:end[0]])
		if err != nil {
			return err
		}
		extent := list[end[2]:end[3]]
		from, length, err := extentOf(extent, size)
		if err != nil {
			return badSendfile("bad range " + extent)
		}
		s.parts = append(s.parts, io.NewSectionReader(s.files[len(s.files)-1], from, length))
		s.size += length
		list = list[end[1]:]
	}
	return nil
}

// extentInList is a range, and what leads to the next one.
var extentInList = regexp.MustCompile(`[ \t]+([0-9]+-[0-9]*)[ \t]*(?:,[ \t]*|$)`)

func badSendfile(why string) error {
	return &GatewayError{Status: http.StatusBadGateway, Reason: "the program did not answer correctly", Err: errors.New("X-Sendfile: " + why)}
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
func (c *call) sendFile(resp *Response, s *sentFile) error {
	w := patientWriter{c}
	f := s.files[0]
	if s.parts == nil && resp.Status == http.StatusOK {
		http.ServeContent(w, c.r, f.Name(), s.info.ModTime(), f)
		return nil
	}
	if s.parts == nil {
		s.parts, s.size = []io.Reader{io.LimitReader(f, s.info.Size())}, s.info.Size()
	}
	h := c.w.Header()
	h.Set("Content-Length", strconv.FormatInt(s.size, 10))
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil
	}
	w.WriteHeader(resp.Status)
	if c.r.Method == http.MethodHead {
		return nil
	}
	for _, part := range s.parts {
		if _, err := io.Copy(w, part); err != nil {
			return gateway.ErrGone
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
		w.c.patience()
		m, err := io.CopyN(w.c.w, r, 256<<10)
		if n += m; errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
