package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// A FarResult is what a scenario gave.
type FarResult struct {
	Scenario, Unit, Against string
	Rows                    []FarRow

	samples map[string][]float64 // ns by system, a round each
	failed  map[string]error     // why a system has none
}

// FarRow is one system's medians over the rounds.
type FarRow struct {
	System   string
	N        int // tasks, items or bytes a round
	Value    float64
	Min, Max float64
	P99      float64 // ns; 0 where it is not measured
	Ratio    float64 // to Against, round by round; in a speed-up, to the plain loop in the peer's language
	Note     string  // why there are no figures
}

// A farm is the peers that run. Each is started when it is first needed, and stopped by
// close. Once ctx has ended, nothing is measured any more.
type farm struct {
	ctx     context.Context
	started map[string]*startedPeer
}

type startedPeer struct {
	far *far
	err error
}

func newFarm(ctx context.Context) *farm {
	return &farm{ctx: ctx, started: map[string]*startedPeer{}}
}

func (m *farm) close() {
	for _, s := range m.started {
		s.stop(errors.New("stopped"))
	}
}

func (s *startedPeer) stop(err error) {
	if s.err == nil {
		s.err = err
		s.far.close()
	}
}

// measure starts the peer if need be, and runs the system on n, no longer than farLimit.
// A peer that fails is stopped, and fails from then on.
func (m *farm) measure(sys FarSystem, n int) (ns, p99 float64, err error) {
	if err := m.ctx.Err(); err != nil {
		return 0, 0, err
	}
	s, ok := m.started[sys.Peer.Name]
	if !ok {
		s = &startedPeer{}
		s.far, s.err = sys.Peer.Start()
		m.started[sys.Peer.Name] = s
		if s.err == nil && s.far.pause != nil {
			s.far.pause()
		}
	}
	if s.err != nil {
		return 0, 0, s.err
	}
	if s.far.pause != nil {
		s.far.resume()
		defer func() {
			if s.err == nil {
				s.far.pause()
			}
		}()
	}
	runtime.GC()
	done := make(chan struct{})
	go func() { // ends, when it is late, by the peer's stop
		defer close(done)
		ns, p99, err = sys.Run(s.far, n)
	}()
	select {
	case <-done:
	case <-m.ctx.Done():
		s.stop(m.ctx.Err())
		return 0, 0, s.err
	case <-time.After(farLimit):
		s.stop(fmt.Errorf("took more than %v", farLimit))
		return 0, 0, s.err
	}
	if err != nil {
		s.stop(err)
	}
	return ns, p99, err
}

// size is as many of n as take farTime, found by trying fewer; that warms up, too.
func (m *farm) size(sys FarSystem, n int) (int, error) {
	for try := min(n, 100); ; {
		ns, _, err := m.measure(sys, try)
		if err != nil {
			return 0, err
		}
		fit := max(int(float64(farTime)/ns), 100)
		if try == n || fit < 4*try {
			return min(n, fit), nil
		}
		try = min(n, fit, 10*try)
	}
}

