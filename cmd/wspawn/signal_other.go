//go:build !unix

package main

import "os"

// hangup would be the signals that make a server read its configuration again.
var hangup = []os.Signal{neverSent{}}

// neverSent is a signal that nobody can send: Notify without signals would mean all of them.
type neverSent struct{}

func (neverSent) String() string { return "none" }
func (neverSent) Signal()        {}
