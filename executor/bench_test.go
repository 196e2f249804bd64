package executor_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// The budgets of the local executor, by themselves. bench/peers has them as ratios to
// others in one run: go run . -budgets

func square(_ context.Context, x int) (int, error) { return x * x, nil }

// spin returns a function that takes about d.
func spin(d time.Duration) func(context.Context, int) (int, error) {
	return func(_ context.Context, x int) (int, error) {
		for start := time.Now(); time.Since(start) < d; {
			x++
		}
		return x, nil
	}
}

// perTask reports the time of a task, of n in each round of the loop.
func perTask(b *testing.B, n int, round func()) {
	b.Helper()
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		round()
		rounds++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*n), "ns/task")
}

func local(b *testing.B, cfg executor.Config) *executor.Local {
	b.Helper()
	l, err := executor.NewLocal(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Close()) })
	return l
}

const some = 100_000

func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func ints(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func BenchmarkSubmitResult(b *testing.B) {
	cancellable := b.Context()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": cancellable} {
		b.Run(name, func(b *testing.B) {
			l := local(b, executor.Config{})
			fs := make([]*futures.Future[int], some)
			perTask(b, some, func() {
				for i := range fs {
					fs[i] = executor.Submit(ctx, l, square, i)
				}
				for i, f := range fs {
					if v, err := f.Result(ctx); v != i*i || err != nil {
						b.Fatal(v, err)
					}
				}
			})
		})
	}
}

func BenchmarkSubmitAllGather(b *testing.B) {
	l, in, ctx := local(b, executor.Config{}), ints(some), context.Background()
	perTask(b, some, func() {
		if got, err := futures.Gather(ctx, executor.SubmitAll(ctx, l, square, in)...); len(got) != some || err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkMap(b *testing.B) {
	ctx := context.Background()
	for _, c := range []struct {
		cost time.Duration
		n    int
	}{{0, 1_000_000}, {100 * time.Nanosecond, 1000}, {100 * time.Nanosecond, some}, {time.Microsecond, some / 10}, {10 * time.Microsecond, some / 100}} {
		b.Run(fmt.Sprintf("%d items of %v", c.n, c.cost), func(b *testing.B) {
			l, in, f := local(b, executor.Config{}), ints(c.n), square
			if c.cost > 0 {
				f = spin(c.cost)
			}
			perTask(b, c.n, func() {
				if got, err := executor.Map(ctx, l, f, in).Results(ctx); len(got) != c.n || err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkMapSeq(b *testing.B) {
	ctx := context.Background()
	for name, opts := range map[string][]executor.Option{"ordered": nil, "unordered": {executor.WithUnordered()}} {
		b.Run(name, func(b *testing.B) {
			l := local(b, executor.Config{})
			opts := append(opts, executor.WithInFlight(64))
			perTask(b, some, func() {
				n := 0
				for _, err := range executor.MapSeq(ctx, l, square, upTo(some), opts...) {
					if n++; err != nil {
						b.Fatal(err)
					}
				}
				if n != some {
					b.Fatal(n)
				}
			})
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	cancellable := b.Context()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": cancellable} {
		b.Run(name, func(b *testing.B) {
			l := local(b, executor.Config{})
			b.ReportAllocs()
			for b.Loop() {
				if v, err := executor.Submit(ctx, l, square, 3).Result(ctx); v != 9 || err != nil {
					b.Fatal(v, err)
				}
			}
		})
	}
}

// fib is recursion by Submit: 21,891 tasks for 20.
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

func BenchmarkFib20(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d slots", threads), func(b *testing.B) {
			l := local(b, executor.Config{Threads: threads})
			perTask(b, 21_891, func() {
				if v, err := executor.Submit(context.Background(), l, fib, 20).Result(context.Background()); v != 6765 || err != nil {
					b.Fatal(v, err)
				}
			})
		})
	}
}
