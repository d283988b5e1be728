package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/metrics"
)

// statusTimeout bounds how long a server may take to say how it is.
const statusTimeout = 10 * time.Second

// statusCommand asks a running server how it is.
func statusCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "status [flags] [ADDRESS]",
		Short: "Show how a running server is",
		Long: `wspawn status asks a running server for its counters: sessions, processes, and what was refused for
which reason. ADDRESS is what the server has as its admin address, HOST:PORT or unix:PATH; without one it is that of the
configuration file, wspawn.toml if none is named. Its exit status is 0 when the server answers and 1 when not.`,
		Example: `  wspawn status                    the server of wspawn.toml in this directory
  wspawn status 127.0.0.1:9090     the one started with --admin 127.0.0.1:9090`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(fmt.Errorf("status takes one address, not %s", strings.Join(args, " ")))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			address := ""
			switch {
			case len(args) > 0 && file != "":
				return usageError(fmt.Errorf("the server is given twice: --config %s and %s", file, args[0]))
			case len(args) > 0:
				address = strings.TrimPrefix(args[0], "http+") // a Unix socket, as the server prints it
				if !strings.HasPrefix(address, "unix:") {
					address, _, _ = strings.Cut(strings.TrimPrefix(address, "http://"), "/")
				}
				if config.CheckAddress(address) != nil {
					return usageError(fmt.Errorf("%q is not HOST:PORT or unix:PATH, as --admin or the admin of a file has it", args[0]))
				}
			default:
				file = configFile(cmp.Or(file, defaultConfig))
				c, _, err := config.Read(file)
				if err != nil {
					return err
				}
				if address = c.Admin; address == "" {
					return fmt.Errorf(`%s: no admin address: set admin = "127.0.0.1:9090"`, file)
				}
			}
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			families, err := askStatus(ctx, address)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), families)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration `FILE` that names the admin address")
	return cmd
}

// askStatus gets the counters of the server that tells them at an address.
func askStatus(ctx context.Context, address string) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	url := "http://" + address + "/metrics"
	transport := &http.Transport{DisableKeepAlives: true}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		url = "http://localhost/metrics"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT or unix:PATH", address)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			err = fmt.Errorf("nothing came within %v", statusTimeout)
		}
		return nil, fmt.Errorf("no server answers at %s: %w: start it with --admin %[1]s, or give the address that it has said", address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: not an admin address", address, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, 16<<20))
	if err != nil || families[metrics.Prefix+"processes"] == nil {
		return nil, fmt.Errorf("%s answers, but not as an admin address: is it a wspawn server?", address)
	}
	return families, nil
}

// shown are the counters of a server in the order of interest, with what people call them.
var shown = []struct{ name, title string }{
	{"sessions", "sessions"}, {"sessions_waiting", "waiting"}, {"sessions_total", "opened"}, {"closed_total", "closed"},
	{"refused_total", "refused"}, {"processes", "processes"}, {"pool_workers", "pool workers"},
}

// printStatus shows the counters of wspawn itself, one in a line.
func printStatus(out io.Writer, families map[string]*dto.MetricFamily) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, x := range shown {
		family := families[metrics.Prefix+x.name]
		if family == nil {
			continue
		}
		slices.SortFunc(family.Metric, func(a, b *dto.Metric) int { return strings.Compare(labels(a), labels(b)) })
		for _, m := range family.Metric {
			fmt.Fprintln(w, strings.TrimSuffix(fmt.Sprintf("%s\t%.0f\t%s", x.title, value(m), labels(m)), "\t"))
		}
	}
	return w.Flush()
}

func value(m *dto.Metric) float64 {
	if m.Gauge != nil {
		return m.Gauge.GetValue()
	}
	return m.Counter.GetValue()
}

// labels returns what a counter is of, as "route=/a status=403".
func labels(m *dto.Metric) string {
	var b strings.Builder
	for _, l := range m.Label {
		v := l.GetValue()
		if strings.ContainsAny(v, " =\"") {
			v = fmt.Sprintf("%q", v)
		}
		fmt.Fprintf(&b, "%s=%s ", l.GetName(), cmp.Or(v, "-"))
	}
	return strings.TrimSuffix(b.String(), " ")
}