// run measures the systems in turn, every other round backwards.
func (s FarScenario) run(m *farm, rounds int) FarResult {
	r := FarResult{Scenario: s.Name, Unit: s.Unit, Against: s.Against, samples: map[string][]float64{}, failed: map[string]error{}}
	sizes, tails := map[string]int{}, map[string][]float64{}
	for _, sys := range s.Systems {
		n, err := s.N, error(nil)
		if s.Rate {
			_, _, err = m.measure(sys, n)
		} else {
			n, err = m.size(sys, n)
		}
		if sizes[sys.Name] = n; err != nil {
			r.failed[sys.Name] = err
		}
	}
	order := slices.Clone(s.Systems)
	for range rounds {
		for _, sys := range order {
			if r.failed[sys.Name] != nil {
				continue
			}
			ns, p99, err := m.measure(sys, sizes[sys.Name])
			if err != nil {
				r.failed[sys.Name] = err
				continue
			}
			r.samples[sys.Name] = append(r.samples[sys.Name], ns)
			tails[sys.Name] = append(tails[sys.Name], p99)
		}
		slices.Reverse(order)
	}
	for _, sys := range s.Systems {
		row := FarRow{System: sys.Name, N: sizes[sys.Name]}
		if err := r.failed[sys.Name]; err != nil {
			row.Note = err.Error()
		} else {
			values := slices.Clone(r.samples[sys.Name])
			if s.Rate {
				for i, ns := range values {
					values[i] = 1 / ns
				}
			}
			row.Value, row.Min, row.Max = median(values), slices.Min(values), slices.Max(values)
			row.P99 = median(tails[sys.Name])
			if s.Faster {
				row.Ratio, _ = r.ratio(sys.against(s), sys.Name)
			} else {
				row.Ratio, _ = r.ratio(sys.Name, sys.against(s))
			}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

func (sys FarSystem) against(s FarScenario) string {
	if sys.Against != "" {
		return sys.Against
	}
	return s.Against
}

// ratio is the median of the rounds' ratios of the time of a to that of b.
func (r FarResult) ratio(a, b string) (float64, error) {
	for _, name := range []string{a, b} {
		if err := r.failed[name]; err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		if len(r.samples[name]) == 0 {
			return 0, fmt.Errorf("%s was not measured", name)
		}
	}
	return medianRatio(r.samples[a], r.samples[b]), nil
}

// only keeps what matches, and what that is put in relation to.
func (s FarScenario) only(match func(sys FarSystem) bool) FarScenario {
	needed := map[string]bool{}
	for _, sys := range s.Systems {
		if match(sys) {
			needed[sys.Name], needed[sys.against(s)] = true, true
		}
	}
	s.Systems = slices.DeleteFunc(slices.Clone(s.Systems), func(sys FarSystem) bool { return !needed[sys.Name] })
	return s
}

// farTable runs the scenarios that match, until ctx ends, and shows each when it is done.
func farTable(ctx context.Context, match *regexp.Regexp, rounds int, show func(FarResult)) (results []FarResult, versions map[string]string) {
	m := newFarm(ctx)
	defer m.close()
	for _, s := range farScenarios(itemCosts) {
		s = s.only(func(sys FarSystem) bool { return match.MatchString(s.Name) || match.MatchString(sys.Name) })
		if len(s.Systems) == 0 {
			continue
		}
		r := s.run(m, rounds)
		if ctx.Err() != nil {
			break
		}
		results = append(results, r)
		show(r)
	}
	return results, m.versions()
}

// versions are those that the build does not know.
func (m *farm) versions() map[string]string {
	all := map[string]string{}
	for _, s := range m.started {
		if s.far != nil {
			maps.Copy(all, s.far.versions)
		}
	}
	return all
}

func (r FarResult) print(w io.Writer) {
	relation := "x the time of"
	if r.Unit == "GB/s" {
		relation = "x the speed of"
	} else if r.Against == loopGo {
		relation = "speed-up over a"
	}
	fmt.Fprintf(w, "\n%s (ratio: %s %s)\n", r.Scenario, relation, r.Against)
	fmt.Fprintf(w, "  %-40s %12s %12s %12s %12s %10s %9s\n", "", r.Unit, "min", "max", "p99", "ratio", "n")
	rows := slices.Clone(r.Rows)
	slices.SortStableFunc(rows, func(a, b FarRow) int {
		switch {
		case (a.Note == "") != (b.Note == ""):
			return len(a.Note) - len(b.Note)
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		}
		return 0
	})
	for _, row := range rows {
		if row.Note != "" {
			fmt.Fprintf(w, "  %-40s %s\n", row.System, row.Note)
			continue
		}
		p99, ratio := "-", "-"
		if row.P99 > 0 {
			p99 = digits(row.P99)
		}
		if row.Ratio > 0 {
			ratio = fmt.Sprintf("%.3g", row.Ratio)
		}
		fmt.Fprintf(w, "  %-40s %12s %12s %12s %12s %10s %9d\n", row.System,
			digits(row.Value), digits(row.Min), digits(row.Max), p99, ratio, row.N)
	}
}
