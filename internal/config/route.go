package config

// Route is a set of requests and what answers them. The most specific route wins, whatever their order; two
// that match the same requests are refused. It has one of stdio, cgi, scgi, uwsgi, fastcgi, tunnel and
// proxy, or files, or files beside one of the others: they get the ordinary requests of stdio and tunnel, and what cgi declines.
type Route struct {
	// For the log and the counters. Without it, what the route is for: host, path, suffix, methods and listeners.
	Name string `toml:"name"`

	// Names that the request is for, as `example.com` or `*.example.com`, without a port. Without it, all.
	Host []string `toml:"host"`

	// Path that the request is for: `/chat` is this path alone, `/chat/` is it and everything below. A part in
	// braces stands for any: `/rooms/{room}`, and at the end `{rest...}` for several. A named part may be used in the command and the
	// environment of a program.
	Path string `toml:"path" default:"/"`

	// Listeners that the route is on, by their addresses as `listen` and `[[listener]]` have them. Without it, all; on others it does not
	// exist, and another route may be for the same requests.
	Listeners []string `toml:"listeners"`

	// Only paths with a part that ends so, as `.php`.
	Suffix []string `toml:"suffix"`

	// Only requests with these methods. Without it, all; a WebSocket is a GET.
	Methods []string `toml:"methods"`

	// What the named parts may be, as regular expressions that match all of it. Without one it is letters, digits, `_`, `.`
	// and `-`, and no `.` or `-` in front. Other requests get 404.
	Match map[string]string `toml:"match"`

	// Origins of other sites whose pages may connect: `https://example.com`, `https://*.example.com`, or `any`.
	Origins []string `toml:"origins"`

	// Refuse WebSockets of clients that send no origin, which browsers always do.
	RequireOrigin bool `toml:"require_origin"`

	// Subprotocols that the service speaks. The client's order counts. `["*"]` is for development: the first one that the client asks
	// for, whatever it is, although nobody knows it.
	Subprotocols []string `toml:"subprotocols"`

	// Subprotocols that mean something for the messages of a session, in place of `subprotocols`. The client's order counts.
	Protocols []*Protocol `toml:"protocols"`

	// What becomes of clients that ask for none of `protocols`: they get text or binary messages, or 400.
	DefaultProtocol string `toml:"default_protocol" default:"text" enum:"text,binary,reject"`

	// Lines for every answer, as "Name: value".
	Headers []string `toml:"headers"`

	// Lines for the answer that opens a WebSocket (101) alone.
	HandshakeHeaders []string `toml:"handshake_headers"`

	// Lines for refusals and errors (400 and more) alone.
	ErrorHeaders []string `toml:"error_headers"`

	// What the clients of this route may take.
	Limits RouteLimits `toml:"limits"`

	// Who may come, and with which name. Without it, everybody.
	Auth *Auth `toml:"auth"`

	// A page for trying the service: auto is when only this machine can connect.
	Console string `toml:"console" default:"off" enum:"auto,on,off"`

	// WebSocket itself, where wspawn speaks it: stdio, tunnel, and scgi and fastcgi with a framing.
	WebSocket WebSocket `toml:"websocket"`

	Stdio   *Stdio   `toml:"stdio"`
	CGI     *CGI     `toml:"cgi"`
	SCGI    *SCGI    `toml:"scgi"`
	UWSGI   *SCGI    `toml:"uwsgi"`
	FastCGI *FastCGI `toml:"fastcgi"`
	Tunnel  *Tunnel  `toml:"tunnel"`
	Proxy   *Proxy   `toml:"proxy"`
	Files   *Files   `toml:"files"`
}

// Protocol is what a subprotocol means for messages.
type Protocol struct {
	// Its name in the handshake, as `binary.ircv3.net`.
	Name string `toml:"name" required:"true"`

	// Send binary messages instead of text.
	Binary bool `toml:"binary"`

	// How messages lie in the stream, if it differs from that of other clients.
	Framing string `toml:"framing" enum:"lines,null,length,json,raw,frames"`

	// The name of a `[program.NAME]` that is run instead, with stdio.
	Program string `toml:"program"`
}

