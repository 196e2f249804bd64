package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// A budget is a limit on a ratio between two things that are measured in turn, in the
// same run, since machines differ, and one machine differs from itself within minutes.
type budget struct {
	name  string
	limit float64
	least bool // the ratio must be at least limit; else at most
	what  string
	value func(rounds int) float64
}

// checkBudgets prints each budget with what came out. It is false if one was missed.
func checkBudgets(w io.Writer, rounds int, match *regexp.Regexp) bool {
	ok := true
	for _, b := range nearBudgets() {
		if !match.MatchString(b.name) {
			continue
		}
		v := b.value(rounds)
		good, sign := v <= b.limit, "<="
		if b.least {
			good, sign = v >= b.limit, ">="
		}
		verdict := "ok"
		if !good {
			verdict, ok = "MISSED", false
		}
		fmt.Fprintf(w, "%-58s %8.3f %s %-7.4g %-7s %s\n", b.name, v, sign, b.limit, verdict, b.what)
	}
	return ok
}

// paired measures a and b in turn, and gives the median of the ratios of their times.
// Their order changes from round to round.
func paired(rounds int, a, b func()) float64 {
	ratios := make([]float64, 0, rounds)
	a()
	b()
	for round := range rounds {
		var ta, tb time.Duration
		if round%2 == 0 {
			ta, tb = timed(a), timed(b)
		} else {
			tb, ta = timed(b), timed(a)
		}
		ratios = append(ratios, float64(ta)/float64(tb))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func timed(f func()) time.Duration {
	runtime.GC()
	start := time.Now()
	f()
	return time.Since(start)
}

// best measures a against each of others in turn, and gives the ratio to the fastest.
func best(rounds int, a func(), others ...func()) float64 {
	ratio := 0.0
	for _, b := range others {
		ratio = max(ratio, paired(rounds, a, b))
	}
	return ratio
}

func nearBudgets() []budget {
	big := newMachinery(1_000_000)
	resultPeers := []func(){
		big.pondGroup(square), big.concResultPool(square), big.errgroupSlice(-1)(square), big.goroutineChannel(square),
	}
	times := func(n int, f func()) func() {
		return func() {
			for range n {
				f()
			}
		}
	}
	// speedUp is how much faster f is than a loop, as a part of what hand-made chunks reach.
	speedUp := func(cost time.Duration, n int) func(int) float64 {
		return func(rounds int) float64 {
			m := newMachinery(n)
			f := spinFor(cost)
			return 1 / paired(rounds, m.nearfarMap(f), m.handChunks(f))
		}
	}
	rt := roundTrips()
	return []budget{
		{"Submit + Result, 1e6", 0.5, false, "x the best of pond group, conc, errgroup + slice, goroutine + channel",
			func(r int) float64 { return best(r, big.nearfarSubmit(square), resultPeers...) }},
		{"Submit + Result, allocations", 1.01, false, "a task", func(int) float64 {
			var before, after runtime.MemStats
			f := big.nearfarSubmit(square)
			f()
			runtime.ReadMemStats(&before)
			f()
			runtime.ReadMemStats(&after)
			return float64(after.Mallocs-before.Mallocs) / 1e6
		}},
		{"Submit with a cancellable ctx", 1.15, false, "x Submit without",
			func(r int) float64 { return paired(r, big.submit(cancellable, square), big.nearfarSubmit(square)) }},
		{"SubmitAll + Gather, 1e6", 0.2, false, "x the best of the same",
			func(r int) float64 { return best(r, big.nearfarSubmitAll(square), resultPeers...) }},
		{"Map, 1e6 trivial items", 1.4, false, "x hand-made chunks",
			func(r int) float64 {
				return paired(r, times(20, big.nearfarMap(square)), times(20, big.handChunks(square)))
			}},
		{"Map, 1e6 trivial items, against conc iter.Map", 0.125, false, "x conc iter.Map",
			func(r int) float64 { return paired(r, times(5, big.nearfarMap(square)), times(5, big.concMap(square))) }},
		{"Map, 1,000 items of 100 ns", 0.85, true, "x the speed of hand-made chunks", func(r int) float64 {
			m := newMachinery(1000)
			f := spinFor(100 * time.Nanosecond)
			return 1 / paired(r, times(1000, m.nearfarMap(f)), times(1000, m.handChunks(f)))
		}},
		{"MapSeq, 64 in flight, against a channel hand-off", 0.4, false, "x an unbuffered hand-off (80 ns against 198)", func(r int) float64 {
			return paired(r, big.nearfarMapSeq(square), func() {
				ch := make(chan int)
				go func() {
					for i := range len(big.in) {
						ch <- i
					}
					close(ch)
				}()
				for range ch {
				}
			})
		}},
		{"Map speed-up, items of 0.1 us", 0.95, true, "x that of hand-made chunks", speedUp(100*time.Nanosecond, 1_000_000)},
		{"Map speed-up, items of 1 us", 0.95, true, "x that of hand-made chunks", speedUp(time.Microsecond, 100_000)},
		{"Map speed-up, items of 10 us", 0.95, true, "x that of hand-made chunks", speedUp(10*time.Microsecond, 10_000)},
		{"Submit, one task an item of 1 us: speed-up", 1.5, true, "x a plain loop", func(r int) float64 {
			m := newMachinery(100_000)
			f := spinFor(time.Microsecond)
			return 1 / paired(r, m.nearfarSubmit(f), m.loop(f))
		}},
		{"round trip, one at a time", 1.3, false, "x ants + channel",
			func(r int) float64 { return paired(r, rt.Systems[0].Run, rt.Systems[3].Run) }},
		{"round trip, cancellable ctx", 1.25, false, "x without (0.75 us against 0.6)",
			func(r int) float64 { return paired(r, rt.Systems[1].Run, rt.Systems[0].Run) }},
		{"fib(20) on one slot", 2.8, false, "us a task (60 ms)", func(r int) float64 {
			l, err := executor.NewLocal(executor.Config{Threads: 1})
			if err != nil {
				panic(err)
			}
			defer l.Close()
			var best time.Duration
			for range r {
				start := time.Now()
				v, err := executor.Submit(background, l, fib, 20).Result(background)
				if d := time.Since(start); best == 0 || d < best {
					best = d
				}
				if v != 6765 || err != nil {
					panic("wrong")
				}
			}
			return float64(best) / 1e3 / 21891
		}},
		{"1e6 futures, pending", 128, false, "B each", func(int) float64 { return perFuture(big, true) }},
		{"1e6 futures, finished", 128, false, "B each", func(int) float64 { return perFuture(big, false) }},
	}
}

// fib is the recursion that every pool is asked about.
func fib(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	ex, _ := executor.FromContext(ctx)
	a, b := executor.Submit(ctx, ex, fib, n-1), executor.Submit(ctx, ex, fib, n-2)
	x, err := a.Result(ctx)
	if err != nil {
		return 0, err
	}
	y, err := b.Result(ctx)
	return x + y, err
}

// perFuture is what a future takes on the heap, the caller's slice included.
func perFuture(m *machinery, pending bool) float64 {
	clear(m.fs)
	l, err := executor.NewLocal(executor.Config{Threads: 1})
	if err != nil {
		panic(err)
	}
	gate := make(chan struct{})
	if pending {
		executor.Go(background, l, func(context.Context) (int, error) { <-gate; return 0, nil })
	}
	before := heap()
	for i, x := range m.in {
		m.fs[i] = executor.Submit(background, l, square, x)
	}
	if !pending {
		futures.Wait(background, futures.AllCompleted, m.fs...)
	}
	per := float64(heap()-before)/float64(len(m.in)) + 8
	close(gate)
	clear(m.fs)
	l.Close()
	return per
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
