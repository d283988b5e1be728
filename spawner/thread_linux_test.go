package spawner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// noNewPrivs cuts the bit out of /proc/PID/status.
func noNewPrivs(status string) string {
	_, bit, _ := strings.Cut(status, "NoNewPrivs:\t")
	bit, _, _ = strings.Cut(bit, "\n")
	return bit
}

func TestNoNewPrivilegesAreThoseOfTheProgramAlone(t *testing.T) {
	s := newSpawner(t, Config{})
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	own := noNewPrivs(string(status)) // 1 in some containers
	var wg sync.WaitGroup
	for i := range 32 { // with and without, at the same time, and together with all that goes another way
		wg.Go(func() {
			prog := sh("cat /proc/self/status; umask") // cat is a child: it inherits the bit
			want, mask := own, ""
			if i%2 == 1 {
				prog.NoNewPrivileges, want = true, "1"
			}
			if i&2 != 0 {
				prog.Umask, mask = 0o077, "0077\n"
			}
			if i&4 != 0 {
				prog.Limits = []Limit{{"core", 0, 0}}
			}
			if got := output(t, s, prog, StartOptions{}); noNewPrivs(got) != want || !strings.HasSuffix(got, mask) {
				t.Errorf("start %d: NoNewPrivs %q, want %q; %q", i, noNewPrivs(got), want, got[len(got)-5:])
			}
		})
	}
	wg.Wait()

	// One thread of the server has it with a umask and one without.
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, task := range tasks {
		if status, err := os.ReadFile(task); err == nil && noNewPrivs(string(status)) == "1" {
			n++
		}
	}
	if own == "0" && n != 2 {
		t.Errorf("%d of %d threads of the server have no new privileges", n, len(tasks))
	}
}

var uids = regexp.MustCompile(`\nUid:.*\n`)

func TestNoNewPrivilegesMakeSetUIDBitsVoid(t *testing.T) {
	needRoot(t)
	s := newSpawner(t, Config{})
	b, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cat")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	// Where the bit is set for all, or the directory is mounted so, set-user-ID means nothing to anybody.
	alone, err := exec.Command(path, "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	with := uids.FindString(string(alone))
	for bit, want := range map[bool]string{false: with, true: "\nUid:\t0\t0\t0\t0\n"} {
		prog := &Program{Path: path, Args: []string{"/proc/self/status"}, NoNewPrivileges: bit}
		if got := output(t, s, prog, StartOptions{}); !strings.Contains(got, want) {
			t.Errorf("no new privileges %v: %s", bit, got)
		}
	}
	// They are dropped for another user all the same.
	prog := sh("cat /proc/self/status")
	prog.User, prog.NoNewPrivileges = "nobody", true
	if got := output(t, s, prog, StartOptions{}); !strings.Contains(got, "\nUid:\t65534\t65534\t65534\t65534\n") || noNewPrivs(got) != "1" {
		t.Errorf("as another user: %s", got)
	}
}

func TestNoNewPrivilegesOfSparesAndWorkers(t *testing.T) {
	s := newSpawner(t, Config{})
	status := func(pid int) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Error(err)
		}
		return noNewPrivs(string(b))
	}
	x := newSpares(t, s, &Program{Path: "cat", NoNewPrivileges: true}, 1)
	spares(t, x, 1)
	if got := status(take(t, x).Pid()); got != "1" {
		t.Errorf("spare: NoNewPrivs %q", got)
	}
	for _, fds := range []bool{false, true} { // with LISTEN_FDS a shell is in between
		p := newPool(t, PoolConfig{Program: &Program{Path: "sleep", Args: []string{"1000"}, NoNewPrivileges: true}, Listen: Listen{ListenFDs: fds}})
		w := acquire(t, p)
		if got := status(p.Workers()[0].Pid); got != "1" {
			t.Errorf("worker: NoNewPrivs %q", got)
		}
		w.Release()
	}
}
