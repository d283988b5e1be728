//go:build unix

package spawner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// credential returns whom p runs as, nil for as the server does.
func credential(p *Program) (*syscall.Credential, error) {
	if p.User == "" && p.Group == "" {
		return nil, nil
	}
	c := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	if p.User != "" {
		u, err := lookUser(p.User)
		if err != nil {
			return nil, err
		}
		if c.Uid, err = number(u.Uid); err != nil {
			return nil, err
		}
		if u.Gid == "" && p.Group == "" {
			return nil, fmt.Errorf("user %q has no entry and so no group: set a group", p.User)
		}
		if u.Gid != "" {
			if c.Gid, err = number(u.Gid); err != nil {
				return nil, err
			}
			ids, err := u.GroupIds()
			if err != nil {
				return nil, fmt.Errorf("groups of user %q: %w", p.User, err)
			}
			for _, id := range ids {
				g, err := number(id)
				if err != nil {
					return nil, err
				}
				c.Groups = append(c.Groups, g)
			}
		}
	}
	if p.Group != "" {
		gid, err := number(p.Group)
		if err != nil {
			g, err := user.LookupGroup(p.Group)
			if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
				return nil, fmt.Errorf("group %q does not exist", p.Group)
			} else if err != nil {
				return nil, err
			}
			if gid, err = number(g.Gid); err != nil {
				return nil, err
			}
		}
		c.Gid = gid
	}
	if os.Geteuid() != 0 {
		if int(c.Uid) == os.Geteuid() && int(c.Gid) == os.Getegid() {
			return nil, nil // nothing to change, and nothing that would be allowed
		}
		c.NoSetGroups = true
	}
	return c, nil
}

// lookUser finds a user by name or number. A number without an entry is a user without groups.
func lookUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); !unknown {
		return u, err
	}
	if _, err := number(name); err != nil {
		return nil, fmt.Errorf("user %q does not exist", name)
	}
	u, err = user.LookupId(name)
	if _, unknown := errors.AsType[user.UnknownUserIdError](err); unknown {
		return &user.User{Uid: name}, nil
	}
	return u, err
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
