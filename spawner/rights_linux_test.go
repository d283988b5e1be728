package spawner

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRightsThatAServerDoesNotHave(t *testing.T) {
	// Capabilities are those of a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all, none [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	none = all
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &all[0]); err != nil {
			t.Fatal(err)
		}
	}()
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		p    Program
		want string // in the error
	}{
		"nothing":                      {Program{}, ""},
		"another user":                 {Program{User: "4242", Group: "4242"}, `may not change to user "4242"`},
		"another group":                {Program{Group: "4242"}, `may not change to user "", group "4242": it has to run as root`},
		"a user that does not exist":   {Program{User: "no such user"}, ""}, // found elsewhere
		"a better priority":            {Program{Nice: -20}, "nice -20: the server may not go below "},
		"a worse priority":             {Program{Nice: 19}, ""},
		"a limit like the server's":    {Program{Limits: []Limit{{"core", 0, own.Max}}}, ""},
		"a limit above the server's":   {Program{Limits: []Limit{{"nofile", 1, 1 << 40}}}, "limit nofile: the server's own is "},
		"the second of several limits": {Program{Limits: []Limit{{"core", 0, 0}, {"nofile", 0, 1 << 40}}}, "limit nofile: "},
	} {
		switch err := test.p.Rights(); {
		case err == nil && test.want != "":
			t.Errorf("%s: no error", name)
		case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
