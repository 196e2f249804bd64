package executortest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// combineCases: what is made of many futures.
func combineCases(t *testing.T, open opener) {
	check(t, open, "R8/GatherIsInOrder", gatherOrder)
	t.Run("R8/GatherStopsAtFirstFailure", gatherFails)
	t.Run("R8/SettleIsNeverCutShort", settle)
	t.Run("R8/WaitUntil", waitUntil)
	t.Run("R8/WaitKeepsOrder", waitOrder)
	check(t, open, "R8/WaitersOfAllKinds", mixedWaiters)
	check(t, open, "R8/AllIsInOrder", allOrder)
	t.Run("R8/AllFailsAtFirstFailure", allFails)
	t.Run("R8/JoinFailsWithItsInputsError", joinFails)
	t.Run("R8/CancelOfReferenceLeavesInputs", cancelReference)
	t.Run("R8/ReferencesOfReferences", deepReferences)
	t.Run("R8/NothingToWaitFor", nothing)
	t.Run("R11/NilFuturesPanic", nilFutures)
}

func gatherOrder(t *testing.T, ex executor.Executor) {
	n := 2000
	args, want := make([]int, n), make([]int, n)
	for i := range args {
		args[i], want[i] = i, i
	}
	fs := executor.SubmitAll(t.Context(), ex, echo, args)
	got, err := futures.Gather(soon(t), fs...)
	require.NoError(t, err)
	require.Equal(t, want, got)
	twice, err := futures.Gather(soon(t), fs[3], fs[1], fs[3])
	require.NoError(t, err)
	require.Equal(t, []int{3, 1, 3}, twice)
	for i, o := range futures.Settle(soon(t), fs...) {
		require.Equal(t, futures.Outcome[int]{Value: i}, o)
	}
}

// promised makes n promises.
func promised(n int) (fs []*futures.Future[int], resolve []func(int, error) bool) {
	for range n {
		f, r := futures.New[int]()
		fs, resolve = append(fs, f), append(resolve, r)
	}
	return fs, resolve
}

func gatherFails(t *testing.T) {
	ctx := soon(t)
	fs, resolve := promised(6)
	done := make(chan error, 1)
	go func() { _, err := futures.Gather(ctx, fs...); done <- err }()
	resolve[0](1, nil)
	resolve[4](0, errRefused)
	within(t, "Gather, at the first failure", func() { requireItem(t, <-done, 4, errRefused) })
	require.Equal(t, futures.Pending, fs[1].State(), "the others go on")
	fs[2].Cancel(errStop)
	_, err := futures.Gather(ctx, fs...)
	requireItem(t, err, 2, errStop) // the lowest that has failed by now
	require.ErrorIs(t, err, futures.ErrCancelled)
	resolve[1](0, errRefused)
	_, err = futures.Gather(ctx, fs...)
	requireItem(t, err, 1, errRefused)

	for range 200 { // together with the success of others
		fs, resolve := promised(3)
		var wg sync.WaitGroup
		wg.Go(func() { resolve[0](1, nil) })
		wg.Go(func() { resolve[1](0, errRefused) })
		_, err := futures.Gather(ctx, fs...)
		requireItem(t, err, 1, errRefused)
		wg.Wait()
	}
}

func settle(t *testing.T) {
	fs, resolve := promised(4)
	resolve[1](0, errRefused)
	fs[2].Cancel(errStop)
	got := make(chan []futures.Outcome[int], 1)
	ctx := soon(t)
	go func() { got <- futures.Settle(ctx, fs...) }()
	short, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, errStop)
	defer cancel()
	early := futures.Settle(short, fs...)
	require.Len(t, early, 4)
	for _, i := range []int{0, 3} {
		require.ErrorIs(t, early[i].Err, context.DeadlineExceeded)
		require.ErrorIs(t, early[i].Err, errStop)
		require.NotErrorIs(t, early[i].Err, futures.ErrCancelled)
	}
	require.Same(t, errRefused, early[1].Err)
	require.ErrorIs(t, early[2].Err, futures.ErrCancelled)
	resolve[0](10, nil)
	resolve[3](13, nil)
	within(t, "Settle", func() {
		all := <-got
		assert.Equal(t, futures.Outcome[int]{Value: 10}, all[0])
		assert.Same(t, errRefused, all[1].Err)
		assert.ErrorIs(t, all[2].Err, errStop)
		assert.Equal(t, futures.Outcome[int]{Value: 13}, all[3])
	})
}

