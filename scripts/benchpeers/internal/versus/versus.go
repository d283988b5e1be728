// Package versus compares servers, side by side on this machine: the same
// load, in turn, row by row. What the servers and the loads are is up to the
// commands.
package versus

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
)

// A Bench has what the commands have in common: who is compared, and flags.
type Bench struct {
	Name    string   // of the command
	Servers []string // ours and theirs

	Length time.Duration // of a run; set by -d

	runs        int
	rows        string
	others      float64
	json, check bool
}

// Flags defines the flags.
func (b *Bench) Flags() {
	flag.IntVar(&b.runs, "runs", 5, "runs of each server in each row; the median counts")
	flag.DurationVar(&b.Length, "d", 3*time.Second, "length of a run")
	flag.StringVar(&b.rows, "rows", "", "only rows whose name matches this regular `expression`")
	flag.Float64Var(&b.others, "others", 0, "repeat runs in which others used more than so many `percent` of a processor,\nat most 5 times, and take the quietest; 0 takes every run")
	flag.BoolVar(&b.json, "json", false, "print one JSON object for each measure, with all runs")
	flag.BoolVar(&b.check, "check", false, "fail if a wanted ratio is not met")
}

// A Row is one kind of load.
type Row struct {
	Name  string
	Wants []Want
	// Alone is for what theirs cannot do: ours alone is measured.
	Alone bool
	// Run measures one of the servers, which it starts for that.
	Run func(ctx context.Context, server int) (*Report, error)
}

// A Want is a measure with the wanted ratios of ours to each of theirs: at
// least, where more is better, and at most, where less is.
type Want struct {
	Measure Measure
	Ratios  []float64 // 0 or missing: for information
	Limit   float64   // for ours alone; 0: none
}

// A Measure is a number in a report. Zero means that it is not known.
type Measure struct {
	Name     string
	Unit     string
	MoreGood bool
	Of       func(*Report) float64
}

// An outcome is a measure of a row with all its runs.
type outcome struct {
	Row     string    `json:"row"`
	Measure string    `json:"measure"`
	Unit    string    `json:"unit"`
	Ours    []float64 `json:"ours"`
	Peers   []peer    `json:"peers"`
	Met     bool      `json:"met"`

	// OtherPct is the largest share of one processor that processes which took
	// no part used in a run, or that the hypervisor took away.
	OtherPct float64 `json:"other_pct"`
}

// A peer is one of theirs in an outcome.
type peer struct {
	Name   string    `json:"name"`
	Theirs []float64 `json:"theirs,omitempty"`
	Ratio  float64   `json:"ratio,omitempty"` // of the medians
	Wanted string    `json:"wanted,omitempty"`
}

// Main measures the rows and ends the process.
func (b *Bench) Main(rows []Row) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.compare(ctx, rows)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", b.Name, err)
		os.Exit(1)
	}
}

func (b *Bench) compare(ctx context.Context, rows []Row) error {
	pattern, err := regexp.Compile(b.rows)
	if err != nil {
		return err
	}
	var outcomes []outcome
	var problems []error // a row that fails does not take the others with it
	for _, r := range rows {
		if !pattern.MatchString(r.Name) || ctx.Err() != nil {
			continue
		}
		reports, err := b.measure(ctx, r)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", r.Name, err))
			continue
		}
		outcomes = append(outcomes, r.judge(b.Servers, reports)...)
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

// measure runs the servers in turn, so that what else happens on the machine
// meets all.
func (b *Bench) measure(ctx context.Context, r Row) (reports [][]*Report, err error) {
	reports = make([][]*Report, len(b.Servers))
	for n := range b.runs {
		for i, name := range b.Servers {
			if i > 0 && r.Alone {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %s, run %d of %d: %s\n", b.Name, r.Name, n+1, b.runs, name)
			rep, err := b.quietest(ctx, r, i)
			if err != nil {
				return reports, fmt.Errorf("%s: %w", name, err)
			}
			reports[i] = append(reports[i], rep)
		}
	}
	return reports, nil
}

// quietest measures until others left us alone, but not for ever.
func (b *Bench) quietest(ctx context.Context, r Row, server int) (best *Report, err error) {
	for range 6 {
		rep, err := r.Run(ctx, server)
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

// judge compares the runs of ours and theirs.
func (r Row) judge(servers []string, reports [][]*Report) []outcome {
	var other float64
	for _, list := range reports {
		for _, rep := range list {
			other = max(other, rep.others())
		}
	}
	var outcomes []outcome
	for _, w := range r.Wants {
		o := outcome{Row: r.Name, Measure: w.Measure.Name, Unit: w.Measure.Unit, Ours: w.Measure.all(reports[0]), OtherPct: other, Met: true}
		for i, list := range reports[1:] {
			p := peer{Name: servers[i+1], Theirs: w.Measure.all(list)}
			if len(p.Theirs) > 0 {
				p.Ratio = table.Median(o.Ours) / table.Median(p.Theirs)
			}
			switch {
			case i >= len(w.Ratios) || w.Ratios[i] == 0:
			case w.Measure.MoreGood:
				p.Wanted = fmt.Sprintf("≥ %v×", w.Ratios[i])
				o.Met = o.Met && p.Ratio >= w.Ratios[i]
			default:
				p.Wanted = fmt.Sprintf("≤ %v×", w.Ratios[i])
				o.Met = o.Met && p.Ratio <= w.Ratios[i]
			}
			if i == 0 && w.Limit > 0 {
				p.Wanted += fmt.Sprintf(", < %v %s", w.Limit, w.Measure.Unit)
				o.Met = o.Met && table.Median(o.Ours) < w.Limit
			}
			o.Peers = append(o.Peers, p)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// all returns the measure of each report that knows it.
func (m Measure) all(reports []*Report) (values []float64) {
	for _, rep := range reports {
		if v := m.Of(rep); v != 0 {
			values = append(values, v)
		}
	}
	return values
}

func (b *Bench) report(outcomes []outcome) error {
	if b.json {
		e := json.NewEncoder(os.Stdout)
		for _, o := range outcomes {
			if err := e.Encode(o); err != nil {
				return err
			}
		}
		return nil
	}
	head := []string{"load", "measure", " " + b.Servers[0]}
	for _, name := range b.Servers[1:] {
		head = append(head, " "+name, " ratio", "wanted")
	}
	cells := [][]string{append(head, "met", " others")}
	last := ""
	for _, o := range outcomes {
		name, other, met := o.Row, fmt.Sprintf("%.0f %%", o.OtherPct), ""
		if name == last {
			name, other = "", ""
		}
		last = o.Row
		line := []string{name, o.Measure + ", " + o.Unit, table.Number(table.Median(o.Ours))}
		for _, p := range o.Peers {
			theirs, ratio := "", ""
			if len(p.Theirs) > 0 {
				theirs, ratio = table.Number(table.Median(p.Theirs)), table.Ratio(p.Ratio)
			}
			line = append(line, theirs, ratio, p.Wanted)
			if p.Wanted != "" {
				met = table.YesNo(o.Met)
			}
		}
		cells = append(cells, append(line, met, other))
	}
	return table.Markdown(os.Stdout, cells)
}
