package executortest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// onDoneCases: callbacks run once, in goroutines of their own.
func onDoneCases(t *testing.T, open opener) {
	check(t, open, "G1/OnDoneIsCalledOnce", onDoneOnce)
	check(t, open, "G1/OnDoneTakesNoSlot", onDoneTakesNoSlot)
	check(t, open, "G1/OnDoneMayUseTheExecutor", onDoneSubmits)
	t.Run("G1/OnDoneStopIsDecidedOnce", onDoneStop)
}

func onDoneOnce(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	fs := []*futures.Future[string]{
		executor.Submit(t.Context(), ex, hold, b.post("finishes")),
		executor.Submit(t.Context(), ex, returns, "eof"),
		executor.Submit(t.Context(), ex, crash, "string"),
		executor.Submit(t.Context(), ex, hold, b.post("is cancelled")),
	}
	var calls [4]atomic.Int32
	var wg sync.WaitGroup
	watch := func(i int) {
		wg.Add(1)
		stop := fs[i].OnDone(func(f *futures.Future[string]) {
			calls[i].Add(1)
			assert.Same(t, fs[i], f)
			assert.True(t, f.State().Done())
			wg.Done()
		})
		assert.NotNil(t, stop)
	}
	for i := range fs {
		watch(i)
	}
	fs[3].Cancel(errStop)
	b.open()
	for i := range fs {
		ended(t, fs[i])
		watch(i) // now
	}
	within(t, "all callbacks", wg.Wait)
	for i := range calls {
		require.EqualValues(t, 2, calls[i].Load())
	}
}

// onDoneTakesNoSlot has more callbacks block than there are slots.
func onDoneTakesNoSlot(t *testing.T, ex executor.Executor) {
	release := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 * ex.Slots() {
		wg.Add(1)
		executor.Submit(t.Context(), ex, echo, i).OnDone(func(*futures.Future[int]) {
			defer wg.Done()
			<-release
		})
	}
	for i := range 4 * ex.Slots() {
		require.Equal(t, i, result(t, executor.Submit(t.Context(), ex, echo, i)))
	}
	close(release)
	within(t, "all callbacks", wg.Wait)
}

func onDoneSubmits(t *testing.T, ex executor.Executor) {
	done := make(chan int)
	var next func(f *futures.Future[int])
	next = func(f *futures.Future[int]) {
		n, err := f.Result(t.Context())
		if !assert.NoError(t, err) || n == 100 {
			done <- n
			return
		}
		executor.Submit(t.Context(), ex, echo, n+1).OnDone(next)
	}
	executor.Submit(t.Context(), ex, echo, 0).OnDone(next)
	within(t, "a chain of callbacks", func() { assert.Equal(t, 100, <-done) })
}

// onDoneStop stops callbacks as their futures are resolved: either the callback is
// called, or stop says that it won't be.
func onDoneStop(t *testing.T) {
	var called, stopped atomic.Int64
	var wg sync.WaitGroup
	const n = 2000
	for i := range n {
		f, resolve := futures.New[int]()
		ran := make(chan struct{})
		stop := f.OnDone(func(*futures.Future[int]) { called.Add(1); close(ran) })
		wg.Go(func() { resolve(i, nil) })
		var first atomic.Int32
		for range 2 {
			wg.Go(func() {
				if stop() {
					first.Add(1)
					stopped.Add(1)
				}
			})
		}
		if i%2 == 0 {
			continue
		}
		wg.Wait()
		assert.LessOrEqual(t, first.Load(), int32(1))
		if first.Load() == 0 {
			await(t, "the callback that was not stopped", ran)
		}
		assert.False(t, stop(), "it was decided before")
	}
	wg.Wait()
	eventually(t, "each callback is called or stopped", func() bool { return called.Load()+stopped.Load() == n })

	f, resolve := futures.New[int]()
	stop := f.OnDone(func(*futures.Future[int]) { assert.Fail(t, "it was stopped") })
	require.True(t, stop())
	require.False(t, stop())
	ran := make(chan struct{})
	f.OnDone(func(*futures.Future[int]) { close(ran) })
	resolve(1, nil)
	await(t, "the other callback", ran)
	require.False(t, stop())
}
