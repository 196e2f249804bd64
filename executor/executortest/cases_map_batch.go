package executortest

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func batchCases(t *testing.T, open opener) {
	check(t, open, "Batch/IsAWaiter", batchWaits)
	check(t, open, "Batch/CancelKeepsWhatHasRun", batchCancel)
	check(t, open, "Batch/CancelResolvesAtOnce", batchCancelAtOnce)
	check(t, open, "Batch/CancelRacesWithTheEnd", batchCancelRaces)
	check(t, open, "Batch/FutureIsAReference", batchFuture)
	check(t, open, "Batch/FutureOfAFailure", batchFutureFails)
	check(t, open, "Batch/FuturesAreOneAnItem", batchFutures)
	check(t, open, "Batch/FuturesOfAFailure", batchFuturesFail)
	check(t, open, "Batch/ProgressOnlyGrows", batchProgress)
	check(t, open, "Batch/OnDoneIsCalledOnce", batchOnDone)
	check(t, open, "Batch/OnDoneTakesNoSlot", batchOnDoneFree)
	check(t, open, "Batch/ReleaseDropsTheValues", batchRelease)
	check(t, open, "Batch/ReleaseBeforeTheEnd", batchReleaseEarly)
	check(t, open, "Batch/ManyReadersSeeTheSame", batchReaders)
}

func batchWaits(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	quick := executor.Map(t.Context(), ex, doStep, steps(10, nil))
	require.NoError(t, quick.Wait(soon(t)))
	fails1 := executor.Map(t.Context(), ex, doStep, steps(10, func(s *step) { s.Do = fails }))
	require.ErrorIs(t, fails1.Wait(soon(t)), errStep)
	slow := executor.Map(t.Context(), ex, doStep, steps(3, func(s *step) { s.Await = gate.name }))
	one := executor.Submit(t.Context(), ex, doStep, step{Await: gate.name})
	require.Empty(t, slow.Key())

	done, pending, err := futures.Wait[futures.Waiter](soon(t), futures.FirstCompleted, slow, quick, one)
	require.NoError(t, err)
	require.Equal(t, []futures.Waiter{quick}, done)
	require.Equal(t, []futures.Waiter{slow, one}, pending)
	done, pending, err = futures.Wait[futures.Waiter](soon(t), futures.FirstFailed, slow, fails1, one)
	require.NoError(t, err)
	require.Equal(t, []futures.Waiter{fails1}, done)
	require.Equal(t, []futures.Waiter{slow, one}, pending)

	gate.open()
	all := []futures.Waiter{one, slow, quick, fails1}
	done, pending, err = futures.Wait(soon(t), futures.AllCompleted, all...)
	require.NoError(t, err)
	require.Equal(t, all, done)
	require.Empty(t, pending)
	seen := map[futures.Waiter]int{}
	for w := range futures.AsCompleted(soon(t), append(all, slow)...) {
		require.True(t, w.State().Done())
		seen[w]++
	}
	require.Equal(t, map[futures.Waiter]int{one: 1, slow: 1, quick: 1, fails1: 1}, seen)
	more := futures.NewCompletions(slow)
	more.Add(executor.Map(t.Context(), ex, doStep, steps(5, nil)))
	n := 0
	for range more.All(soon(t)) {
		n++
	}
	require.Equal(t, 2, n)
}

func batchCancel(t *testing.T, ex executor.Executor) {
	const n = 100
	b, gate := newBoard(t, ex), newBoard(t, ex)
	batch := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) {
		s.Board = b.name
		if s.I >= 10 {
			s.Await = gate.name
		}
	}), executor.WithChunkSize(1))
	eventually(t, "the first ten have run", func() bool { done, _ := batch.Progress(); return done >= 10 })
	require.True(t, batch.Cancel(errCause))
	require.False(t, batch.Cancel(nil), "it is over")
	require.Equal(t, futures.Cancelled, batch.State())
	_, err := batch.Results(soon(t))
	require.ErrorIs(t, err, futures.ErrCancelled)
	require.ErrorIs(t, err, errCause)
	out, err := batch.Outcomes(soon(t))
	require.NoError(t, err)
	for i, o := range out {
		if i < 10 {
			require.NoError(t, o.Err, "item %d had run", i)
			require.Equal(t, answer(i), o.Value)
		} else {
			require.ErrorIs(t, o.Err, futures.ErrCancelled, "item %d", i)
		}
	}
	eventually(t, "what ran returns, since its ctx has ended", func() bool { return b.has("start ") == b.has("end ") })
	require.Less(t, b.has("start "), n/2, "what had not started was not to start")
	board := newBoard(t, ex)
	board.fillSlots(t.Context()) // the slots are free again
}

