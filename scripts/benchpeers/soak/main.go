// Soak abuses a wspawn server, one way at a time, while a well-behaved client talks to it: scripts/soak
// builds and runs it. Each scenario has a server process of its own. It fails when the server ends or
// takes more memory than the scenario allows, when the well-behaved client loses its session or an
// echo, when memory and descriptors do not return to what the idle server had, and when a program is left over.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
)

// What the idle server may have more than before the attack, and how long it has for getting there. The Go runtime
// collects garbage every two minutes at the latest, and gives memory back to the system slowly after that.
const (
	memoryTolerance     = 32 << 20
	descriptorTolerance = 2
	settleTime          = 4 * time.Minute
	sessionsEnd         = 3 * time.Second
)

// A result is a row of the table.
type result struct {
	name    string
	did     string
	good    report
	idle    usage // before
	highest int64 // bytes
	bound   int64
	after   usage
	settled time.Duration
	errs    []error
}

func main() {
	server := flag.String("wspawn", "build/wspawn", "the `program` to abuse")
	length := flag.Duration("d", time.Minute, "`time` of each scenario")
	only := flag.String("only", "", "run scenarios whose name matches this `regexp`")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "soak: bad arguments:", err, flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var results []*result
	var settling sync.WaitGroup
	for _, s := range scenarios {
		if !chosen.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s  %s ...\n", time.Now().Format(time.TimeOnly), s.name)
		r := &result{name: s.name, bound: s.bound << 20}
		results = append(results, r)
		p, err := r.run(ctx, s, *server, *length)
		if err != nil {
			r.errs = append(r.errs, err)
		}
		fmt.Fprintf(os.Stderr, "          %s; echo %s; at most %s MiB\n", r.did, r.good.echo, mib(r.highest))
		if p != nil { // its idle server does not disturb the scenarios that follow
			settling.Go(func() { r.settle(ctx, p) })
		}
	}
	fmt.Fprintln(os.Stderr, "          waiting until the servers have become small again")
	settling.Wait()
	if !print(results) {
		os.Exit(1)
	}
}

// run abuses one server. It is nil when it could not be started.
func (r *result) run(ctx context.Context, s scenario, program string, length time.Duration) (*process, error) {
	p, err := start(program, s.descriptors)
	if err != nil {
		return nil, err
	}
	if err := warmUp(ctx, p); err != nil {
		return p, fmt.Errorf("before the attack: %w", err)
	}
	if r.idle, err = p.usage(); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	good := newGood(p)
	if err := good.connect(ctx); err != nil {
		return p, fmt.Errorf("before the attack: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { r.good = good.run(ctx) })
	a := &attack{server: p, length: length}
	if s.run != nil {
		s.run(ctx, a)
	}
	running.Wait()
	a.close()
	if s.run != nil {
		r.did = a.String()
	} else {
		r.did = "nothing"
	}
	r.errs = append(r.errs, r.good.errs...)
	u, err := p.usage()
	if err != nil {
		return p, fmt.Errorf("the server has ended: %s", p.log())
	}
	if r.highest = u.highest; r.highest > r.bound {
		r.errs = append(r.errs, fmt.Errorf("%s MiB of memory are more than %s", mib(r.highest), mib(r.bound)))
	}
	return p, nil
}

// settle waits until the server is as it was, and stops it.
func (r *result) settle(ctx context.Context, p *process) {
	since := time.Now()
	time.Sleep(sessionsEnd)
	var err error
	for {
		if r.after, err = p.usage(); err != nil {
			r.errs = append(r.errs, fmt.Errorf("the server has ended: %s", p.log()))
			break
		}
		r.settled = time.Since(since)
		if r.after.memory <= r.idle.memory+memoryTolerance && r.after.descriptors <= r.idle.descriptors+descriptorTolerance &&
			r.after.programs <= r.idle.programs {
			break
		}
		if r.settled > settleTime || ctx.Err() != nil {
			r.errs = append(r.errs, fmt.Errorf("after %s it has %s MiB, %d descriptors and %d programs", r.settled.Round(time.Second),
				mib(r.after.memory), r.after.descriptors, r.after.programs))
			break
		}
		time.Sleep(time.Second)
	}
	if err := p.stop(); err != nil {
		r.errs = append(r.errs, err)
	}
}

func mib(n int64) string { return table.Number(float64(n) / (1 << 20)) }

// print writes the table, and what went wrong. It reports whether all is well.
func print(results []*result) bool {
	rows := [][]string{{"attack", "what was done", " echo p50/p99, ms", " new session p50/max, ms", " refused", " MiB at most", " bound", " MiB idle, after", " fds idle, after", " back after", "held"}}
	good := true
	for _, r := range results {
		rows = append(rows, []string{
			r.name, r.did, r.good.echo, r.good.fresh, fmt.Sprintf("%d of %d", r.good.refused, r.good.tried), mib(r.highest), mib(r.bound),
			fmt.Sprintf("%s, %s", mib(r.idle.memory), mib(r.after.memory)),
			fmt.Sprintf("%d, %d", r.idle.descriptors, r.after.descriptors),
			r.settled.Round(time.Second).String(), table.YesNo(len(r.errs) == 0),
		})
		good = good && len(r.errs) == 0
	}
	table.Markdown(os.Stdout, rows)
	for _, r := range results {
		for _, err := range r.errs {
			fmt.Printf("\n%s: %v\n", r.name, err)
		}
	}
	fmt.Printf("\nMemory is the resident set of the server process, its highest as the kernel has it (VmHWM). Afterwards it may have"+
		" %s MiB and %d descriptors more than before, no program more, and %s for getting there.\n", mib(memoryTolerance), descriptorTolerance, settleTime)
	return good && len(results) > 0
}
