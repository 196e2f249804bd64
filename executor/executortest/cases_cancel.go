package executortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// cancelCases: Cancel resolves at once, and then sees to it that things end.
func cancelCases(t *testing.T, open opener) {
	check(t, open, "G3/CancelOfPendingKeepsItFromStarting", cancelPending)
	check(t, open, "G3/CancelOfRunningEndsItsCtx", cancelRunning)
	check(t, open, "G3/CancelWakesAllWaitersAtOnce", cancelWakes)
	check(t, open, "G3/SlotIsTakenUntilFunctionReturns", abandonedSlots)
	check(t, open, "G3/WhatFunctionReturnsAfterCancelIsIgnored", lateReturn)
	check(t, open, "G3/CanceledOfOwnAccordHasFailed", ownAccord)
	check(t, open, "G3/DependentsAreCancelledWithIt", cancelReachesDependents)
	check(t, open, "G3/InputsAreNotCancelled", cancelLeavesInputs)
	check(t, open, "G3/CancelOfWaitingForInputs", cancelWaiting)
	check(t, open, "G3/CancelFromOnDone", cancelFromOnDone)
	checkNear(t, open, "G3/CancelOfItself", cancelItself)
	check(t, open, "G3/CancelStorm", cancelStorm)
	t.Run("G3/CancelErrorIsWhatItSays", cancelErrors)
}

func cancelPending(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	hs := b.fillSlots(t.Context())
	const n = 200
	fs := make([]*futures.Future[string], n)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, note, b.post([]string{"lost", "kept"}[i%2]))
	}
	for i := 0; i < n; i += 2 {
		require.Equal(t, futures.Pending, fs[i].State())
		require.True(t, fs[i].Cancel(errStop))
		require.Equal(t, futures.Cancelled, fs[i].State(), "at once")
		requireStopped(t, fs[i].Err())
		require.False(t, fs[i].Cancel(errRefused), "the second")
		requireStopped(t, fs[i].Err())
	}
	b.open()
	for i := 1; i < n; i += 2 {
		require.Equal(t, "kept", result(t, fs[i]))
	}
	for i := range hs {
		result(t, hs[i])
	}
	require.Equal(t, n/2, b.has("kept"))
	if inProcess(ex) {
		require.Zero(t, b.has("lost"))
	}
	s := ex.Stats()
	require.EqualValues(t, n/2, s.Cancelled)
	require.Zero(t, s.Pending)
}

func cancelRunning(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	for i, opts := range [][]executor.Option{nil, {executor.WithRetries(3)}, {executor.WithKey("k")}} {
		name := fmt.Sprint("witness", i)
		f := executor.Submit(t.Context(), ex, witness, b.post(name), opts...)
		started(t, f)
		require.True(t, f.Cancel(errStop))
		require.Equal(t, futures.Cancelled, f.State(), "at once")
		requireStopped(t, failure(t, f, futures.Cancelled))
		b.wait(1, name+": context canceled;")
		require.Equal(t, 1, b.has(name+": context canceled;"+errStop.Error()), "%q does not name the cause", b.lines())
	}
	eventually(t, "the functions return", func() bool { return ex.Stats().Abandoned == 0 })
	require.Len(t, b.lines(), 3, "nothing ran again")
}

func cancelWakes(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, cling, b.post("f"))
	started(t, f)
	var wg sync.WaitGroup
	ctx := soon(t)
	for range 20 {
		wg.Go(func() { _, err := f.Result(ctx); assert.ErrorIs(t, err, errStop) })
		wg.Go(func() { assert.ErrorIs(t, f.Wait(ctx), errStop) })
		wg.Go(func() { <-f.Done(); assert.ErrorIs(t, f.Err(), errStop) })
		wg.Go(func() { _, err := futures.Gather(ctx, f, f); assert.ErrorIs(t, err, errStop) })
		wg.Go(func() {
			for g := range futures.AsCompleted(ctx, f) {
				assert.ErrorIs(t, g.Err(), errStop)
			}
		})
		wg.Add(1)
		f.OnDone(func(*futures.Future[string]) { wg.Done() })
	}
	require.True(t, f.Cancel(errStop))
	within(t, "all waiters", wg.Wait)
	require.Zero(t, b.has("end"), "the function still runs")
	b.open()
	b.wait(1, "end f")
}