// WebSocket has the limits and times of the protocol.
type WebSocket struct {
	// Largest message of a client; 0 is no limit.
	MaxMessage Size `toml:"max_message" default:"1M"`

	// Largest frame of a client; 0 is as max_message.
	MaxFrame Size `toml:"max_frame"`

	// Frames that a message of a client may have; 0 is no limit.
	MaxFragments int `toml:"max_fragments" default:"16384"`

	// Send messages in fragments of this size; 0 is whole.
	FragmentSize Size `toml:"fragment_size"`

	// Silence after which the client is pinged; 0 is never.
	Ping Duration `toml:"ping" default:"30s"`

	// Silence after the ping that ends the connection.
	PingGrace Duration `toml:"ping_grace" default:"10s"`

	// How long the client may take to answer a Close frame.
	CloseTimeout Duration `toml:"close_timeout" default:"5s"`

	// How long a client may take no data.
	WriteTimeout Duration `toml:"write_timeout" default:"60s"`

	// Messages of a client in a second, in the long run; more end the session with 1008. 0 is no limit.
	MessageRate float64 `toml:"message_rate"`

	// Bytes of a client in a second, in the long run; more end the session with 1008. 0 is no limit.
	ByteRate Size `toml:"byte_rate"`

	// Compress messages for clients that can do it (permessage-deflate). Who sends secrets and what an attacker chose in one message
	// lets the attacker guess the secret by its length.
	Compression *Compression `toml:"compression"`
}

// Compression is permessage-deflate (RFC 7692).
type Compression struct {
	// From 1, fast, to 9, small.
	Level int `toml:"level" default:"1" min:"1"`

	// Bytes of earlier messages that later ones may refer to, up to 32K, which each connection holds in memory; 0 is none.
	Window Size `toml:"window"`

	// The same for the messages of clients: 512 to 32K, or 0.
	PeerWindow Size `toml:"peer_window"`

	// The smallest message that is compressed.
	MinSize Size `toml:"min_size" default:"128"`
}

// Framing is how messages lie in a byte stream.
type Framing struct {
	// How messages lie in the stream: a line each, a NUL behind each, four bytes of length in front of each, a JSON object on a
	// line each, or not at all; or each data frame with its first byte and its length.
	Framing string `toml:"framing" default:"lines" enum:"lines,null,length,json,raw,frames"`

	// Send binary messages instead of text.
	Binary bool `toml:"binary"`

	// Messages of the other type than `binary` says; default refuses binary ones only.
	OtherType string `toml:"other_type" default:"default" enum:"default,pass,refuse"`

	// Newlines (NULs with the framing null) inside of client messages. With strip, each CR and LF (NUL) is left out.
	Newlines string `toml:"newlines" default:"pass" enum:"pass,escape,strip,refuse"`

	// Output that is not UTF-8, in text.
	InvalidUTF8 string `toml:"invalid_utf8" default:"replace" enum:"replace,binary,refuse"`

	// Largest message of the far side that is collected.
	MaxLine Size `toml:"max_line" default:"1M"`

	// Larger ones: split makes fragments of one message of them.
	LongLine string `toml:"long_line" default:"split" enum:"split,refuse"`

	// What may wait for a far side that does not read.
	Queue Size `toml:"queue" default:"1M"`

	// How long it may then read nothing.
	StallTimeout Duration `toml:"stall_timeout" default:"5m"`
}

// Stdio connects each WebSocket to the standard streams of a program of its own.
type Stdio struct {
	// The name of a `[program.NAME]`.
	Program string `toml:"program"`

	// Or the command itself; the other settings of its program are then those of `program`, if there is one.
	Command []string `toml:"command"`

	// Or a directory of programs: the path of the request names one.
	Programs Path `toml:"programs"`

	// Processes that are started before anybody connects, so that nobody waits for an interpreter. They have no
	// variables of the request in their environment.
	Spare int `toml:"spare"`

	// Tell the program of the request in its first message, in JSON: for programs with `spare`.
	RequestMessage bool `toml:"request_message"`

	// Send standard error to the client as well: each line is a JSON object with `stream` and `data`.
	StderrToClient bool `toml:"stderr_to_client"`

	// Tell the program of the start and the end of the session, with the framing json.
	Events bool `toml:"events"`

	// Close codes for exit statuses, as `3 = 4003`, or `signal = 1011`.
	CloseCodes map[string]int `toml:"close_codes"`

	// Close connections with 1012 when the file of the program changes, so that clients that connect again get the new one.
	Watch bool `toml:"watch"`

	Framing
}

