// Command frames compares the message rate of package wsframe with that of
// other WebSocket libraries for Go: echo servers of each, in this process, on
// loopback connections.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
)

// A row is one kind of load. It is wanted that wsframe has at least ratio times
// the rate of the best other library, without allocations; 0: nothing is.
type row struct {
	window, size int
	ratio        float64
}

var rows = []row{
	{1, 32, 0},
	{1, 1024, 0},
	{1, 32 * 1024, 0},
	{32, 32, 5},
	{32, 1024, 0},
	{32, 32 * 1024, 0},
}

// Allocations of this many messages are the garbage collector's and the
// runtime's own.
const noAllocs = 0.001

func (r row) name() string {
	if r.size >= 1024 {
		return fmt.Sprintf("%d in flight, %d KiB", r.window, r.size/1024)
	}
	return fmt.Sprintf("%d in flight, %d B", r.window, r.size)
}

// An outcome is a row with all that was measured.
type outcome struct {
	Row     string              `json:"row"`
	Results map[string][]result `json:"results"` // by library
	Best    string              `json:"best_other"`
	Ratio   float64             `json:"ratio"` // of median rates, to the best other's
	Allocs  float64             `json:"allocs_per_message"`
	Wanted  float64             `json:"wanted_ratio,omitempty"`
	Met     bool                `json:"met"`
}

func main() {
	runs := flag.Int("runs", 5, "runs of each library in each row; the median counts")
	d := flag.Duration("d", time.Second, "length of a run")
	only := flag.String("rows", "", "only rows whose name matches this regular `expression`")
	asJSON := flag.Bool("json", false, "print one JSON object for each row, with all runs")
	check := flag.Bool("check", false, "fail if a wanted ratio is not met")
	flag.Parse()
	if err := measure(*runs, *d, *only, *asJSON, *check); err != nil {
		fmt.Fprintln(os.Stderr, "frames:", err)
		os.Exit(1)
	}
}

func measure(runs int, d time.Duration, only string, asJSON, check bool) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var outcomes []*outcome
	for _, r := range rows {
		if !pattern.MatchString(r.name()) {
			continue
		}
		fmt.Fprintf(os.Stderr, "frames: %s\n", r.name())
		o, err := r.measure(runs, d)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name(), err)
		}
		outcomes = append(outcomes, o)
	}
	if len(outcomes) == 0 {
		return fmt.Errorf("no row matches %q", only)
	}
	if err := report(outcomes, asJSON); err != nil {
		return err
	}
	for _, o := range outcomes {
		if check && !o.Met {
			return fmt.Errorf("%s: not what is wanted", o.Row)
		}
	}
	return nil
}

// measure runs the libraries in turn, so that what else happens on the machine
// meets all of them.
func (r row) measure(runs int, d time.Duration) (*outcome, error) {
	o := &outcome{Row: r.name(), Results: map[string][]result{}, Wanted: r.ratio}
	for range runs {
		for _, l := range libraries {
			res, err := r.run(l, d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.name, err)
			}
			o.Results[l.name] = append(o.Results[l.name], res)
		}
	}
	var best float64
	for _, l := range libraries[1:] {
		if rate := o.rate(l.name); rate > best {
			best, o.Best = rate, l.name
		}
	}
	o.Ratio = o.rate("wsframe") / best
	o.Allocs = o.allocs("wsframe")
	o.Met = r.ratio == 0 || o.Ratio >= r.ratio && o.Allocs < noAllocs
	return o, nil
}

func (r row) run(l library, d time.Duration) (result, error) {
	server := httptest.NewServer(l.echo)
	defer server.Close()
	c, err := dial(strings.TrimPrefix(server.URL, "http://"), r.window, r.size)
	if err != nil {
		return result{}, err
	}
	defer c.conn.Close()
	if _, err := c.run(d / 5); err != nil { // to warm up
		return result{}, err
	}
	return c.run(d)
}

func (o *outcome) rate(library string) float64 {
	var rates []float64
	for _, r := range o.Results[library] {
		rates = append(rates, r.Rate)
	}
	return table.Median(rates)
}

func (o *outcome) allocs(library string) float64 {
	var allocs []float64
	for _, r := range o.Results[library] {
		allocs = append(allocs, r.Allocs)
	}
	return table.Median(allocs)
}

func report(outcomes []*outcome, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		for _, o := range outcomes {
			if err := e.Encode(o); err != nil {
				return err
			}
		}
		return nil
	}
	head := []string{"echoes per second (allocations)"}
	for _, l := range libraries {
		head = append(head, " "+l.name)
	}
	cells := [][]string{append(head, " to the best other", "wanted", "met")}
	for _, o := range outcomes {
		line := []string{o.Row}
		for _, l := range libraries {
			line = append(line, fmt.Sprintf("%s (%.1f)", table.Number(o.rate(l.name)), o.allocs(l.name)))
		}
		wanted, met := "", ""
		if o.Wanted > 0 {
			wanted, met = fmt.Sprintf("≥ %.0f×, 0 allocations", o.Wanted), table.YesNo(o.Met)
		}
		cells = append(cells, append(line, fmt.Sprintf("%.2f×", o.Ratio), wanted, met))
	}
	return table.Markdown(os.Stdout, cells)
}
