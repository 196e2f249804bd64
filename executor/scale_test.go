package executor_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// What is large. With -v each says what it took:
//
//	go test -v -run Scale ./executor

func newLocal(t *testing.T, cfg executor.Config) *executor.Local {
	t.Helper()
	l, err := executor.NewLocal(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func TestScaleFibOnOneSlot(t *testing.T) {
	l := newLocal(t, executor.Config{Threads: 1})
	var most atomic.Int64
	var counted func(context.Context, int) (int, error)
	counted = func(ctx context.Context, n int) (int, error) {
		if n < 2 {
			if now := int64(runtime.NumGoroutine()); now > most.Load() {
				most.Store(now) // of one slot: nobody else does
			}
			return n, nil
		}
		a, b := executor.Submit(ctx, l, counted, n-1), executor.Submit(ctx, l, counted, n-2)
		x, err := a.Result(ctx)
		if err != nil {
			return 0, err
		}
		y, err := b.Result(ctx)
		return x + y, err
	}
	start := time.Now()
	v, err := executor.Submit(t.Context(), l, counted, 20).Result(t.Context())
	took := time.Since(start)
	require.NoError(t, err)
	require.Equal(t, 6765, v)
	require.LessOrEqual(t, most.Load(), int64(100), "goroutines at the peak")
	t.Logf("fib(20): %v, %d goroutines at the peak", took, most.Load())
}

func TestScaleChain(t *testing.T) {
	const n = 100_000 / less
	l := newLocal(t, executor.Config{})
	inc := func(_ context.Context, x int) (int, error) { return x + 1, nil }
	first, resolve := futures.New[int]()
	start := time.Now()
	f := first
	for range n {
		f = executor.Then(t.Context(), l, inc, f)
	}
	submitted := time.Since(start)
	resolve(0, nil)
	v, err := f.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, n, v)
	t.Logf("a chain of %d Then: submitted in %v, done in %v", n, submitted, time.Since(start))
}

func TestScaleSubmitters(t *testing.T) {
	const submitters, each = 8, 125_000 / less
	l := newLocal(t, executor.Config{})
	start := time.Now()
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for range submitters {
		wg.Go(func() {
			fs := make([]*futures.Future[int], each)
			for i := range fs {
				fs[i] = executor.Submit(t.Context(), l, square, i)
			}
			for i, f := range fs {
				if v, err := f.Result(t.Context()); err != nil || v != i*i {
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	require.Zero(t, wrong.Load())
	require.EqualValues(t, submitters*each, l.Stats().Finished)
	t.Logf("%d tasks by %d submitters: %v, %v each", submitters*each, submitters, took, took/(submitters*each))
}

func TestScaleMap(t *testing.T) {
	const n = 10_000_000 / less
	l, in := newLocal(t, executor.Config{}), make([]int, n)
	for i := range in {
		in[i] = i
	}
	start := time.Now()
	out, err := executor.Map(t.Context(), l, square, in).Results(t.Context())
	took := time.Since(start)
	require.NoError(t, err)
	require.Len(t, out, n)
	for i, v := range out {
		if v != i*i {
			require.Equal(t, i*i, v)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapSys, uint64(1<<30), "heap, with the input and the results")
	t.Logf("a Map of %d: %v, heap of %d MiB, with the input and the results", n, took, m.HeapSys>>20)
}