// Responder is what cgi, scgi, uwsgi and fastcgi have in common.
type Responder struct {
	// Let programs take over the connection, to speak WebSocket themselves.
	Upgrade bool `toml:"upgrade"`

	// How long they may write nothing of a response; 0 is no limit.
	ResponseTimeout Duration `toml:"response_timeout" default:"60s"`

	// How long they may take nothing of a request; 0 is no limit.
	RequestTimeout Duration `toml:"request_timeout" default:"60s"`

	// How long their clients may send or take nothing; 0 is no limit.
	ClientTimeout Duration `toml:"client_timeout" default:"60s"`

	// Largest header block of a response.
	MaxResponseHeader Size `toml:"max_response_header" default:"64K"`

	// Largest request body; 0 is no limit.
	MaxBody Size `toml:"max_body"`

	// Collect bodies of unknown length up to this size, for programs that need to know it; 0 is never.
	CollectBody Size `toml:"collect_body"`

	// Silence that ends a taken-over connection; 0 is never.
	TunnelIdle Duration `toml:"tunnel_idle"`

	// Time after which it ends in any case; 0 is never.
	TunnelLife Duration `toml:"tunnel_life"`

	// Directories whose files programs may have sent with X-Sendfile.
	Sendfile []Path `toml:"sendfile"`
}

// CGI runs a program for each request.
type CGI struct {
	// A program for all paths, or a directory of programs: the path of the request names one.
	Path Path `toml:"path" required:"true"`

	// Name of a `[program.NAME]` without a command, whose settings hold for the programs.
	Program string `toml:"program"`

	// Programs that run files by the ends of their names, as `".py" = "python3"`. An empty one means the file itself.
	Interpreters map[string]string `toml:"interpreters"`

	// Decline files without execute bits, also where there is an interpreter.
	ExecutableOnly bool `toml:"executable_only"`

	// Programs of this route that may run at once; 0 is as the server's.
	MaxProcesses int `toml:"max_processes"`

	// Requests that may wait for one of them.
	MaxQueue int `toml:"max_queue" default:"256"`

	// How long they may wait.
	QueueTimeout Duration `toml:"queue_timeout" default:"10s"`

	Responder
}

// Target says where a route's requests go: one of the three.
type Target struct {
	// The name of a `[backends.NAME]`.
	Backends string `toml:"backends"`

	// Or addresses, as in `backends`.
	Servers []string `toml:"servers"`

	// Or the name of a `[pool.NAME]`.
	Pool string `toml:"pool"`
}

// Terminated makes wspawn speak WebSocket for a backend that has only its standard streams.
type Terminated struct {
	// Speak WebSocket for the backend: it answers with a header block, and after that its streams carry the
	// messages in this framing.
	Framing string `toml:"framing" enum:"lines,null,length,json,raw,frames"`

	// Send binary messages instead of text, with a framing.
	Binary bool `toml:"binary"`

	// The CONTENT_LENGTH that the backend is told, with a framing, if it reads no more than that: PHP needs one that no session
	// reaches, as `1000000G`.
	ContentLength Size `toml:"content_length"`
}

// SCGI hands requests to SCGI or uwsgi backends.
type SCGI struct {
	Target

	// Directory of the scripts: the path of the request names one. Without it the backend is the script.
	Root Path `toml:"root"`

	// Root as the backend sees it, on another machine or in a chroot.
	Docroot string `toml:"docroot"`

	// Name of the script of a directory.
	Index string `toml:"index"`

	Terminated
	Responder
}

