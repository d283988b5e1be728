package config

// Config is everything that a server can be told, in the words of the configuration file. The command line
// fills the same structure.
//
// The comments of the fields are the text of docs/config.md and of the JSON Schema, and the tag "default" is
// the value of a key that is not there: what a field says is said once.
type Config struct {
	// Files to read as well, as patterns (`conf.d/*.toml`), relative to the file that names them. What they say is
	// added: a listener, route, program, pool or set of backends may be in any file, each once.
	Include []string `toml:"include"`

	// Addresses to listen on, without TLS: HOST:PORT, or unix:PATH. Port 0 is any free port. Without this key and
	// without a `[[listener]]` it is 127.0.0.1:8080.
	Listen []string `toml:"listen"`

	// Where the server tells how it is, over HTTP: HOST:PORT, or unix:PATH, which gets the mode 0600. `/metrics` has counters for
	// Prometheus, `/healthz` says that it serves, and `wspawn status` shows both. Whoever can connect can read them.
	Admin string `toml:"admin"`

	// How long a stopping server waits for its sessions and programs.
	Drain Duration `toml:"drain" default:"15s"`

	// Programs that may run at once, of all routes and pools together; 0 is no limit.
	MaxProcesses int `toml:"max_processes" default:"1024"`

	// Programs that may be started in a second; 0 is no limit.
	StartRate float64 `toml:"start_rate"`

	// Lines for every answer, as "Name: value".
	Headers []string `toml:"headers"`

	// Names that the server may be asked for over a loopback address, beside localhost: those of a proxy in front, as `example.com` or
	// `*.example.com`; `*` is any. Others get 421, since a page of another site may have pointed its own name here (DNS rebinding).
	Hosts []string `toml:"hosts"`

	Log      Log                  `toml:"log"`
	Client   Client               `toml:"client"`
	Limits   Limits               `toml:"limits"`
	Listener []*Listener          `toml:"listener"`
	Program  map[string]*Program  `toml:"program"`
	Pool     map[string]*Pool     `toml:"pool"`
	Backends map[string]*Backends `toml:"backends"`
	Route    []*Route             `toml:"route"`
}

// Log is what is logged, and how.
type Log struct {
	// The least important lines that are written.
	Level string `toml:"level" default:"info" enum:"debug,info,warn,error"`

	// How lines look: auto is colours on a terminal and text elsewhere.
	Format string `toml:"format" default:"auto" enum:"auto,text,json"`
}

// Client says how it is found out who the client is when there are proxies in front. What those say who are not trusted is
// removed, and never reaches a program.
type Client struct {
	// The proxies that are believed: addresses, networks as `192.0.2.0/24`, patterns as `198.51.100.*`, or the words loopback,
	// private and unix. Programs find the client in REMOTE_ADDR and the proxy in PEER_ADDR and PEER_PORT.
	TrustedProxies []string `toml:"trusted_proxies"`

	// Headers that name the client; the first one that is there counts. Without this key it is X-Forwarded-For.
	// List only those that your proxy writes itself.
	Headers []string `toml:"headers"`

	// Header in which proxies say which host the client asked for, as `X-Forwarded-Host`: for proxies that send another Host. It
	// counts for `hosts`, for the host of routes and for the origin of pages, and programs see it. Where Forwarded names the client, its host counts
	// instead. Many proxies hand on an X-Forwarded-Host of the client: name only what your proxy writes itself. Without this key, Host counts.
	HostHeader string `toml:"host_header"`

	// Refuse requests of trusted proxies with 400 when no header says properly who the client is; otherwise it is the proxy then.
	Strict bool `toml:"strict"`
}

