// Package config is what a wspawn server is told to do.
//
// A [Config] is plain data in the user's terms. The command line fills it; [Config.Check] finds all
// that is wrong with it at once, named by setting; package host makes a server of it.
package config

import (
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// Config is a server with one service. Fields that are not described here are those of the package
// that their type comes from.
type Config struct {
	// Listen has the addresses: HOST:PORT, or unix:PATH. Port 0 is any free port.
	Listen []string

	// TLSCert and TLSKey are files in PEM; both or none.
	TLSCert, TLSKey string

	// Command is the program and its arguments, for all paths. Dir is a directory of programs
	// instead: the path names the program.
	Command []string
	Dir     string

	// Gateway is a service that answers whole requests instead: CGI and its relatives.
	Gateway Gateway

	// Static is a directory of files for ordinary requests. Listings and DotFiles open it wider.
	Static           string
	Listings, Dotted bool

	// Console says whether there is a page for trying the service: "auto" (when only this machine
	// can connect), "on" or "off".
	Console string

	// Header has lines for every answer, as "Name: value".
	Header []string

	// Origins are the origins of other sites whose pages may connect: "https://example.com",
	// "https://*.example.com", or "any". RequireOrigin refuses clients that send none.
	Origins       []string
	RequireOrigin bool

	// Subprotocols are those that the service speaks, the best one first.
	Subprotocols []string

	Conn  wsframe.Options
	Stdio stdio.Options

	// Program is the pattern of the programs that are started: everything but Path and Args. Its
	// Env is what Env and PassEnv say. Workdir is its directory.
	Program spawner.Program

	// Env has variables for the program, as NAME=VALUE. PassEnv names those of the server's own
	// that it gets as well, where they are set.
	Env, PassEnv []string

	// Unbuffer makes programs that use the C library write line by line, and Python too.
	Unbuffer bool

	// Watch ends all sessions with 1012 when the file of the program changes, so that clients which
	// connect again get the new one: for development.
	Watch bool

	// MaxProcesses bounds the programs that run at once; 0 = no limit. StartRate bounds how many
	// are started in a second; 0 = no limit.
	MaxProcesses int
	StartRate    float64

	// Drain is how long a stopping server waits for its sessions and programs.
	Drain time.Duration
}

// Default returns the settings that hold where the user says nothing.
func Default() *Config {
	return &Config{
		Listen:       []string{DefaultListen},
		Console:      "auto",
		PassEnv:      DefaultPassEnv(),
		MaxProcesses: 1024,
		Drain:        15 * time.Second,
		Gateway:      Gateway{Queue: cgi.DefaultMaxQueue},
	}
}

// DefaultListen is reachable from this machine only.
const DefaultListen = "127.0.0.1:8080"