// FastCGI hands requests to FastCGI backends.
type FastCGI struct {
	Target

	// Directory of the scripts: the path of the request names one. Without it the backend is the script.
	Root Path `toml:"root"`

	// Root as the backend sees it, on another machine or in a chroot.
	Docroot string `toml:"docroot"`

	// Name of the script of a directory, as `index.php`.
	Index string `toml:"index"`

	// Ends of scripts, as `.php`: what follows one in the path is PATH_INFO.
	SplitPath []string `toml:"split_path"`

	// Taken away from the front of REQUEST_URI.
	StripRequestURI string `toml:"strip_request_uri"`

	// Append PATH_INFO to SCRIPT_FILENAME, for old PHP.
	BrokenScriptFilename bool `toml:"broken_scriptfilename"`

	// Ask backends of this set, in the authorizer role, before anything else is done.
	Authorizer *Target `toml:"authorizer"`

	// Connections to one address that carry a request at a time; 0 is no limit.
	MaxConns int `toml:"max_conns"`

	// Never let requests share a connection.
	NoMultiplex bool `toml:"no_multiplex"`

	Terminated
	Responder
}

// Tunnel connects each WebSocket to a byte stream.
type Tunnel struct {
	Target

	// Send binary messages instead of text.
	Binary bool `toml:"binary"`

	// How messages lie in the stream. raw: not at all, each piece that is read becomes a message.
	Framing string `toml:"framing" default:"raw" enum:"lines,null,length,json,raw,frames"`

	// Newlines (NULs with the framing null) inside of client messages, with one of the framings lines and null. With strip, each
	// CR and LF (NUL) is left out.
	Newlines string `toml:"newlines" default:"pass" enum:"pass,escape,strip,refuse"`

	// Text that is not UTF-8.
	InvalidUTF8 string `toml:"invalid_utf8" default:"replace" enum:"replace,binary,refuse"`

	// Begin the connection with a PROXY protocol header of this version; 0 is none.
	ProxyProtocol int `toml:"proxy_protocol" enum:"0,1,2"`

	// File, or directory of files, with lines `token: HOST:PORT`: the token of the request, `?token=`, names the address. Read again when
	// it changes.
	Tokens Path `toml:"tokens"`

	// What may wait for a backend that does not read.
	Queue Size `toml:"queue" default:"256K"`

	// How long it may then read nothing.
	StallTimeout Duration `toml:"stall_timeout" default:"5m"`
}

// Proxy hands requests to HTTP servers.
type Proxy struct {
	Target

	// Let backends take over the connection: WebSocket.
	Upgrade bool `toml:"upgrade"`

	// Name that the backend is asked for. Without it, that of the request.
	Host string `toml:"host"`

	// Taken away from the front of the path.
	StripPrefix string `toml:"strip_prefix"`

	// Put in front of the path.
	AddPrefix string `toml:"add_prefix"`

	// Lines for every request to the backend, as "Name: value".
	RequestHeaders []string `toml:"request_headers"`

	// Header that tells the backend the name of the user, as `X-Remote-User`, with `auth`. What clients send under that name is taken
	// away. Without this key, the backend is not told.
	UserHeader string `toml:"user_header"`

	// What happens to X-Forwarded-* and Forwarded of the request: drop makes new ones, append adds to those of trusted proxies (see
	// `[client]`), off says nothing.
	Forwarded string `toml:"forwarded" default:"drop" enum:"drop,append,off"`

	// How long a backend may send nothing; 0 is no limit.
	ResponseTimeout Duration `toml:"response_timeout" default:"60s"`

	// Silence that ends a taken-over connection; 0 is never.
	TunnelIdle Duration `toml:"tunnel_idle"`

	// Time after which it ends in any case; 0 is never.
	TunnelLife Duration `toml:"tunnel_life"`
}

// Files sends files.
type Files struct {
	// The directory.
	Root Path `toml:"root" required:"true"`

	// Names that stand for a directory. Without this key it is `index.html`.
	Index []string `toml:"index"`

	// Show what is in directories without such a file.
	Listings bool `toml:"listings"`

	// Send files whose names begin with a dot as well.
	DotFiles bool `toml:"dot_files"`

	// Send NAME.br, NAME.zst or NAME.gz instead of NAME to who understands it.
	Precompressed bool `toml:"precompressed"`

	// The Cache-Control line.
	CacheControl string `toml:"cache_control"`
}
