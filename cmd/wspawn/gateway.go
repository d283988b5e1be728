package main

import (
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/cgi"
)

// registerGateway adds the flags of services that answer whole requests.
func (f *serveFlags) registerGateway(fs *pflag.FlagSet) {
	g := &f.c.Gateway
	fs.StringVar(&g.CGI, "cgi", "", "run a CGI program, or the programs in a directory, for each request: `PATH`")
	fs.StringArrayVar(&g.Interpreters, "interpreter", nil, "`.SUFFIX=PROGRAM` that runs such files, as .py=python3 (repeatable, with --cgi)")
	fs.BoolVar(&g.ExecutableOnly, "executable-only", false, "decline files without execute bits, also where there is an interpreter (with --cgi)")
	fs.StringArrayVar(&g.SCGI, "scgi", nil, "hand requests to the SCGI backend at `ADDRESS`: HOST:PORT or unix:PATH (repeatable)")
	fs.StringArrayVar(&g.UWSGI, "uwsgi", nil, "the same for a uwsgi backend at `ADDRESS`")
	fs.StringArrayVar(&g.FastCGI, "fastcgi", nil, "the same for a FastCGI backend at `ADDRESS`")
	fs.StringVar(&g.Root, "root", "", "`DIR` of the scripts of a backend: the path of the URL names one")
	fs.StringVar(&g.Index, "index", "", "`NAME` of the script of a directory, as index.php (with --root)")
	fs.BoolVar(&g.Upgrade, "upgrade", false, "let such programs take over the connection, to speak WebSocket themselves")
	fs.StringArrayVar(&g.SendfileRoots, "sendfile", nil, "`DIR` whose files they may have sent with X-Sendfile (repeatable)")
	fs.DurationVar(&g.ReadTimeout, "response-timeout", cgi.DefaultReadTimeout, "how long they may write nothing of a response; 0 is no limit")
	fs.DurationVar(&g.WriteTimeout, "request-timeout", cgi.DefaultWriteTimeout, "how long they may take nothing of a request; 0 is no limit")
	fs.DurationVar(&g.ClientTimeout, "client-timeout", cgi.DefaultClientTimeout, "how long their clients may send or take nothing; 0 is no limit")
	fs.StringVar(&f.maxBody, "max-body", "0", "largest request body, `SIZE` in bytes; 0 is no limit")
	fs.StringVar(&f.collectBody, "collect-body", "0", "collect bodies of unknown length up to `SIZE`, for programs that need to know it")
	fs.StringVar(&f.maxResponseHeader, "max-response-header", "64K", "largest header block of a response, `SIZE` in bytes")
	fs.IntVar(&g.Queue, "max-queue", g.Queue, "requests that may wait for one of --max-processes; 0 is none (with --cgi)")
	fs.DurationVar(&g.IdleTimeout, "tunnel-idle", 0, "silence that ends a taken-over connection; 0 is never")
	fs.DurationVar(&g.MaxLife, "tunnel-life", 0, "time after which it ends in any case; 0 is never")
}
