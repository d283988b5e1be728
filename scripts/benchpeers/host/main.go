// Command host compares wspawn with websocketd, side by side on this machine:
// the same load, the same program behind them, in turn. scripts/bench builds
// what it needs and runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
)

// A bench has the flags of the command.
type bench struct {
	wspawn, websocketd, wsload string
	program                    string
	runs                       int
	seconds                    time.Duration
	rows                       string
	ours                       string
	others                     float64
	json, check                bool
}

func main() {
	var b bench
	flag.StringVar(&b.wspawn, "wspawn", "wspawn", "`path` of wspawn")
	flag.StringVar(&b.websocketd, "websocketd", "websocketd", "`path` of websocketd")
	flag.StringVar(&b.wsload, "wsload", "wsload", "`path` of the load generator")
	flag.StringVar(&b.program, "program", "cat", "`path` of the program behind the servers: it echoes")
	flag.StringVar(&b.ours, "ours", "wspawn", "wspawn, or websocketd to compare that with itself and see the noise")
	flag.IntVar(&b.runs, "runs", 5, "runs of each server in each row; the median counts")
	flag.DurationVar(&b.seconds, "d", 3*time.Second, "length of a run")
	flag.StringVar(&b.rows, "rows", "", "only rows whose name matches this regular `expression`")
	flag.Float64Var(&b.others, "others", 0, "repeat runs in which others used more than so many `percent` of a processor,\nat most 5 times, and take the quietest; 0 takes every run")
	flag.BoolVar(&b.json, "json", false, "print one JSON object for each measure, with all runs")
	flag.BoolVar(&b.check, "check", false, "fail if a wanted ratio is not met")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

// An outcome is a measure of a row with all its runs.
type outcome struct {
	Row     string    `json:"row"`
	Measure string    `json:"measure"`
	Unit    string    `json:"unit"`
	Ours    []float64 `json:"ours"`
	Theirs  []float64 `json:"theirs"`
	Ratio   float64   `json:"ratio"` // of the medians
	Wanted  string    `json:"wanted"`
	Met     bool      `json:"met"`

	// OtherPct is the largest share of one processor that processes which took
	// no part used in a run, or that the hypervisor took away.
	OtherPct float64 `json:"other_pct"`
}

func (b *bench) run(ctx context.Context) error {
	pattern, err := regexp.Compile(b.rows)
	if err != nil {
		return err
	}
	contenders := []contender{{"wspawn", startWspawn}, {"websocketd", startWebsocketd}}
	switch b.ours {
	case "wspawn":
	case "websocketd":
		contenders[0] = contenders[1]
	default:
		return fmt.Errorf("-ours is wspawn or websocketd, not %q", b.ours)
	}
	var outcomes []outcome
	var problems []error // a row that fails does not take the others with it
	for _, r := range rows(b.seconds.String()) {
		if !pattern.MatchString(r.name) || ctx.Err() != nil {
			continue
		}
		reports, err := b.measure(ctx, r, contenders)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		outcomes = append(outcomes, r.judge(reports)...)
	}
	if len(outcomes) == 0 && len(problems) == 0 {
		return fmt.Errorf("no row matches %q", b.rows)
	}
	if len(outcomes) > 0 {
		problems = append(problems, b.report(outcomes))
	}
	for _, o := range outcomes {
		if b.check && !o.Met {
			problems = append(problems, fmt.Errorf("%s, %s: not what is wanted", o.Row, o.Measure))
		}
	}
	return errors.Join(problems...)
}

// measure runs the contenders in turn, so that what else happens on the machine
// meets both.
func (b *bench) measure(ctx context.Context, r row, contenders []contender) (reports [2][]*report, err error) {
	for n := range b.runs {
		for i, c := range contenders {
			fmt.Fprintf(os.Stderr, "host: %s, run %d of %d: %s\n", r.name, n+1, b.runs, c.name)
			rep, err := b.quietest(ctx, r, c)
			if err != nil {
				return reports, fmt.Errorf("%s: %w", c.name, err)
			}
			reports[i] = append(reports[i], rep)
		}
	}
	return reports, nil
}

// quietest measures until others left us alone, but not for ever.
func (b *bench) quietest(ctx context.Context, r row, c contender) (best *report, err error) {
	for range 6 {
		rep, err := b.once(ctx, r, c)
		if err != nil {
			return nil, err
		}
		if best == nil || rep.others() < best.others() {
			best = rep
		}
		if b.others == 0 || best.others() <= b.others {
			break
		}
	}
	return best, nil
}

// once measures a server that is started for it.
func (b *bench) once(ctx context.Context, r row, c contender) (*report, error) {
	var prefix []string
	if r.pinned {
		cpu, err := lastProcessor()
		if err != nil {
			return nil, err
		}
		prefix = []string{"taskset", "-c", cpu}
	}
	s, err := c.start(ctx, b, r.binary, prefix)
	if err != nil {
		return nil, err
	}
	defer s.stop()

	// taskset becomes the server, so this is the server's process.
	args := append(prefix, b.wsload)
	args = append(args, r.args...)
	args = append(args, "-json", "-pid", strconv.Itoa(s.cmd.Process.Pid), s.url)
	load := exec.CommandContext(ctx, args[0], args[1:]...)
	load.Stderr = os.Stderr
	out, err := load.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	var rep report
	if err := json.Unmarshal(out, &rep); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return &rep, nil
}

// lastProcessor returns the number of the last processor that we may use.
func lastProcessor() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(status), "Cpus_allowed_list:")
	if !found {
		return "", errors.New("/proc/self/status does not say which processors there are")
	}
	list, _, _ := strings.Cut(rest, "\n")
	list = strings.TrimSpace(list)
	return list[strings.LastIndexAny(list, ",-")+1:], nil
}