func waitUntil(t *testing.T) {
	ctx := soon(t)
	type answer struct {
		done, pending []*futures.Future[int]
		err           error
	}
	for _, test := range []struct {
		name    string
		until   futures.Until
		first   []int // not enough, if resolved with values
		last    int   // enough
		fail    bool  // last fails
		cancel  bool  // last is cancelled
		pending int
	}{
		{"all", futures.AllCompleted, []int{2, 0}, 1, false, false, 0},
		{"all, with a failure before", futures.AllCompleted, []int{2, 0}, 1, true, false, 0},
		{"first", futures.FirstCompleted, nil, 1, false, false, 2},
		{"first, which fails", futures.FirstCompleted, nil, 2, true, false, 2},
		{"first failed", futures.FirstFailed, []int{1}, 2, true, false, 1},
		{"first failed, by a cancel", futures.FirstFailed, []int{1}, 0, false, true, 1},
		{"first failed of all good", futures.FirstFailed, []int{1, 0}, 2, false, false, 0},
	} {
		fs, resolve := promised(3)
		got := make(chan answer, 1)
		go func() {
			done, pending, err := futures.Wait(ctx, test.until, fs...)
			got <- answer{done, pending, err}
		}()
		for _, i := range test.first {
			resolve[i](i, nil)
		}
		select {
		case a := <-got:
			require.Fail(t, "Wait returned too early", "%s: %v", test.name, a)
		case <-time.After(time.Millisecond): // to give a wrong one the time to
		}
		switch {
		case test.cancel:
			fs[test.last].Cancel(errStop)
		case test.fail:
			resolve[test.last](0, errRefused)
		default:
			resolve[test.last](1, nil)
		}
		within(t, "Wait "+test.name, func() {
			a := <-got
			assert.NoError(t, a.err, test.name)
			assert.Len(t, a.pending, test.pending, test.name)
			assert.Len(t, a.done, 3-test.pending, test.name)
		})
	}
	fs, resolve := promised(2)
	resolve[0](0, errRefused)
	_, pending, err := futures.Wait(ctx, futures.FirstFailed, fs...)
	require.NoError(t, err)
	require.Equal(t, fs[1:], pending)
	_, pending, err = futures.Wait(ctx, futures.FirstCompleted, fs...)
	require.NoError(t, err)
	require.Equal(t, fs[1:], pending)
}

func waitOrder(t *testing.T) {
	fs, resolve := promised(50)
	for i := 48; i >= 0; i -= 2 {
		resolve[i](i, nil)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errStop)
	done, pending, err := futures.Wait(ctx, futures.AllCompleted, fs...)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errStop)
	require.Len(t, done, 25)
	require.Len(t, pending, 25)
	for i := range done {
		require.Same(t, fs[2*i], done[i])
		require.Same(t, fs[2*i+1], pending[i])
	}
}

func mixedWaiters(t *testing.T, ex executor.Executor) {
	p, resolve := futures.New[int]()
	ws := []futures.Waiter{
		executor.Then(t.Context(), ex, echo, p),
		executor.Submit(t.Context(), ex, refuse, 1),
		executor.Map(t.Context(), ex, echo, []int{1, 2, 3}),
		futures.Value("v"),
	}
	done, pending, err := futures.Wait(soon(t), futures.FirstFailed, ws...)
	require.NoError(t, err)
	require.Contains(t, done, ws[1])
	require.Contains(t, pending, ws[0])
	n := 0
	for w := range futures.AsCompleted(soon(t), ws...) {
		require.True(t, w.State().Done())
		if n++; n == 3 {
			resolve(1, nil)
		}
	}
	require.Equal(t, 4, n)
}

func allOrder(t *testing.T, ex executor.Executor) {
	fs := executor.SubmitAll(t.Context(), ex, echo, []int{4, 5, 6})
	all := futures.All(fs...)
	require.Equal(t, 15, result(t, executor.Then(t.Context(), ex, sum, all)))
	require.Equal(t, []int{4, 5, 6}, result(t, all))
	require.Equal(t, []int{6, 4, 6}, result(t, futures.All(fs[2], fs[0], fs[2])))
	p := result(t, futures.Join(fs[0], executor.Submit(t.Context(), ex, same, "s")))
	require.Equal(t, futures.Pair[int, string]{First: 4, Second: "s"}, p)
}

