// Package cgi is the Common Gateway Interface, RFC 3875: what a program behind a
// web server is told about a request, how it answers, and how it is run for
// each request. Programs may also take over the connection with a 101 answer, to
// speak WebSocket themselves.
//
// [Endpoint] runs programs. [Gateway] is the part of it that packages scgi and
// fastcgi share: an http.Handler that needs to know how to reach the program, as an
// [Exchange]. [ReadResponse] reads what programs answer.
//
// # Meta-variables
//
// [Variables] turns a request into one ordered list. Everything that hands
// requests to programs or to other servers uses that list: the environment of
// a spawned program ([Environ]), and the parameter blocks of SCGI and FastCGI.
// So a program sees the same names and the same values, whichever way it is
// reached.
//
// # Order
//
// CONTENT_LENGTH comes first, because SCGI wants it there. Then follow the
// request, the server, the client, the request's header fields as HTTP_*
// sorted by name, what authentication found, UNIQUE_ID, and at the end
// whatever the caller adds. No name occurs twice.
//
// # What is refused, and what is left out
//
// A client chooses the names of header fields, so it could try to speak for
// the server through them. Three rules prevent that:
//
//   - "Proxy" never becomes HTTP_PROXY, which many HTTP clients would obey.
//   - A field name with anything but ASCII letters, digits and "-" in it is
//     left out: only "-" may become "_".
//   - Two field names that differ but would give the same variable (X-User and
//     X_User) make the whole request bad, because programs would disagree about
//     which of them counts.
//
// Values that contain a NUL byte cannot be passed on at all; they make the
// request bad too. All these errors are of type [*RequestError], to be
// answered with 400 Bad Request.
//
// Who calls Variables decides which script a request means, who the user is, and
// which variables of its own environment a program may have besides (PATH is not
// one of the meta-variables; Endpoint adds one where there is none).
package cgi