// judge compares the runs of ours and theirs.
func (r row) judge(reports [2][]*report) []outcome {
	var other float64
	for _, list := range reports {
		for _, rep := range list {
			other = max(other, rep.others())
		}
	}
	var outcomes []outcome
	for _, w := range r.wants {
		o := outcome{Row: r.name, Measure: w.measure.name, Unit: w.measure.unit, OtherPct: other}
		for _, rep := range reports[0] {
			o.Ours = append(o.Ours, w.measure.of(rep))
		}
		for _, rep := range reports[1] {
			o.Theirs = append(o.Theirs, w.measure.of(rep))
		}
		o.Ratio = table.Median(o.Ours) / table.Median(o.Theirs)
		if w.measure.moreGood {
			o.Wanted = fmt.Sprintf("≥ %v×", w.ratio)
			o.Met = o.Ratio >= w.ratio
		} else {
			o.Wanted = fmt.Sprintf("≤ %v×", w.ratio)
			o.Met = o.Ratio <= w.ratio
		}
		if w.limit > 0 {
			o.Wanted += fmt.Sprintf(", < %v %s", w.limit, w.measure.unit)
			o.Met = o.Met && table.Median(o.Ours) < w.limit
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

func (b *bench) report(outcomes []outcome) error {
	if b.json {
		e := json.NewEncoder(os.Stdout)
		for _, o := range outcomes {
			if err := e.Encode(o); err != nil {
				return err
			}
		}
		return nil
	}
	cells := [][]string{{"load", "measure", " " + b.ours, " websocketd", " ratio", "wanted", "met", " others"}}
	last := ""
	for _, o := range outcomes {
		name, other := o.Row, fmt.Sprintf("%.0f %%", o.OtherPct)
		if name == last {
			name, other = "", ""
		}
		last = o.Row
		cells = append(cells, []string{
			name, o.Measure + ", " + o.Unit,
			table.Number(table.Median(o.Ours)), table.Number(table.Median(o.Theirs)),
			fmt.Sprintf("%.2f×", o.Ratio), o.Wanted, table.YesNo(o.Met), other,
		})
	}
	return table.Markdown(os.Stdout, cells)
}
