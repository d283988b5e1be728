package main

import (
	"github.com/spf13/pflag"
)

// registerGateways adds the flags of services that answer whole requests, and of those behind a socket.
func (f *serveFlags) registerGateways(fs *pflag.FlagSet) {
	g := f.gateway
	fs.StringVar((*string)(&f.cgi.Path), "cgi", "", "run a CGI program, or the programs in a directory, for each request: `PATH`")
	f.pairs(fs, "interpreter", "`.SUFFIX=PROGRAM` that runs such files, as .py=python3 (repeatable, with --cgi)", ".SUFFIX=PROGRAM like .py=python3", func(suffix, program string) error {
		if f.cgi.Interpreters == nil {
			f.cgi.Interpreters = map[string]string{}
		}
		f.cgi.Interpreters[suffix] = program
		return nil
	})
	fs.BoolVar(&f.cgi.ExecutableOnly, "executable-only", false, "decline files without execute bits, also where there is an interpreter (with --cgi)")
	for _, s := range []struct{ name, usage string }{
		{"scgi", "hand requests to the SCGI backend at `ADDRESS`: HOST:PORT or unix:PATH (repeatable)"},
		{"uwsgi", "the same for a uwsgi backend at `ADDRESS`"},
		{"fastcgi", "the same for a FastCGI backend at `ADDRESS`"},
		{"proxy", "the same for an HTTP server at `ADDRESS`"},
		{"tunnel", "connect each WebSocket to a byte stream at `ADDRESS` (repeatable)"},
	} {
		list := new([]string)
		f.servers[s.name] = list
		fs.StringArrayVar(list, s.name, nil, s.usage)
	}
	fs.StringVar((*string)(&f.fastcgi.Root), "root", "", "`DIR` of the scripts of a backend: the path of the URL names one")
	fs.StringVar(&f.fastcgi.Index, "index", "", "`NAME` of the script of a directory, as index.php (with --root)")
	fs.StringVar(&f.fastcgi.Docroot, "docroot", "", "`DIR` that --root is for the backend, on another machine or in a chroot")
	fs.StringArrayVar(&f.fastcgi.SplitPath, "split-path", nil, "`.SUFFIX` of scripts: what follows one in the path is PATH_INFO (repeatable, with --fastcgi)")
	fs.StringVar(&f.fastcgi.StripRequestURI, "strip-request-uri", "", "`PREFIX` that is taken off REQUEST_URI (with --fastcgi)")
	fs.BoolVar(&f.fastcgi.BrokenScriptFilename, "broken-scriptfilename", false, "append PATH_INFO to SCRIPT_FILENAME, for old PHP (with --fastcgi)")
	fs.StringArrayVar(&f.authorizer, "authorizer", nil, "ask the FastCGI backend at `ADDRESS` in the authorizer role first (repeatable, with --fastcgi)")
	fs.BoolVar(&g.Upgrade, "upgrade", false, "let such programs take over the connection, to speak WebSocket themselves")
	fs.StringArrayVar(&f.sendfile, "sendfile", nil, "`DIR` whose files they may have sent with X-Sendfile (repeatable)")
	f.value(fs, "response-timeout", &g.ResponseTimeout, "how long they may write nothing of a response; 0 is no limit")
	f.value(fs, "request-timeout", &g.RequestTimeout, "how long they may take nothing of a request; 0 is no limit")
	f.value(fs, "client-timeout", &g.ClientTimeout, "how long their clients may send or take nothing; 0 is no limit")
	f.value(fs, "max-body", &g.MaxBody, "largest request body, `SIZE` in bytes; 0 is no limit")
	f.value(fs, "collect-body", &g.CollectBody, "collect bodies of unknown length up to `SIZE`, for programs that need to know it")
	f.value(fs, "max-response-header", &g.MaxResponseHeader, "largest header block of a response, `SIZE` in bytes")
	fs.IntVar(&f.cgi.MaxQueue, "max-queue", f.cgi.MaxQueue, "requests that may wait for one of --max-processes; 0 is none (with --cgi)")
	f.value(fs, "tunnel-idle", &g.TunnelIdle, "silence that ends a taken-over connection; 0 is never")
	f.value(fs, "tunnel-life", &g.TunnelLife, "time after which it ends in any case; 0 is never")
	f.value(fs, "tokens", &f.tunnel.Tokens, "`FILE` or directory with lines \"token: HOST:PORT\": ?token= names the address (instead of --tunnel)")
	fs.IntVar(&f.tunnel.ProxyProtocol, "proxy-protocol", 0, "begin with a PROXY protocol header of `VERSION` 1 or 2 (with --tunnel)")
	f.only([]string{"cgi"}, "interpreter", "executable-only", "max-queue")
	f.only(backendKinds, "root", "docroot", "index")
	f.only([]string{"fastcgi"}, "split-path", "strip-request-uri", "broken-scriptfilename", "authorizer")
	f.only(takenOver, "upgrade", "response-timeout", "tunnel-idle", "tunnel-life")
	f.only(gateways, "sendfile", "request-timeout", "client-timeout", "max-body", "collect-body", "max-response-header")
	f.only([]string{"tunnel"}, "proxy-protocol")
}
