// Package metrics counts what a server does with its clients, and tells it to Prometheus.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// Prefix is what the names of all that this package counts begin with.
const Prefix = "wspawn_"

// Now is what there is at a moment.
type Now struct {
	Sessions  map[string]int // by route
	Waiting   int            // clients that wait for a session to end
	Processes int
	Workers   map[string]int // processes of a pool, by its name
}

// Metrics are the counters of a server. All methods may be called at the same time.
type Metrics struct {
	registry *prometheus.Registry
	opened   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	closed   *prometheus.CounterVec

	mu      sync.Mutex // guards the field below
	reasons map[string]bool
}

// New returns counters that are zero. now says what there is whenever somebody asks.
func New(now func() Now) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		opened:   counter("sessions_total", "Sessions that were opened.", "route"),
		refused:  counter("refused_total", "Requests that were refused. The route is empty when none was looked for.", "route", "status", "reason"),
		closed:   counter("closed_total", "Sessions that ended, by their close code; 1006 is a connection that broke. Only those whose frames are made here.", "route", "code"),
		reasons:  make(map[string]bool),
	}
	m.registry.MustRegister(m.opened, m.refused, m.closed, gauges(now),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Opened counts a session that begins.
func (m *Metrics) Opened(route string) { m.opened.WithLabelValues(route).Inc() }

// Closed counts a session that ended with a close code.
func (m *Metrics) Closed(route string, code int) {
	m.closed.WithLabelValues(route, strconv.Itoa(code)).Inc()
}

// maxReasons bounds the memory for reasons, which backends may make up.
const maxReasons = 100

// Refused counts a request that was refused. What follows a colon in the reason is about one case, and left out.
func (m *Metrics) Refused(route string, status int, reason string) {
	reason, _, _ = strings.Cut(reason, ":")
	reason = strings.ToValidUTF8(reason, "\uFFFD") // or Prometheus panics
	m.mu.Lock()
	if !m.reasons[reason] {
		if len(m.reasons) < maxReasons {
			m.reasons[reason] = true
		} else {
			reason = "other"
		}
	}
	m.mu.Unlock()
	m.refused.WithLabelValues(route, strconv.Itoa(status), reason).Inc()
}

// Handler answers with everything, in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// LogRefused writes a line that says how many requests were refused for which reason, if any were.
func (m *Metrics) LogRefused(log *slog.Logger) {
	families, _ := m.registry.Gather() // what could not be gathered is not there
	var attrs []slog.Attr
	for _, f := range families {
		if f.GetName() != Prefix+"refused_total" {
			continue
		}
		sums := make(map[string]float64)
		var order []string
		for _, metric := range f.Metric {
			reason := label(metric, "reason")
			if sums[reason] == 0 {
				order = append(order, reason)
			}
			sums[reason] += metric.Counter.GetValue()
		}
		for _, reason := range order {
			attrs = append(attrs, slog.Uint64(reason, uint64(sums[reason])))
		}
	}
	if len(attrs) > 0 {
		log.LogAttrs(context.Background(), slog.LevelInfo, "requests refused since the start", attrs...)
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// gauges are the metrics that are read rather than counted.
type gauges func() Now

var (
	sessions  = prometheus.NewDesc(Prefix+"sessions", "Sessions there are, with those whose handshake is not answered yet.", []string{"route"}, nil)
	waiting   = prometheus.NewDesc(Prefix+"sessions_waiting", "Clients that wait for a session to end.", nil, nil)
	processes = prometheus.NewDesc(Prefix+"processes", "Programs that run.", nil, nil)
	workers   = prometheus.NewDesc(Prefix+"pool_workers", "Processes of a pool.", []string{"pool"}, nil)
)

// Describe is for prometheus.Collector.
func (g gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessions, waiting, processes, workers} {
		c <- d
	}
}

// Collect is for prometheus.Collector.
func (g gauges) Collect(c chan<- prometheus.Metric) {
	now := g()
	send := func(d *prometheus.Desc, n int, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for route, n := range now.Sessions {
		send(sessions, n, route)
	}
	send(waiting, now.Waiting)
	send(processes, now.Processes)
	for pool, n := range now.Workers {
		send(workers, n, pool)
	}
}
