package versus

import (
	"encoding/json"
	"testing"
)

func TestJudging(t *testing.T) {
	parse := func(text string) *Report {
		r := new(Report)
		if err := json.Unmarshal([]byte(text), r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := Row{Name: "row", Wants: []Want{
		{Rate("message"), []float64{1.5}, 0},
		{CPU("message"), []float64{0.5}, 0},
		{Memory, []float64{0.5}, 13},
		{Rate("message"), nil, 0},
		{Rate("message"), []float64{1, 10}, 0},
	}}
	outcomes := r.judge([]string{"ours", "theirs", "others"}, [][]*Report{
		{
			parse(`{"per_second": 150, "cpu": {"server_s_per_million": 6, "other_pct": 1}, "memory": {"server_rss_per_conn": 14336}}`),
			parse(`{"per_second": 10, "cpu": {"server_s_per_million": 9, "steal_pct": 7}, "memory": {"server_rss_per_conn": 1}}`),
			parse(`{"per_second": 900, "cpu": {"server_s_per_million": 1}, "memory": {"server_rss_per_conn": 14336}}`),
		},
		{parse(`{"per_second": 100, "cpu": {"server_s_per_million": 10, "other_pct": 3}, "memory": {"server_rss_per_conn": 51200}}`)},
		{parse(`{"per_second": 30}`)},
	})
	if len(outcomes) != 5 {
		t.Fatalf("%d outcomes", len(outcomes))
	}
	for i, want := range []struct {
		ratio  float64
		wanted string
		met    bool
	}{
		{1.5, "≥ 1.5×", true},
		{0.6, "≤ 0.5×", false},
		{0.28, "≤ 0.5×, < 13 KiB/session", false}, // the ratio is good, 14 KiB are not
		{1.5, "", true},
		{1.5, "≥ 1×", false}, // it is 5 times the second one, not 10
	} {
		o := outcomes[i]
		if p := o.Peers[0]; p.Ratio != want.ratio || p.Wanted != want.wanted || o.Met != want.met || o.OtherPct != 7 {
			t.Errorf("got %+v, want %+v", o, want)
		}
	}
	if p := outcomes[4].Peers[1]; p.Name != "others" || p.Ratio != 5 || p.Wanted != "≥ 10×" {
		t.Errorf("got %+v", p)
	}
	if p := outcomes[1].Peers[1]; p.Theirs != nil || p.Ratio != 0 {
		t.Errorf("got %+v for what is not known", p)
	}
}