// Limits bound the sessions and requests of all clients, and those of each address (of IPv6, each /64). Clients on this machine and behind Unix
// sockets are bound by those of all alone. What is over a limit is refused before the handshake, with 429 or 503.
type Limits struct {
	// Sessions at once; 0 is no limit.
	Sessions int `toml:"sessions" default:"10000"`

	// Sessions of one address at once; 0 is no limit.
	SessionsPerAddress int `toml:"sessions_per_address" default:"250"`

	// New sessions in a second, in the long run; 0 is no limit.
	Rate float64 `toml:"rate"`

	// New sessions of one address in a second, in the long run; ten times as many may come at once. 0 is no limit.
	RatePerAddress float64 `toml:"rate_per_address" default:"20"`

	// How long a client may wait for its turn when there are all the sessions that may be.
	Wait Duration `toml:"wait"`

	// Clients that may wait.
	Waiting int `toml:"waiting" default:"1000"`

	// Requests at once that are for no WebSocket; 0 is no limit.
	Requests int `toml:"requests" default:"10000"`

	// Such requests of one address at once; 0 is no limit.
	RequestsPerAddress int `toml:"requests_per_address" default:"500"`
}

// RouteLimits bound the sessions of one route, beside those of the server.
type RouteLimits struct {
	// Sessions at once; 0 is no limit.
	Sessions int `toml:"sessions"`

	// Sessions of one address at once; 0 is no limit.
	SessionsPerAddress int `toml:"sessions_per_address"`

	// New sessions in a second, in the long run; 0 is no limit.
	Rate float64 `toml:"rate"`

	// New sessions of one address in a second, in the long run; 0 is no limit.
	RatePerAddress float64 `toml:"rate_per_address"`

	// Sessions at once of one user, by the name that `[route.auth]` finds out; 0 is no limit. Who has no name has no limit either.
	SessionsPerUser int `toml:"sessions_per_user"`
}

// Listener is an address with settings of its own.
type Listener struct {
	// Where to listen: HOST:PORT, unix:PATH, or systemd:NAME for a socket that systemd passes under that name. Port 0 is any free
	// port.
	Address string `toml:"address" required:"true"`

	// File with the certificate in PEM, its own first and those of the issuers behind it: speak TLS.
	Certificate Path `toml:"certificate"`

	// File with the key of the certificate, in PEM.
	Key Path `toml:"key"`

	// More certificates. A client gets the first one that is for the name it asks for.
	Certificates []*Certificate `toml:"certificates"`

	// Speak TLS with a certificate that is made at the start and that nobody trusts: for development.
	SelfSigned bool `toml:"self_signed"`

	// Speak TLS with certificates of an authority like Let's Encrypt.
	ACME *ACME `toml:"acme"`

	// File with the authorities of client certificates, in PEM. Clients need a certificate then.
	ClientCA Path `toml:"client_ca"`

	// Whether clients can do without one. Who they are is told to programs in any case.
	ClientCertificate string `toml:"client_certificate" default:"required" enum:"required,optional"`

	// Send all requests elsewhere, with path and query: `https` is the same name with TLS, otherwise it is the beginning of a URL.
	Redirect string `toml:"redirect"`

	// Peers that begin connections with a PROXY protocol header, which says who the client is: addresses, networks, or the words
	// loopback, private and unix.
	ProxyProtocol []string `toml:"proxy_protocol"`

	// Permissions of a Unix socket, octal. Without it the umask decides.
	Mode Mode `toml:"mode"`

	// Owner of a Unix socket, as USER, USER:GROUP or :GROUP.
	Owner string `toml:"owner"`

	// Speak HTTP/2 beside HTTP/1.1, also for WebSockets: with TLS to clients that want it, without to those that
	// begin with it.
	HTTP2 bool `toml:"http2" default:"true"`
}

// Certificate is a certificate with its key.
type Certificate struct {
	// File with the certificate in PEM, its own first and those of the issuers behind it.
	Certificate Path `toml:"certificate" required:"true"`

	// File with the key of the certificate, in PEM.
	Key Path `toml:"key" required:"true"`
}

// ACME is an authority that gives certificates to who answers for a name (RFC 8555). It looks at port 443 of the name, so that
// has to lead here.
type ACME struct {
	// Names that certificates are for.
	Names []string `toml:"names" required:"true"`

	// Where the authority reaches somebody.
	Email string `toml:"email"`

	// URL of the authority. Without it, that of Let's Encrypt.
	Directory string `toml:"directory"`

	// Directory for keys and certificates. Without it, one in the data of the user.
	Storage Path `toml:"storage"`

	// File with the authorities that the authority's own server is trusted by, in PEM. Without it, those of the system.
	Roots Path `toml:"roots"`
}

