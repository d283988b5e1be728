//go:build unix && !linux

package spawner

import (
	"os"
	"syscall"
)

func processAttr(p *Program) (*syscall.SysProcAttr, error) {
	c, err := credential(p)
	return &syscall.SysProcAttr{Setpgid: true, Credential: c}, err
}

func guardAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func minimalEnv() []string { return []string{} } // not nil, which would inherit everything

// signalGroup sends sig to the group. The caller holds p.mu.
func (p *Process) signalGroup(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return syscall.EINVAL
	}
	err := syscall.Kill(-int(p.pid), n)
	if group, e := syscall.Getpgid(int(p.pid)); e == nil && group != int(p.pid) { // it moved; others may have stayed
		return p.sys.proc.Signal(sig)
	}
	return os.NewSyscallError("kill", err)
}

func killGroup(pgid int) bool { return syscall.Kill(-pgid, syscall.SIGKILL) == nil }

func exitCode(st *os.ProcessState) (code int32, signal uint8, core bool) {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -1, uint8(ws.Signal()), ws.CoreDump()
	}
	return int32(st.ExitCode()), 0, false
}
