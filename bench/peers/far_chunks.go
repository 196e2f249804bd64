package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// A costShape is how the costs of a Map's items differ. of gives that of item i of n, as a
// multiple of the mean.
type costShape struct {
	name string
	of   func(i, n int) float64
}

var costShapes = []costShape{
	{"uniform", func(int, int) float64 { return 1 }},
	{"fast then slow", func(i, n int) float64 { return 0.2 + 1.6*float64(2*i/n) }},
	{"slow then fast", func(i, n int) float64 { return 1.8 - 1.6*float64(2*i/n) }},
	{"Pareto", pareto},
}

// pareto has an exponent of 1.5, and no item over 100 times the mean. It is the same in
// every run.
func pareto(i, _ int) float64 {
	x := uint64(i+1) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	u := (float64(x>>11) + 1) / (1 << 53)
	return min(math.Pow(u, -1/1.5)/3, 100)
}

// chunkSizes are what a person might have tried.
var chunkSizes = []int{1, 16, 256, 4096, 65536}

const autoChunks = "auto chunks"

func chunkName(size int) string { return fmt.Sprintf("chunks of %d", size) }

// chunkScenarios hold the chunks that Map chooses against those of a fixed size.
func chunkScenarios() (list []FarScenario) {
	for _, p := range farPeers {
		if p.Name != nearfarTCP {
			continue
		}
		for _, c := range budgetCosts {
			for _, shape := range costShapes {
				s := FarScenario{
					Name: "chunks for " + itemName(c.item) + ", " + shape.name, Unit: "ns/item",
					N: max(int(200*time.Millisecond/c.item), 40), Against: autoChunks,
				}
				add := func(name string, chunk int) {
					s.Systems = append(s.Systems, FarSystem{Name: name, Peer: p, Run: func(f *far, n int) (float64, float64, error) {
						d, err := f.spread(n, c.item, shape.of, chunk)
						return float64(d) / float64(n), 0, err
					}})
				}
				add(autoChunks, 0)
				for _, size := range chunkSizes {
					if size == 1 || size < 2*s.N { // what is larger is all of it
						add(chunkName(size), size)
					}
				}
				list = append(list, s)
			}
		}
	}
	return list
}

// chunkBudgets ask that the chunks that Map chooses are within 10% of the best size.
func chunkBudgets() (list []farBudget) {
	for _, s := range chunkScenarios() {
		b := farBudget{"Map " + s.Name, s.Name, nil, autoChunks, 1 / 1.1, true, "x the time of the best of fixed sizes"}
		for _, sys := range s.Systems[1:] {
			b.others = append(b.others, sys.Name)
		}
		list = append(list, b)
	}
	return list
}

// spreadOver has ex map items whose costs differ.
func spreadOver(ex executor.Executor) func(int, time.Duration, func(i, n int) float64, int) (time.Duration, error) {
	return func(n int, mean time.Duration, of func(i, n int) float64, chunk int) (time.Duration, error) {
		items := make([]Item, n)
		for i := range items {
			items[i] = Item{i, turnsFor(time.Duration(float64(mean) * of(i, n)))}
		}
		var opts []executor.Option
		if chunk > 0 {
			opts = append(opts, executor.WithChunkSize(chunk))
		}
		start := time.Now()
		out, err := executor.Map(background, ex, spunItem, items, opts...).Results(background)
		d := time.Since(start)
		if err == nil && len(out) != n {
			err = errors.New("not all results")
		}
		if err != nil {
			return 0, err
		}
		check(out, n)
		return d, nil
	}
}
