package host

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/trim"
	"github.com/wspawn/wspawn/spawner"
)

// shared are the pools and sets of backends. Routes share them, and so do an old and a new configuration
// where both say the same: then the processes live on, and what is known about the health of backends.
type shared struct {
	programs *spawner.Spawner
	memory   *trim.Trimmer // counts what begins and ends
	log      *slog.Logger

	closing sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	parts     map[string]*part
	addressed []*addressed // all pools that are not closed
}

// addressed is a pool, and the address that is configured for it.
type addressed struct {
	name, address string
	pool          *spawner.Pool
}

// A part is a pool or a set, and how many hold it.
type part struct {
	value any
	refs  int
	close func()
}

// hold returns the part that was made of spec, and makes it if there is none. release gives it back; the last
// one closes it.
func hold[T any](s *shared, kind string, spec any, make func() (T, func(), error)) (value T, release func(), err error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return value, nil, err
	}
	key := kind + string(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[key]
	if p == nil {
		s.mu.Unlock()
		v, closer, err := make() // which may hold others
		s.mu.Lock()
		if err != nil {
			return value, nil, err
		}
		p = &part{value: v, close: closer}
		if s.parts == nil {
			s.parts = map[string]*part{}
		}
		s.parts[key] = p
	}
	p.refs++
	return p.value.(T), sync.OnceFunc(func() { s.release(key, p) }), nil
}

func (s *shared) release(key string, p *part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.refs--; p.refs > 0 {
		return
	}
	delete(s.parts, key)
	s.closing.Go(p.close) // a pool waits for its processes
}

// pool returns a pool that is running.
func (s *shared) pool(c *config.Config, name string) (*spawner.Pool, func(), error) {
	spec := struct {
		Name    string
		Pool    *config.Pool
		Program *config.Program
	}{name, c.Pool[name], c.Settings(c.Pool[name].Program)}
	return hold(s, "pool", spec, func() (*spawner.Pool, func(), error) {
		pc, err := poolConfig(name, spec.Pool, spec.Program)
		if err != nil {
			return nil, nil, err
		}
		pc.Spawner, pc.Log = s.programs, s.log
		if pc.Listen.Replace = s.replaces(name, spec.Pool.Address); pc.Listen.Replace && pc.Listen.Network == "tcp" {
			return nil, nil, fmt.Errorf("pool %s: %s is still in use by the pool as it was: change it with the address, or start the server anew", name, spec.Pool.Address)
		}
		p, err := spawner.NewPool(pc)
		if err == nil {
			err = p.Start()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("pool %s: %w", name, err)
		}
		at := &addressed{name, spec.Pool.Address, p}
		s.mu.Lock()
		s.addressed = append(s.addressed, at)
		s.mu.Unlock()
		return p, func() {
			p.Close(context.Background())
			s.mu.Lock()
			defer s.mu.Unlock()
			s.addressed = slices.DeleteFunc(s.addressed, func(other *addressed) bool { return other == at })
		}, nil
	})
}

// replaces reports whether workers of ours are at the address of a pool that is to be made: those of the same pool
// under another configuration. They have to make room, while what strangers have started there is used.
func (s *shared) replaces(name, address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return address != "" && slices.ContainsFunc(s.addressed, func(a *addressed) bool {
		return a.name == name && a.address == address &&
			!slices.ContainsFunc(a.pool.Workers(), func(w spawner.WorkerInfo) bool { return w.Adopted })
	})
}

func poolConfig(name string, l *config.Pool, g *config.Program) (spawner.PoolConfig, error) {
	command := l.Command
	if len(command) == 0 {
		command = g.Command
	}
	program, err := g.Run(command)
	if err != nil {
		return spawner.PoolConfig{}, err
	}
	if g.Stop == config.New[config.Program]().Stop {
		program.Stop = nil // a worker has no input that could end
	}
	pc := spawner.PoolConfig{
		Name: name, Program: &program, Max: l.Max, Min: l.Min, MinSpare: l.MinSpare, MaxSpare: l.MaxSpare,
		MaxSessions: orNone(l.MaxSessions), MaxServed: l.RecycleSessions, MaxAge: l.RecycleAge.Value(), MaxMemory: int64(l.RecycleMemory),
		IdleTimeout: l.IdleTimeout.Value(), StartTimeout: l.StartTimeout.Value(), MaxQueue: orNone(l.MaxQueue),
		QueueWait: l.QueueTimeout.Value(),
	}
	switch l.Scaling {
	case "dynamic":
		pc.Scaling = spawner.Dynamic
	case "ondemand":
		pc.Scaling = spawner.OnDemand
	default:
		pc.Scaling = spawner.Static
	}
	err = poolListen(&pc.Listen, l)
	return pc, err
}

