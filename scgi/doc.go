// Package scgi speaks SCGI, and the uwsgi protocol, from both ends.
package scgi
