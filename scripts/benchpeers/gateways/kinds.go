package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"

	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/scripts/benchpeers/internal/echo"
	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
	"github.com/wspawn/wspawn/wsframe"
)

// hello is the body of all ordinary answers.
const hello = "hello from the far side\n"

// A kind is a way from a server to a program. SITE stands for the directory of
// the run, which holds all files.
type kind struct {
	path     string   // to ask for, without a slash in front
	flags    []string // of wspawn
	lighttpd string   // lines of its configuration

	files   func(p *programs, site string) error // makes what is served
	backend func(ctx context.Context, p *programs, site string) (*versus.Server, error)
}

var (
	cgiEcho = &kind{
		path:  "ws_echo.cgi",
		flags: []string{"--cgi", "SITE/www", "--upgrade", "--pass-env", "PATH,LD_LIBRARY_PATH"},
		lighttpd: `server.modules = ("mod_cgi")
cgi.assign = (".cgi" => "")
cgi.upgrade = "enable"
`,
		files: func(p *programs, site string) error { return copyTo(p.wsEcho, site+"/www/ws_echo.cgi") },
	}
	cgiHello = &kind{
		path:  "hello.cgi",
		flags: []string{"--cgi", "SITE/www", "--pass-env", "PATH,LD_LIBRARY_PATH"},
		lighttpd: `server.modules = ("mod_cgi")
cgi.assign = (".cgi" => "")
`,
		files: func(p *programs, site string) error { return copyTo(p.hello, site+"/www/hello.cgi") },
	}
	phpHello = &kind{
		path:  "hello.php",
		flags: []string{"--fastcgi", "unix:SITE/socket", "--root", "SITE/www"},
		lighttpd: `server.modules = ("mod_fastcgi")
fastcgi.server = (".php" => (("socket" => "SITE/socket")))
`,
		files: func(_ *programs, site string) error {
			return os.WriteFile(site+"/www/hello.php", []byte("<?php echo "+strconv.Quote(hello)+";\n"), 0o644)
		},
		backend: startPHP,
	}
	scgiHello = &kind{
		path:  "hello",
		flags: []string{"--scgi", "unix:SITE/socket"},
		lighttpd: `server.modules = ("mod_scgi")
scgi.server = ("/" => (("socket" => "SITE/socket", "check-local" => "disable")))
`,
		backend: self("scgi"),
	}
	fastcgiEcho = &kind{
		path:    "echo",
		flags:   []string{"--fastcgi", "unix:SITE/socket", "--upgrade"},
		backend: self("fastcgi"),
	}
)

// copyTo makes a program of a file.
func copyTo(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// startPHP runs as many workers as there are requests at once, so that kept
// connections, of which each occupies one, do not stand in each other's way.
func startPHP(ctx context.Context, p *programs, site string) (*versus.Server, error) {
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	config := site + "/fpm.conf"
	err = os.WriteFile(config, fmt.Appendf(nil, `[global]
error_log = %[1]s/php.log
daemonize = no
[www]
user = %[2]s
listen = %[1]s/socket
listen.backlog = 511
pm = static
pm.max_children = 16
`, site, me.Username), 0o600)
	if err != nil {
		return nil, err
	}
	args := []string{p.php, "-n", "-F", "-y", config}
	if me.Uid == "0" {
		args = append(args, "-R")
	}
	return versus.StartAt(ctx, "unix", site+"/socket", args)
}

// self runs this program as a backend.
func self(protocol string) func(ctx context.Context, p *programs, site string) (*versus.Server, error) {
	return func(ctx context.Context, _ *programs, site string) (*versus.Server, error) {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return versus.StartAt(ctx, "unix", site+"/socket", []string{exe, "backend", protocol, site + "/socket"})
	}
}

// serveBackend is the main function of a backend. It says hello, or echoes
// messages where it is asked for that, until SIGTERM.
func serveBackend(protocol, socket string) error {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wsframe.IsUpgrade(r) {
			echo.Serve(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", fmt.Sprint(len(hello)))
		io.WriteString(w, hello)
	})
	if protocol == "scgi" {
		err = scgi.Serve(ln, handler)
	} else {
		err = fastcgi.Serve(ln, handler)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