func abandonedSlots(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	slots := ex.Slots()
	var fs []*futures.Future[string]
	for i := range slots {
		fs = append(fs, executor.Submit(t.Context(), ex, cling, b.post(fmt.Sprint(i))))
	}
	for _, f := range fs {
		started(t, f)
	}
	for _, f := range fs {
		f.Cancel(errStop)
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	s := ex.Stats()
	require.EqualValues(t, slots, s.Abandoned)
	require.Zero(t, s.Running)
	require.EqualValues(t, slots, s.Cancelled)
	after := executor.Submit(t.Context(), ex, note, b.post("after"))
	require.Equal(t, futures.Pending, after.State())
	b.open()
	require.Equal(t, "after", result(t, after))
	if slots == 1 {
		require.Equal(t, []string{"start 0", "end 0", "after"}, b.lines())
	}
	eventually(t, "all slots are back", func() bool { return ex.Stats().Abandoned == 0 })
	requireSlots(t, ex)
}

func lateReturn(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	value := executor.Submit(t.Context(), ex, cling, b.post("value"))
	started(t, value)
	value.Cancel(errStop)
	b.open()
	b.wait(1, "end value")
	fails := executor.Submit(t.Context(), ex, witness, b.post("fails"))
	panics := executor.Submit(t.Context(), ex, crash, "late")
	exits := executor.Submit(t.Context(), ex, crash, "late goexit")
	for _, f := range []*futures.Future[string]{fails, panics, exits} {
		started(t, f)
		f.Cancel(errStop)
		eventually(t, "the function has returned", func() bool { return ex.Stats().Abandoned == 0 })
	}
	for _, f := range []*futures.Future[string]{value, fails, panics, exits} {
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	s := ex.Stats()
	require.EqualValues(t, 4, s.Cancelled)
	require.Zero(t, s.Failed)
	require.Zero(t, s.Finished)
	requireSlots(t, ex)
}

func ownAccord(t *testing.T, ex executor.Executor) {
	for what, want := range map[string]error{
		"canceled": context.Canceled, "deadline": context.DeadlineExceeded, "cancelled": futures.ErrCancelled,
		"closed": executor.ErrClosed,
	} {
		f := executor.Submit(t.Context(), ex, returns, what)
		next := executor.Then(t.Context(), ex, same, f)
		err := failure(t, f, futures.Failed)
		require.ErrorIs(t, err, want)
		if what == "canceled" {
			require.NotErrorIs(t, err, futures.ErrCancelled)
		}
		require.ErrorIs(t, failure(t, next, futures.Failed), want)
	}
	require.Zero(t, ex.Stats().Cancelled)
	require.EqualValues(t, 8, ex.Stats().Failed)
}

func cancelReachesDependents(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	hs := b.fillSlots(t.Context())
	running, pending := hs[0], executor.Submit(t.Context(), ex, note, b.post("pending"))
	promise, _ := futures.New[string]()
	for _, f := range []*futures.Future[string]{pending, promise, running} { // whose slot would be pending's
		child := executor.Then(t.Context(), ex, same, f)
		grand := executor.Then(t.Context(), ex, same, child)
		all, join := futures.All(f), futures.Join(f, futures.Value(1))
		ofAll := executor.Then(t.Context(), ex, joined, futures.All(f, f))
		require.True(t, f.Cancel(errStop))
		for _, g := range []*futures.Future[string]{child, grand} {
			require.Equal(t, futures.Cancelled, g.State(), "at once")
			requireStopped(t, failure(t, g, futures.Cancelled))
		}
		for _, w := range []futures.Waiter{all, ofAll} { // R8: All fails, as *ItemError
			require.True(t, w.State().Done())
			require.ErrorIs(t, w.Err(), errStop)
		}
		requireStopped(t, failure(t, join, futures.Cancelled))
		after := executor.Then(t.Context(), ex, same, f)
		requireStopped(t, failure(t, after, futures.Cancelled))
	}
	b.open()
}

func cancelLeavesInputs(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	in := executor.Submit(t.Context(), ex, hold, b.post("in"))
	other := executor.Then(t.Context(), ex, same, in)
	child := executor.Then(t.Context(), ex, same, in)
	all, join := futures.All(in), futures.Join(in, in)
	started(t, in)
	for _, w := range []futures.Waiter{child, all, join} {
		require.True(t, w.Cancel(errStop))
		require.Equal(t, futures.Cancelled, w.State())
	}
	require.Equal(t, futures.Running, in.State())
	b.open()
	require.Equal(t, "in", result(t, in))
	require.Equal(t, "in", result(t, other))
}

func cancelWaiting(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	p, resolve := futures.New[Post]()
	f := executor.Then(t.Context(), ex, note, p)
	require.EqualValues(t, 1, ex.Stats().Pending)
	require.True(t, f.Cancel(errStop))
	require.Zero(t, ex.Stats().Pending)
	require.EqualValues(t, 1, ex.Stats().Cancelled)
	require.True(t, resolve(b.post("late"), nil))
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Empty(t, b.lines())
}

// cancelFromOnDone cancels a row of tasks, each from the callback of the one before.
func cancelFromOnDone(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	fs := make([]*futures.Future[int], 1000)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, echo, i)
		if i > 0 {
			fs[i-1].OnDone(func(*futures.Future[int]) { assert.True(t, fs[i].Cancel(errStop)) })
		}
	}
	fs[0].Cancel(errStop)
	for _, f := range fs {
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	b.open()
}

func cancelItself(t *testing.T, ex executor.Executor) {
	self := make(chan *futures.Future[int], 1)
	seen := make(chan error, 1)
	f := executor.Go(t.Context(), ex, func(ctx context.Context) (int, error) {
		f := <-self
		ok := f.Cancel(errStop)
		<-ctx.Done()
		if !ok {
			seen <- errRefused
		} else {
			seen <- context.Cause(ctx)
		}
		return 1, nil
	})
	self <- f
	requireStopped(t, failure(t, f, futures.Cancelled))
	within(t, "the function", func() { assert.ErrorIs(t, <-seen, errStop) })
}

// cancelStorm cancels tasks, from many sides, while they are submitted, run and wait.
func cancelStorm(t *testing.T, ex executor.Executor) {
	const submitters, each = 4, 2500
	fs := make([]*futures.Future[int], submitters*each)
	var wg sync.WaitGroup
	for s := range submitters {
		wg.Go(func() {
			mine := fs[s*each : (s+1)*each]
			rnd := rand.New(rand.NewPCG(uint64(s), 1))
			for i := range mine {
				switch k := rnd.IntN(8); {
				case k == 0 && i > 0:
					mine[i] = executor.Then(t.Context(), ex, echo, mine[rnd.IntN(i)])
				case k == 1:
					mine[i] = executor.Submit(t.Context(), ex, sleeper, i)
				default:
					mine[i] = executor.Submit(t.Context(), ex, echo, i)
				}
				if i > 0 && rnd.IntN(2) == 0 {
					mine[rnd.IntN(i)].Cancel(errStop)
				}
			}
			for i := range mine {
				mine[i].Cancel(errStop)
			}
		})
	}
	wg.Wait()
	var finished, cancelled int64
	for _, f := range fs {
		switch f.State() {
		case futures.Finished:
			finished++
		case futures.Cancelled:
			cancelled++
			requireStopped(t, f.Err())
		default:
			require.Fail(t, "not resolved", "%v", f)
		}
	}
	s := ex.Stats()
	require.Equal(t, []int64{finished, cancelled}, []int64{s.Finished, s.Cancelled})
	eventually(t, "functions return", func() bool { return ex.Stats().Abandoned == 0 })
	requireSlots(t, ex)
}

func cancelErrors(t *testing.T) {
	deadline := &futures.CancelError{Cause: context.DeadlineExceeded}
	require.ErrorIs(t, deadline, futures.ErrCancelled)
	require.ErrorIs(t, deadline, context.DeadlineExceeded)
	require.NotErrorIs(t, deadline, context.Canceled)
	none := &futures.CancelError{}
	require.ErrorIs(t, none, futures.ErrCancelled)
	require.ErrorIs(t, none, context.Canceled)
	require.NoError(t, none.Unwrap())
	require.NotContains(t, strings.ToLower(none.Error()), "nil")
	cause := &futures.ItemError{Index: 3, Err: errStop}
	wrapped := fmt.Errorf("so: %w", &futures.CancelError{Cause: cause})
	var item *futures.ItemError
	require.ErrorAs(t, wrapped, &item)
	require.ErrorIs(t, wrapped, errStop)
	require.ErrorIs(t, wrapped, context.Canceled)
	require.Contains(t, wrapped.Error(), errStop.Error())
}