// Program is what is run, and how. A route or a pool names it, or has a command of its own.
type Program struct {
	// The program and its arguments. It is never given to a shell. A relative name with a slash is relative to
	// the file that says it; one without a slash is looked for in PATH.
	// Arguments and environment may contain `{NAME}` for a named part of the path of a route.
	Command []string `toml:"command"`

	// Variables for the program, beside those of the request.
	Env map[string]string `toml:"env"`

	// Names of variables that the program gets from the server's own environment, where they are set. Nothing else is
	// inherited. Without this key they are what programs need to be found and to speak the user's language.
	PassEnv []string `toml:"pass_env"`

	// Working directory. Without it, that of the server; for CGI, that of the program.
	Directory Path `toml:"directory"`

	// User to run as, a name or a number.
	User string `toml:"user"`

	// Group to run as, a name or a number. Without it, that of the user.
	Group string `toml:"group"`

	// Keep it, and all that it starts, from gaining rights by what it executes: set-uid and set-gid programs (sudo, su, mail systems)
	// and file capabilities have no effect then. Off by default, since programs may need such helpers. Linux only.
	NoNewPrivileges bool `toml:"no_new_privileges"`

	// Permissions that its files do not get, octal.
	Umask Mode `toml:"umask"`

	// Priority, -20 (first) to 19 (last).
	Nice int `toml:"nice" min:"-20"`

	// Resource limits, as `nofile = "64"` or `as = "512M:unlimited"` (soft:hard).
	Limits map[string]string `toml:"limits"`

	// cgroup v2 directory below which each process gets a cgroup of its own.
	Cgroup Path `toml:"cgroup"`

	// Size of its pipes; 0 is the system's.
	PipeSize Size `toml:"pipe_size"`

	// How it is stopped: steps, and the times between them. A step is the end of its input (stdin) or a signal: HUP, INT, QUIT, TERM,
	// USR1, USR2, WINCH, KILL (on Windows none of USR1, USR2, WINCH).
	Stop string `toml:"stop" default:"stdin,2s,TERM,3s,KILL"`

	// Where its standard error goes.
	Stderr string `toml:"stderr" default:"log" enum:"log,inherit,discard"`

	// Make it write line by line, where it uses the C library, or Python.
	Unbuffer bool `toml:"unbuffer"`
}

// Pool is a set of long-running processes of one program that serve many sessions, and who keeps them running.
type Pool struct {
	// The name of a `[program.NAME]`.
	Program string `toml:"program"`

	// Or the command itself, with the settings of a program that says nothing else.
	Command []string `toml:"command"`

	// How the number of processes follows the load: static has `max` of them; dynamic keeps `min_spare` to `max_spare`
	// of them without work; ondemand starts them when there is work.
	Scaling string `toml:"scaling" default:"static" enum:"static,dynamic,ondemand"`

	// Processes that are always there, with dynamic.
	Min int `toml:"min" default:"1"`

	// Processes that may be there at most, those that are being stopped included.
	Max int `toml:"max" default:"4" min:"1"`

	// Processes without work that there should at least be, with dynamic.
	MinSpare int `toml:"min_spare" default:"1"`

	// Processes without work that there should at most be, with dynamic.
	MaxSpare int `toml:"max_spare" default:"2"`

	// How a process gets its socket: fd0 is as standard input (as php-cgi, fcgi-cgi, scgi-cgi and lighttpd's samples expect),
	// listen-fds as descriptor 3 (as under systemd). With `{socket}` or `{port}` in the command or the environment the process is
	// told where to open it itself.
	Socket string `toml:"socket" default:"fd0" enum:"fd0,listen-fds"`

	// Where the sockets are: unix:PATH or HOST:PORT on the loopback interface. More processes than one append `-0`, `-1` … to the path, or
	// count the port up. What answers there already is used, and never stopped. When a reload changes the pool, the new one takes the
	// path over; a port can only be changed with it. Without this key they are Unix sockets in a private directory.
	Address string `toml:"address"`

	// All processes accept from one socket, with the scaling static.
	Shared bool `toml:"shared"`

	// Permissions of Unix sockets, octal.
	Mode Mode `toml:"mode"`

	// Owner of Unix sockets, as USER or USER:GROUP.
	Owner string `toml:"owner"`

	// Sessions that a process has at once; 0 is no limit.
	MaxSessions int `toml:"max_sessions" default:"1"`

	// Replace a process after so many sessions; 0 is never. It may get a few more: when all `max` of them run they are replaced one
	// after the other, and the only one when it has no session, so that nobody has to wait for the end of long sessions.
	RecycleSessions int `toml:"recycle_sessions"`

	// Replace a process that is so old; 0 is never.
	RecycleAge Duration `toml:"recycle_age"`

	// Replace a process that takes so much memory; 0 is never.
	RecycleMemory Size `toml:"recycle_memory"`

	// Stop processes that the scaling does not need when they were without work for so long.
	IdleTimeout Duration `toml:"idle_timeout" default:"60s"`

	// Time that a process has to become ready.
	StartTimeout Duration `toml:"start_timeout" default:"10s"`

	// Sessions that may wait when all processes are busy; over it the answer is 503.
	MaxQueue int `toml:"max_queue" default:"256"`

	// How long they may wait.
	QueueTimeout Duration `toml:"queue_timeout" default:"10s"`
}

