// Package gatewaytest tests gateways to programs that speak for themselves: CGI, SCGI and FastCGI. [Run] runs
// the same tables over real connections against any of them.
//
// The program behind the gateway is [Serve]. What it does is said by the query string of the request: a list
// of steps that [Script] encodes.
package gatewaytest

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Variable is set in the environment of a test binary that has to be a CGI program.
const Variable = "GATEWAYTEST_PROGRAM"

// Main makes a CGI program of the test binary if [Variable] is set, and does not return then. It is the first
// thing in TestMain.
func Main() {
	if os.Getenv(Variable) == "" {
		return
	}
	env := make(map[string]string)
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	Serve(env, os.Stdin, os.Stdout)
	os.Exit(0)
}

// Script encodes steps as a query string. The steps are
//
//	print:TEXT   write TEXT
//	var:NAME     write "NAME=value\n", or "no NAME\n"
//	pause:TIME   wait
//	read:N       read N bytes and write them
//	echo         write what is read, until the input ends
//	drain        read until the input ends, then write "read N bytes\n"
//	count:N      write N bytes of "0123456789"
//	hang         wait for the end of the input and write nothing
func Script(steps ...string) string { return url.QueryEscape(strings.Join(steps, "\x00")) }

// Serve is the program. It returns when the script of QUERY_STRING is done; the caller ends the output then.
func Serve(env map[string]string, in io.Reader, out io.Writer) {
	script, err := url.QueryUnescape(env["QUERY_STRING"])
	if err != nil {
		fmt.Fprintf(out, "Status: 500\n\n%v\n", err)
		return
	}
	for step := range strings.SplitSeq(script, "\x00") {
		name, arg, _ := strings.Cut(step, ":")
		n, _ := strconv.Atoi(arg)
		switch name {
		case "print":
			_, err = io.WriteString(out, arg)
		case "var":
			if v, ok := env[arg]; ok {
				_, err = fmt.Fprintf(out, "%s=%s\n", arg, v)
			} else {
				_, err = fmt.Fprintf(out, "no %s\n", arg)
			}
		case "pause":
			d, _ := time.ParseDuration(arg)
			stop, _ := in.(interface{ Done() <-chan struct{} })
			if stop == nil {
				time.Sleep(d)
				break
			}
			select { // the program is a goroutine, and must not outlive its request
			case <-time.After(d):
			case <-stop.Done():
				return
			}
		case "read":
			_, err = io.CopyN(out, in, int64(n))
		case "echo":
			_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
		case "drain":
			var size int64
			size, err = io.Copy(io.Discard, in)
			fmt.Fprintf(out, "read %d bytes\n", size)
		case "count":
			for piece := bytes.Repeat([]byte("0123456789"), 1000); n > 0 && err == nil; n -= len(piece) {
				_, err = out.Write(piece[:min(n, len(piece))])
			}
		case "hang":
			io.Copy(io.Discard, in)
		}
		if err != nil {
			return
		}
	}
}
