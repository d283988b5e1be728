package spawner

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func (p *Program) rights() error {
	if c, err := credential(p); err == nil && c != nil {
		switch {
		case int(c.Uid) != os.Geteuid() && !capable(unix.CAP_SETUID):
			return fmt.Errorf("the server may not change to user %q: it has to run as root", p.User)
		case (int(c.Gid) != os.Getegid() || !c.NoSetGroups) && !capable(unix.CAP_SETGID):
			return fmt.Errorf("the server may not change to user %q, group %q: it has to run as root", p.User, p.Group)
		}
	}
	for _, l := range p.Limits {
		var own unix.Rlimit
		if err := unix.Getrlimit(limitNumbers[l.Name], &own); err == nil && l.Hard > own.Max && !capable(unix.CAP_SYS_RESOURCE) {
			return fmt.Errorf("limit %s: the server's own is %d, and it may not give more (CAP_SYS_RESOURCE)", l.Name, own.Max)
		}
	}
	var least unix.Rlimit
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Getrlimit(unix.RLIMIT_NICE, &least) != nil {
		return nil
	}
	highest := max(own, int(min(least.Cur, 40))) // both are 20 - nice
	if p.Nice < 20-highest && p.Nice != 0 && !capable(unix.CAP_SYS_NICE) {
		return fmt.Errorf("nice %d: the server may not go below %d (CAP_SYS_NICE)", p.Nice, 20-highest)
	}
	return nil
}

// capable reports whether the server has a capability. Where it has it in a user namespace alone, the system may say no nevertheless.
func capable(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true // we shall see
	}
	return data[capability/32].Effective>>(capability%32)&1 != 0
}
