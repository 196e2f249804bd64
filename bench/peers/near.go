package main

import (
	"context"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// nearScenarios are the same work on everything, in this process.
func nearScenarios() []Scenario {
	var list []Scenario
	trivial := newMachinery(1_000_000)
	list = append(list, Scenario{
		Name: "a trivial task", N: len(trivial.in), Against: "nearfar Submit", Systems: trivial.systems(square),
	})
	for _, item := range []struct {
		cost time.Duration
		n    int
	}{{time.Microsecond, 100_000}, {10 * time.Microsecond, 20_000}, {100 * time.Microsecond, 2_000}, {time.Millisecond, 200}} {
		m := newMachinery(item.n)
		list = append(list, Scenario{
			Name: "an item of " + item.cost.String(), N: item.n, Against: "nearfar Submit", Systems: m.systems(spinFor(item.cost)),
		})
	}
	return append(list, roundTrips())
}

// roundTrips are one task at a time.
func roundTrips() Scenario {
	const n = 100_000
	m := newMachinery(0)
	submit := func(ctx context.Context) func() {
		return func() {
			for i := range n {
				if v, err := executor.Submit(ctx, m.local, square, i).Result(ctx); err != nil || v != i*i {
					panic("wrong")
				}
			}
		}
	}
	return Scenario{
		Name: "a round trip, one at a time", N: n, Against: "nearfar Submit", Systems: []System{
			{"nearfar Submit", submit(background)},
			{"nearfar Submit, cancellable ctx", submit(cancellable)},
			{"goroutine + channel", func() {
				for i := range n {
					ch := make(chan int, 1)
					go func() {
						v, _ := square(background, i)
						ch <- v
					}()
					if <-ch != i*i {
						panic("wrong")
					}
				}
			}},
			{"ants + channel", func() {
				for i := range n {
					ch := make(chan int, 1)
					if m.ants.Submit(func() {
						v, _ := square(background, i)
						ch <- v
					}) != nil || <-ch != i*i {
						panic("wrong")
					}
				}
			}},
			{"pond ResultPool", func() {
				for i := range n {
					if v, err := m.ponds.Submit(func() int {
						v, _ := square(background, i)
						return v
					}).Wait(); err != nil || v != i*i {
						panic("wrong")
					}
				}
			}},
		},
	}
}
