package main

import "strings"

const shortUsage = `
Usage:

  Serve one program; each WebSocket gets a process of its own:
    {{name}} [options] COMMAND [arguments]

  Serve the programs of a directory, by URL path:
    {{name}} [options] --dir=DIR

  All options:
    {{name}} --help
`

const longUsage = `{{version}}

{{name}} connects each WebSocket to the standard input and output of a
program: a message is a line. It takes the options of websocketd and does
its work with the engine of wspawn.

Usage:

  {{name}} [options] COMMAND [arguments]
  {{name}} [options] --dir=DIR

Where to listen:

  --port=PORT          TCP port. Default: 80, with --ssl 443.
  --address=ADDRESS    Address to listen on, IPv6 in brackets. May be repeated.
                       Default: all addresses.
  --unixsocket=PATH    Unix socket to listen on. Without --port, --address and
                       --redirport there is no TCP listener then.
  --ssl                TLS. Needs --sslcert and --sslkey.
  --sslcert=FILE       Certificate chain in PEM form.
  --sslkey=FILE        Its private key in PEM form.
  --sslca=FILE         Clients must show a certificate signed by one of these.
  --redirport=PORT     Also listen for plain HTTP here, and redirect all of it
                       to the main port.

What to serve:

  COMMAND              A program for every WebSocket, whatever its path.
  --dir=DIR            Programs by path: what follows the file is PATH_INFO.
  --staticdir=DIR      Files for plain HTTP.
  --cgidir=DIR         CGI programs for plain HTTP.
  --devconsole         A test page for plain HTTP, on every path. Not together
                       with --staticdir or --cgidir.

Messages:

  --binary             Binary messages as they come, not lines of text.
  --passstderr         Lines of stdout and stderr as JSON messages. Not together
                       with --binary.
  --maxframesize=BYTES Largest message from a client. 0: no limit.
                       Default: 1048576.
  --pingms=MS          Ping clients that often, and drop those that stay silent.
                       Default: 0, never.

Who may connect:

  --sameorigin         Only pages of the same host and port.
  --origin=LIST        Only pages of these origins: host, host:port or with
                       scheme://, separated by commas.
  --maxforks=N         Processes at a time. 0: no limit. Default: 1024.

Programs:

  --passenv=LIST       Variables of the own environment that programs get,
                       separated by commas. Default:
                       {{passenv}}
  --closems=MS         More patience at every step when a program is stopped:
                       stdin closed, SIGINT, SIGTERM, SIGKILL. Default: 0.
  --reverselookup      Ask DNS for the name of the client, for REMOTE_HOST.

Answers:

  --header=LINE        Header line for all answers. May be repeated.
  --header-ws=LINE     For answers that open a WebSocket.
  --header-http=LINE   For all other answers.

Others:

  --loglevel=LEVEL     debug, trace, access, info, error, fatal or none.
                       Default: access.
  --help, --version, --license
`

func usage(text, name string) string {
	return strings.NewReplacer("{{name}}", name, "{{version}}", versionLine(name), "{{passenv}}", defaultPassEnv()).Replace(text)
}