// orNone is how packages are told that 0 means none, or no limit.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// backends returns the set that a route's requests go to.
func (s *shared) backends(c *config.Config, t *config.Target) (*backend.Set, func(), error) {
	b := c.Backends[t.Backends]
	name := t.Backends
	if b == nil {
		b = config.New[config.Backends]()
		b.Servers, b.Pool = t.Servers, t.Pool
		name = ""
	}
	spec := struct {
		Name     string
		Backends *config.Backends
		Pool     *config.Pool
		Program  *config.Program
	}{name, b, c.Pool[b.Pool], nil}
	if spec.Pool != nil {
		spec.Program = c.Program[spec.Pool.Program]
	}
	return hold(s, "backends", spec, func() (*backend.Set, func(), error) {
		bc, err := backendConfig(b)
		if err != nil {
			return nil, nil, err
		}
		bc.Log = s.log
		release := func() {}
		if b.Pool != "" {
			if bc.Pool, release, err = s.pool(c, b.Pool); err != nil {
				return nil, nil, err
			}
		}
		set, err := backend.New(bc)
		if err != nil {
			release()
			return nil, nil, err
		}
		set.Start()
		return set, func() { set.Close(); release() }, nil
	})
}

func backendConfig(b *config.Backends) (backend.Config, error) {
	balance, err := backend.ParseBalance(b.Balance)
	if err != nil {
		return backend.Config{}, err
	}
	bc := backend.Config{
		Balance: balance, HashName: b.HashName, ConnectTimeout: b.ConnectTimeout.Value(), DisableTime: b.DisableTime.Value(),
		Retries: orNone(b.Retries), MaxQueue: orNone(b.MaxQueue), QueueWait: b.QueueTimeout.Value(), Resolve: b.Resolve.Value(),
	}
	servers := b.Server
	for _, address := range b.Servers {
		servers = append(servers, &config.Server{Address: address, Weight: 1})
	}
	for _, server := range servers {
		max := server.MaxSessions
		if max == 0 {
			max = b.MaxSessions
		}
		bc.Backends = append(bc.Backends, backend.Server{Address: server.Address, Weight: server.Weight, Backup: server.Backup, MaxSessions: max})
	}
	if check := b.Check; check != nil {
		bc.Check = backend.Check{Interval: check.Interval.Value(), Timeout: check.Timeout.Value(), Rise: check.Rise, Fall: check.Fall}
		switch check.Kind {
		case "http":
			bc.Check.Probe = backend.HTTPProbe("", check.Path, check.Status)
		case "fastcgi":
			bc.Check.Probe = fastcgi.Probe
		}
	}
	return bc, nil
}

// wait waits until everything that was given back is closed.
func (s *shared) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { s.closing.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// poolListen says how workers come to their sockets.
func poolListen(to *spawner.Listen, l *config.Pool) error {
	to.ListenFDs, to.Shared = l.Socket == "listen-fds", l.Shared
	if mode, set := l.Mode.Bits(); set {
		to.Mode = os.FileMode(mode)
	}
	to.Owner, to.Group, _ = strings.Cut(l.Owner, ":")
	if path, unix := strings.CutPrefix(l.Address, "unix:"); unix {
		to.Path = path
	} else if l.Address != "" {
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			return err
		}
		to.Network, to.Host = "tcp", host
		if to.Port, err = strconv.Atoi(port); err != nil {
			return err
		}
	}
	return nil
}

// workers returns how many processes each pool has.
func (s *shared) workers() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for _, a := range s.addressed {
		n[a.name] += len(a.pool.Workers())
	}
	return n
}
