//go:build !unix

package rawio

import "syscall"

func rawConn(any) syscall.RawConn { return nil }

func read(uintptr, []byte) (int, syscall.Errno)  { panic("rawio: no raw descriptors here") }
func write(uintptr, []byte) (int, syscall.Errno) { panic("rawio: no raw descriptors here") }
