package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// A Scenario is one piece of work, and the systems that do it.
type Scenario struct {
	Name    string
	N       int    // tasks a round
	Against string // the system of nearfar's that the others are put in relation to
	Systems []System
}

// A System does N tasks, and panics if a result is wrong.
type System struct {
	Name string
	Run  func()
}

// Result is what came out, in the order of the systems.
type Result struct {
	Scenario string
	Tasks    int
	Rows     []Row
}

// Row is one system's medians, a task.
type Row struct {
	System      string
	Nanoseconds float64
	Min, Max    float64
	Allocs      float64
	Bytes       float64
	Ratio       float64 // of Nanoseconds to nearfar's; the median of the rounds' ratios
}

// Report is all of it.
type Report struct {
	Machine   Machine
	Rounds    int
	Scenarios []Result    `json:",omitempty"`
	Far       []FarResult `json:",omitempty"`
}

// run runs the systems in turn, after a round that is not counted.
func (s Scenario) run(rounds int) Result {
	times := make([][]float64, len(s.Systems))
	rows := make([]Row, len(s.Systems))
	var before, after runtime.MemStats
	against := 0
	for i, sys := range s.Systems {
		rows[i].System = sys.Name
		if sys.Name == s.Against {
			against = i
		}
	}
	for round := -1; round < rounds; round++ {
		for i, sys := range s.Systems {
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			sys.Run()
			d := time.Since(start)
			runtime.ReadMemStats(&after)
			if round < 0 {
				continue
			}
			times[i] = append(times[i], float64(d.Nanoseconds())/float64(s.N))
			rows[i].Allocs = float64(after.Mallocs-before.Mallocs) / float64(s.N)
			rows[i].Bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(s.N)
		}
	}
	for i := range rows {
		rows[i].Nanoseconds, rows[i].Min, rows[i].Max = median(times[i]), slices.Min(times[i]), slices.Max(times[i])
		rows[i].Ratio = medianRatio(times[i], times[against])
	}
	return Result{Scenario: s.Name, Tasks: s.N, Rows: rows}
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}

// medianRatio is the median of the ratios round by round, which drift in the machine's
// speed disturbs less than the ratio of medians.
func medianRatio(a, b []float64) float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return median(r)
}

func (r Result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%d tasks)\n", r.Scenario, r.Tasks)
	fmt.Fprintf(w, "  %-40s %12s %12s %12s %9s %9s %8s\n", "", "ns/task", "min", "max", "allocs", "bytes", "ratio")
	rows := slices.Clone(r.Rows)
	slices.SortFunc(rows, func(a, b Row) int { return int(a.Nanoseconds*100) - int(b.Nanoseconds*100) })
	for _, row := range rows {
		fmt.Fprintf(w, "  %-40s %12s %12s %12s %9.2f %9.0f %8.2f\n", row.System,
			digits(row.Nanoseconds), digits(row.Min), digits(row.Max), row.Allocs, row.Bytes, row.Ratio)
	}
}

func digits(ns float64) string {
	switch {
	case ns < 10:
		return fmt.Sprintf("%.2f", ns)
	case ns < 1000:
		return fmt.Sprintf("%.0f", ns)
	}
	return fmt.Sprintf("%.0f", ns)
}
