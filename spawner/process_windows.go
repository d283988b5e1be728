package spawner

import (
	"os"
	"syscall"
)

func processAttr(*Program) (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}, nil
}

func guardAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// minimalEnv is what no Windows program runs without.
func minimalEnv() []string { return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} }

// signalGroup sends sig to the program alone. The caller holds p.mu.
func (p *Process) signalGroup(sig os.Signal) error { return p.sys.proc.Signal(sig) }

// killGroup kills the process: there are no groups here.
func killGroup(pid int) bool {
	proc, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer proc.Release()
	return proc.Kill() == nil
}

func exitCode(st *os.ProcessState) (code int32, signal uint8, core bool) {
	return int32(st.ExitCode()), 0, false
}