func batchCancelAtOnce(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	batch := executor.Map(t.Context(), ex, doStep, steps(30, func(s *step) { s.Do, s.Board = stubborn, b.name }))
	b.wait(1, "start ")
	woken := make(chan error, 1)
	go func() { _, err := batch.Results(soon(t)); woken <- err }() // ends when the batch is cancelled
	require.True(t, batch.Cancel(errCause))
	require.Equal(t, futures.Cancelled, batch.State(), "though functions run that are deaf to their ctx")
	await(t, "Done", batch.Done())
	require.ErrorIs(t, <-woken, errCause)
	b.open()
	eventually(t, "the functions have returned", func() bool { return ex.Stats().Abandoned == 0 })
	require.Equal(t, b.has("start "), b.has("end "))
	require.LessOrEqual(t, b.has("start "), 29)
}

// batchCancelRaces: a batch that Cancel has cancelled stays so, and no item that did not
// run has a value.
func batchCancelRaces(t *testing.T, ex executor.Executor) {
	for round := range 10_000 {
		n := 1 + round%3
		b := executor.Map(t.Context(), ex, doStep, steps(n, nil))
		for range round % 500 {
			_ = b.Len() // a moment, up to what an item takes to start and end
		}
		if round%7 == 0 {
			runtime.Gosched()
		}
		cancelled := b.Cancel(errCause)
		out, err := b.Outcomes(soon(t))
		require.NoError(t, err)
		if cancelled {
			require.Equal(t, futures.Cancelled, b.State(), "round %d: Cancel was true", round)
		} else {
			require.Equal(t, futures.Finished, b.State())
		}
		for i, o := range out {
			if o.Err == nil {
				require.Equal(t, answer(i), o.Value, "round %d: an item without an error", round)
			} else {
				require.True(t, cancelled)
				require.ErrorIs(t, o.Err, errCause)
			}
		}
	}
}

func batchFuture(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	b := executor.Map(t.Context(), ex, doStep, steps(50, func(s *step) { s.Await = gate.name }))
	early := b.Future()
	total := executor.Then(t.Context(), ex, sum, early)
	dropped := b.Future()
	require.True(t, dropped.Cancel(errCause))
	require.False(t, b.State().Done(), "a reference that is cancelled cancels nothing")
	gate.open()
	want := 0
	for _, n := range answers(50) {
		want += n
	}
	require.Equal(t, want, result(t, total))
	require.Equal(t, answers(50), result(t, early))
	require.Equal(t, answers(50), result(t, b.Future()))
	require.Equal(t, want, result(t, executor.Then(t.Context(), ex, sum, b.Future())))
	require.Equal(t, futures.Cancelled, dropped.State())
}

func batchFutureFails(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(20, func(s *step) { s.Do = misdeed(s.I) }), executor.WithChunkSize(20))
	f := b.Future()
	requireItem(t, failure(t, f, futures.Failed), 3, errStep)
	err := failure(t, executor.Then(t.Context(), ex, sum, f), futures.Failed)
	requireItem(t, err, 3, errStep)
	c := executor.Map(t.Context(), ex, doStep, steps(20, func(s *step) { s.Do = blocks }))
	f = c.Future()
	then := executor.Then(t.Context(), ex, sum, f)
	c.Cancel(errCause)
	require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
	require.ErrorIs(t, failure(t, then, futures.Cancelled), errCause)
}

func batchFutures(t *testing.T, ex executor.Executor) {
	for name, opts := range chunkings(20) {
		gate := newBoard(t, ex)
		b := executor.Map(t.Context(), ex, doStep, steps(20, func(s *step) {
			if s.I >= 10 {
				s.Await = gate.name
			}
		}), opts...)
		fs := b.Futures()
		require.Len(t, fs, 20)
		require.Same(t, fs[7], b.Futures()[7], "made at the first call")
		if name == "1" {
			require.Equal(t, answer(9), result(t, fs[9]), "before the batch is over")
		}
		require.False(t, fs[19].State().Done())
		require.True(t, fs[19].Cancel(errCause))
		then := executor.Then(t.Context(), ex, triple, fs[18])
		gate.open()
		got, err := futures.Gather(soon(t), fs[:19]...)
		require.NoError(t, err)
		require.Equal(t, answers(19), got)
		require.Equal(t, 3*answer(18), result(t, then))
		require.ErrorIs(t, failure(t, fs[19], futures.Cancelled), errCause)
		got, err = b.Results(soon(t))
		require.NoError(t, err, "cancelling a future of an item does not stop the item")
		require.Equal(t, answers(20), got)
	}
	late := executor.Map(t.Context(), ex, doStep, steps(5, nil))
	require.NoError(t, late.Wait(soon(t)))
	for i, f := range late.Futures() {
		require.Equal(t, futures.Finished, f.State(), "of a batch that is over")
		require.Equal(t, answer(i), result(t, f))
	}
}

