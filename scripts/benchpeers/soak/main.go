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
	list := flag.Bool("list", false, "print the scenarios that would be run")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "soak: bad arguments:", err, flag.Args())
		os.Exit(2)
	}
	if *list {
		for _, s := range scenarios {
			if chosen.MatchString(s.name) {
				fmt.Printf("%-44s %4d MiB\n", s.name, s.bound)
			}
		}
		return
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
		if err != nil && p != nil {
			p.stop()
		} else if p != nil { // its idle server does not disturb the scenarios that follow
			settling.Go(func() { r.settle(ctx, p) })
		}
	}
	fmt.Fprintln(os.Stderr, "          waiting until the servers have become small again")
	settling.Wait()
	if !print(*length, results) {
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
	good := &good{server: p, http2: s.http2}
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

// print writes the table as docs/security.md has it, and what went wrong. It reports whether all is well.
func print(length time.Duration, results []*result) bool {
	fmt.Printf("| attack, %g s | what was done | echo p50 / p99, ms | new session p50 / max, ms | refused | MiB at most, bound"+
		" | MiB idle, after | descriptors idle, after | after |\n", length.Seconds())
	fmt.Println("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	good := len(results) > 0
	for _, r := range results {
		fmt.Printf("| %s | %s | %s | %s | %d of %d | %s, %d | %s, %s | %d, %d | %s |\n",
			r.name, r.did, r.good.echo, r.good.fresh, r.good.refused, r.good.tried, mib(r.highest), r.bound>>20,
			mib(r.idle.memory), mib(r.after.memory), r.idle.descriptors, r.after.descriptors, r.settled.Round(time.Second))
		good = good && len(r.errs) == 0
	}
	for _, r := range results {
		for _, err := range r.errs {
			fmt.Printf("\n%s: %v\n", r.name, err)
		}
	}
	fmt.Printf("\nMemory is the resident set of the server process, its highest as the kernel has it (VmHWM). Afterwards it may have"+
		" %s MiB and %d descriptors more than before, no program more, and %s for getting there.\n", mib(memoryTolerance), descriptorTolerance, settleTime)
	return good
}