func allFails(t *testing.T) {
	fs, resolve := promised(4)
	all := futures.All(fs...)
	require.Equal(t, futures.Pending, all.State())
	resolve[2](0, errRefused)
	require.Equal(t, futures.Failed, all.State(), "at the first failure")
	requireItem(t, all.Err(), 2, errRefused)
	resolve[0](0, errStop)
	requireItem(t, all.Err(), 2, errRefused)
	requireItem(t, futures.All(fs...).Err(), 0, errStop)

	fs, _ = promised(2)
	all = futures.All(fs...)
	fs[1].Cancel(errStop)
	require.True(t, all.State().Done())
	requireItem(t, all.Err(), 1, errStop)
	require.ErrorIs(t, all.Err(), futures.ErrCancelled)
}

func joinFails(t *testing.T) {
	fs, resolve := promised(3)
	one, two := futures.Join(fs[0], fs[1]), futures.Join(fs[1], fs[0])
	three := futures.Join(fs[1], fs[2])
	resolve[0](0, errRefused)
	require.Same(t, errRefused, failure(t, one, futures.Failed))
	require.Same(t, errRefused, failure(t, two, futures.Failed))
	fs[2].Cancel(errStop)
	requireStopped(t, failure(t, three, futures.Cancelled))
	require.Equal(t, futures.Pending, fs[1].State())
}

func cancelReference(t *testing.T) {
	fs, resolve := promised(2)
	for _, w := range []futures.Waiter{futures.All(fs...), futures.Join(fs[0], fs[1])} {
		other := futures.All(fs...)
		require.True(t, w.Cancel(errStop))
		require.Equal(t, futures.Cancelled, w.State())
		requireStopped(t, w.Err())
		require.Equal(t, futures.Pending, other.State())
		require.Equal(t, futures.Pending, fs[0].State())
		require.Equal(t, futures.Pending, fs[1].State())
	}
	resolve[0](1, nil)
	resolve[1](2, nil)
	require.Equal(t, []int{1, 2}, result(t, futures.All(fs...)))
}

// deepReferences are as wide and deep as would hurt a program that recursed.
func deepReferences(t *testing.T) {
	const n = 20000
	end, resolve := futures.New[[]int]()
	bad, fail := futures.New[[]int]()
	joins := make([]futures.Waiter, 0, n)
	for range n {
		joins = append(joins, futures.Join(end, bad))
	}
	resolve([]int{7}, nil)
	fail(nil, errRefused)
	for _, j := range joins {
		require.ErrorIs(t, j.Err(), errRefused)
	}

	fs, resolves := promised(n)
	all := futures.All(fs...)
	nested := futures.All(futures.All(all, all), futures.All(all))
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := k; i < n; i += 4 {
				resolves[i](i, nil)
			}
		})
	}
	wg.Wait()
	got := result(t, nested)
	require.Len(t, got[0], 2)
	require.Len(t, got[1][0], n)
	for i, v := range got[1][0] {
		require.Equal(t, i, v)
	}
}

func nothing(t *testing.T) {
	ctx := soon(t)
	vs, err := futures.Gather[int](ctx)
	require.NoError(t, err)
	require.Empty(t, vs)
	require.Empty(t, futures.Settle[int](ctx))
	for _, until := range []futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed} {
		done, pending, err := futures.Wait[*futures.Future[int]](ctx, until)
		require.NoError(t, err)
		require.Empty(t, done)
		require.Empty(t, pending)
	}
	for range futures.AsCompleted[*futures.Future[int]](ctx) {
		require.Fail(t, "something came of nothing")
	}
	all := futures.All[int]()
	require.Equal(t, futures.Finished, all.State())
	require.Empty(t, result(t, all))
}

func nilFutures(t *testing.T) {
	var none *futures.Future[int]
	some := futures.Value(1)
	for name, call := range map[string]func(){
		"Gather":      func() { _, _ = futures.Gather(t.Context(), some, none) },
		"Settle":      func() { futures.Settle(t.Context(), some, none) },
		"Wait":        func() { _, _, _ = futures.Wait(t.Context(), futures.AllCompleted, some, none) },
		"AsCompleted": func() { futures.AsCompleted(t.Context(), some, none)(func(*futures.Future[int]) bool { return true }) },
		"All":         func() { futures.All(some, none) },
		"Join":        func() { futures.Join(some, none) },
		"Add":         func() { futures.NewCompletions(some).Add(none) },
	} {
		assert.Panics(t, call, name)
	}
}