func batchFuturesFail(t *testing.T, ex executor.Executor) {
	for _, early := range []bool{true, false} {
		b := executor.Map(t.Context(), ex, doStep, steps(40, func(s *step) { s.Do = misdeed(s.I) }), executor.WithKeepGoing())
		if !early {
			require.NoError(t, b.Wait(soon(t)))
		}
		for i, f := range b.Futures() {
			v, err := f.Result(soon(t))
			requireOutcome(t, i, v, err)
			require.Equal(t, misdeed(i) == "", f.State() == futures.Finished)
		}
		b = executor.Map(t.Context(), ex, doStep, steps(40, func(s *step) {
			if s.I == 5 {
				s.Do = fails
			}
		}), executor.WithChunkSize(40))
		if !early {
			require.Error(t, b.Wait(soon(t)))
		}
		for i, f := range b.Futures() {
			switch {
			case i < 5:
				require.Equal(t, answer(i), result(t, f))
			case i == 5:
				require.ErrorIs(t, failure(t, f, futures.Failed), errStep)
			default:
				require.ErrorIs(t, failure(t, f, futures.Cancelled), futures.ErrCancelled)
			}
		}
	}
}

func batchProgress(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(20_000, nil))
	for last := 0; !b.State().Done(); {
		done, total := b.Progress()
		require.Equal(t, 20_000, total)
		require.GreaterOrEqual(t, done, last)
		require.LessOrEqual(t, done, total)
		last = done
	}
	done, _ := b.Progress()
	require.Equal(t, 20_000, done, "all, once it is over")
}

func batchOnDone(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	b := executor.Map(t.Context(), ex, doStep, steps(10, func(s *step) { s.Await = gate.name }))
	calls := make(chan *futures.Batch[int], 10)
	stop := b.OnDone(func(b *futures.Batch[int]) { calls <- b })
	var stopped atomic.Int32
	stop2 := b.OnDone(func(*futures.Batch[int]) { stopped.Add(1) })
	require.True(t, stop2())
	require.False(t, stop2(), "stopped before")
	gate.open()
	require.Same(t, b, <-calls)
	require.True(t, b.State().Done())
	require.False(t, stop(), "it was called")
	b.OnDone(func(b *futures.Batch[int]) { calls <- b })
	require.Same(t, b, <-calls, "of a batch that is over")
	require.NoError(t, ex.Close())
	require.Empty(t, calls, "called twice")
	require.Zero(t, stopped.Load(), "called though it was stopped")
}

func batchOnDoneFree(t *testing.T, ex executor.Executor) {
	got := make(chan int, 1)
	b := executor.Map(t.Context(), ex, doStep, steps(10, nil))
	b.OnDone(func(b *futures.Batch[int]) {
		fs := newBoard(t, ex).fillSlots(context.Background()) // every one of them
		got <- len(fs)
	})
	require.Equal(t, ex.Slots(), <-got)
}

func batchReleaseEarly(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	b := executor.Map(t.Context(), ex, doStep, steps(10, func(s *step) { s.Await = gate.name }))
	total := executor.Then(t.Context(), ex, sum, b.Future())
	b.Release()
	b.Release()
	require.False(t, b.State().Done(), "the items run all the same")
	gate.open()
	require.NoError(t, b.Wait(soon(t)))
	require.Equal(t, futures.Finished, b.State())
	_, err := b.Results(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
	require.Equal(t, 145, result(t, total), "a task that was submitted before still gets the values")
}

func batchRelease(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(10, nil))
	require.NoError(t, b.Wait(soon(t)))
	total := executor.Then(t.Context(), ex, sum, b.Future())
	b.Release()
	require.Equal(t, 145, result(t, total))
	_, err := b.Results(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
	for _, err := range b.All(soon(t)) {
		require.ErrorIs(t, err, futures.ErrReleased)
	}
	require.Equal(t, futures.Finished, b.State())
	require.NoError(t, b.Err())
}

func batchReaders(t *testing.T, ex executor.Executor) {
	const n = 3000
	b := executor.Map(t.Context(), ex, doStep, steps(n, nil))
	var wg sync.WaitGroup
	var bad atomic.Int64
	for range 3 {
		wg.Go(func() {
			i := 0
			for v, err := range b.All(soon(t)) {
				if err != nil || v != answer(i) {
					bad.Add(1)
				}
				i++
			}
			bad.Add(int64(n - i))
		})
		wg.Go(func() {
			left := n
			for i, o := range b.AsCompleted(soon(t)) {
				if o.Err != nil || o.Value != answer(i) {
					bad.Add(1)
				}
				left--
			}
			bad.Add(int64(left))
		})
		wg.Go(func() {
			for i, f := range b.Futures() {
				if v, err := f.Result(soon(t)); err != nil || v != answer(i) {
					bad.Add(1)
				}
			}
		})
	}
	within(t, "all have read", wg.Wait)
	require.Zero(t, bad.Load())
}
