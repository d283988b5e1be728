package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/wsframe"
)

// Tokens are tunnels that the client chooses by a name, as the TokenFile plugin of websockify has them:
// lines of "token: host:port" or "token: unix_socket:/path". Empty lines and those that begin with "#"
// mean nothing. All methods may be called at the same time.
type Tokens struct {
	// Path is a file, or a directory all whose files are read (names that begin with a dot are not). It is read
	// again when it has changed.
	Path string

	// FromPath takes the last element of the URL path for the token. Otherwise it is the query parameter
	// "token".
	FromPath bool

	// ConnectTimeout is how long a backend may take to accept. 0 = 8 s.
	ConnectTimeout time.Duration

	// Proxy tells the backend who the client is.
	Proxy ProxyHeader

	mu    sync.Mutex // guards the fields below
	state string     // what the files looked like when they were read
	read  time.Time
	table map[string]backend.Address
}

// settle is how old a change has to be before the time of a file tells it from the next one.
const settle = 2 * time.Second

// Dial is for [Endpoint].Dial.
func (t *Tokens) Dial(ctx context.Context, r *wsframe.Request) (Stream, error) {
	token := r.URL.Query().Get("token")
	if t.FromPath {
		token = path.Base(r.URL.Path)
	}
	address, ok, err := t.Lookup(token)
	if err != nil {
		return nil, &wsframe.Rejection{Status: http.StatusInternalServerError, Reason: "the table of tokens cannot be read", Err: err}
	}
	if !ok {
		return nil, wsframe.Reject(http.StatusNotFound, "unknown token")
	}
	timeout := t.ConnectTimeout
	if timeout <= 0 {
		timeout = backend.DefaultConnectTimeout
	}
	nc, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, address.Network, address.Addr)
	if err == nil {
		if err = t.Proxy.send(nc, r.Request); err == nil {
			return connection{nc}, nil
		}
		nc.Close()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return nil, (&wsframe.Rejection{Status: http.StatusServiceUnavailable, Reason: "the backend cannot be reached", Err: err}).RetryAfter(time.Second)
}

// Lookup returns the address of a token, and whether there is such a token.
func (t *Tokens) Lookup(token string) (address backend.Address, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	files, state, newest, err := t.look()
	if err != nil {
		return address, false, err
	}
	if t.table == nil || state != t.state || t.read.Sub(newest) < settle {
		now := time.Now()
		table, err := readTokens(files)
		if err != nil {
			return address, false, err
		}
		t.table, t.state, t.read = table, state, now
	}
	address, ok = t.table[token]
	return address, ok, nil
}

// look returns the files there are and a description of them that changes when they do.
func (t *Tokens) look() (files []string, state string, newest time.Time, err error) {
	info, err := os.Stat(t.Path)
	if err != nil {
		return nil, "", newest, err
	}
	files = []string{t.Path}
	if info.IsDir() {
		files = nil
		entries, err := os.ReadDir(t.Path)
		if err != nil {
			return nil, "", newest, err
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(t.Path, e.Name()))
			}
		}
	}
	var b strings.Builder
	regular := files[:0]
	for _, f := range files {
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) && f != t.Path {
			continue // it has gone meanwhile, or it is a link to nowhere
		} else if err != nil {
			return nil, "", newest, err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		regular = append(regular, f)
		fmt.Fprintf(&b, "%q %d %d\n", f, info.Size(), info.ModTime().UnixNano())
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return regular, b.String(), newest, nil
}

// readTokens reads the files. Of a token that is there twice the last line counts.
func readTokens(files []string) (map[string]backend.Address, error) {
	table := make(map[string]backend.Address)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if err := parseTokens(table, b); err != nil {
			return nil, fmt.Errorf("%s:%w", f, err)
		}
	}
	return table, nil
}

func parseTokens(table map[string]backend.Address, b []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		token, target, ok := strings.Cut(line, ": ")
		if token, target = strings.TrimSpace(token), strings.TrimSpace(target); !ok || token == "" {
			return fmt.Errorf("%d: %q is not \"token: host:port\"", n, line)
		}
		if p, ok := strings.CutPrefix(target, "unix_socket:"); ok {
			target = "unix:" + strings.TrimSpace(p)
		}
		address, err := backend.ParseAddress(target)
		if err != nil {
			return fmt.Errorf("%d: %w", n, err)
		}
		table[token] = address
	}
	return lines.Err()
}

// Check reads the files and returns what is wrong with them.
func (t *Tokens) Check() error {
	files, _, _, err := t.look()
	if err == nil {
		_, err = readTokens(files)
	}
	return err
}