// Backends is a set of addresses that do the same work, and how one of them is chosen.
type Backends struct {
	// Addresses: HOST:PORT (a name may have several, and is looked up again and again), unix:PATH, or srv:NAME for the SRV
	// records of a name.
	Servers []string `toml:"servers"`

	// Addresses with settings of their own.
	Server []*Server `toml:"server"`

	// Or the name of a `[pool.NAME]`.
	Pool string `toml:"pool"`

	// How one is chosen: the one with the fewest sessions, in turn, by a hash of path and host, of the client's address
	// (sticky), of a header or a cookie, or the better one of two at random.
	Balance string `toml:"balance" default:"least-connections" enum:"least-connections,round-robin,hash,sticky,header,cookie,random"`

	// The header or cookie that is hashed.
	HashName string `toml:"hash_name"`

	// Sessions that an address has at once; 0 is no limit.
	MaxSessions int `toml:"max_sessions"`

	// How long one address may take to accept a connection.
	ConnectTimeout Duration `toml:"connect_timeout" default:"8s"`

	// How long an address that could not be reached is not asked; it doubles with every failure.
	DisableTime Duration `toml:"disable_time" default:"1s"`

	// Addresses that are asked for one request before it is given up.
	Retries int `toml:"retries" default:"5"`

	// Requests that may wait when all addresses are full; over it the answer is 503.
	MaxQueue int `toml:"max_queue" default:"256"`

	// How long they may wait.
	QueueTimeout Duration `toml:"queue_timeout" default:"10s"`

	// How often names are looked up again.
	Resolve Duration `toml:"resolve" default:"30s"`

	// How addresses are checked while nobody asks for them.
	Check *Check `toml:"check"`
}

// Server is an address of a set.
type Server struct {
	// As in `servers`.
	Address string `toml:"address" required:"true"`

	// Its share, against that of the others.
	Weight int `toml:"weight" default:"1" min:"1"`

	// Use it only when none of the others works.
	Backup bool `toml:"backup"`

	// Sessions that it has at once; 0 is as the set says.
	MaxSessions int `toml:"max_sessions"`
}

// Check is an active health check.
type Check struct {
	// What is asked: tcp connects, http wants a good answer, fastcgi asks for FCGI_GET_VALUES.
	Kind string `toml:"kind" default:"tcp" enum:"tcp,http,fastcgi"`

	// How often.
	Interval Duration `toml:"interval" default:"5s"`

	// How long an answer may take.
	Timeout Duration `toml:"timeout" default:"2s"`

	// Path of the HTTP request.
	Path string `toml:"path" default:"/"`

	// Status that is good; 0 is any from 200 to 399.
	Status int `toml:"status"`

	// Good answers in a row that make an address usable.
	Rise int `toml:"rise" default:"2"`

	// Bad ones in a row that make it unusable.
	Fall int `toml:"fall" default:"3"`
}
