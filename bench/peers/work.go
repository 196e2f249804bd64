package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// square is the trivial task: what is measured is what is around it.
func square(_ context.Context, x int) (int, error) { return x * x, nil }

// spinFor makes a task of a given cost, of CPU alone.
func spinFor(d time.Duration) func(context.Context, int) (int, error) {
	n := int(float64(d) / spinCost())
	return func(_ context.Context, x int) (int, error) {
		spin(n)
		return x * x, nil
	}
}

// spin ends in a test that never holds, so that no tool takes it for work in vain.
//
//go:noinline
func spin(n int) uint64 {
	x := uint64(n) | 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 {
		panic("spun to 0")
	}
	return x
}

var measured float64

// spinCost is the time of one turn of spin, the least of several measurements.
func spinCost() float64 {
	if measured > 0 {
		return measured
	}
	const n = 1 << 20
	for range 20 {
		start := time.Now()
		spin(n)
		if d := float64(time.Since(start)) / n; measured == 0 || d < measured {
			measured = d
		}
	}
	return measured
}

func inputs(n int) []int {
	in := make([]int, n)
	for i := range in {
		in[i] = i
	}
	return in
}

func check(out []int, n int) {
	if len(out) != n {
		panic(fmt.Sprintf("%d results, not %d", len(out), n))
	}
	for i, v := range out {
		if v != i*i {
			panic(fmt.Sprintf("result %d is %d", i, v))
		}
	}
}

var (
	background = context.Background()
	threads    = runtime.GOMAXPROCS(0)

	// cancellable is a ctx that could end, and does not.
	cancellable, cancel = context.WithCancel(background)
)

func init() { runtime.KeepAlive(cancel) }
