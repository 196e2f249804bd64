package executortest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// resolveCases: a future is resolved exactly once, and what it says then stays.
func resolveCases(t *testing.T, open opener) {
	check(t, open, "G1/StateAndErrNeverChange", stateStays)
	check(t, open, "G1/CancelAndFinishExcludeEachOther", cancelRacesWithFinish)
	check(t, open, "G1/FinishedWinsOverEndedCtx", finishedWins)
	check(t, open, "G1/EndedWaiterLeavesFutureAlone", endedWaiter)
	check(t, open, "G1/ManyWaitersSeeOneResult", manyWaiters)
	check(t, open, "G1/ReleaseLeavesStateAlone", releaseLeavesState)
	t.Run("G1/PromiseIsResolvedOnce", promiseOnce)
	t.Run("G1/PromiseValueError", promises)
	t.Run("G1/DoneMeansResolved", doneMeansResolved)
	t.Run("R11/ZeroFutureNeverFinishes", zeroFuture)
	check(t, open, "API/StringSaysWhy", stringSaysWhy)
}

func stateStays(t *testing.T, ex executor.Executor) {
	ctx := t.Context()
	good := executor.Submit(ctx, ex, echo, 7)
	bad := executor.Submit(ctx, ex, refuse, 7)
	gone := executor.Submit(ctx, ex, sleeper, 7)
	require.Equal(t, 7, result(t, good))
	err := failure(t, bad, futures.Failed)
	require.ErrorIs(t, err, errRefused)
	require.True(t, gone.Cancel(errStop))
	cancelled := failure(t, gone, futures.Cancelled)
	for range 3 {
		require.False(t, good.Cancel(errors.New("late")))
		require.False(t, bad.Cancel(errors.New("late")))
		require.False(t, gone.Cancel(errors.New("late")))
		require.Equal(t, 7, result(t, good))
		require.Same(t, bad.Err(), failure(t, bad, futures.Failed))
		require.Same(t, cancelled, failure(t, gone, futures.Cancelled))
		require.Same(t, cancelled, gone.Wait(ctx))
	}
	require.NotErrorIs(t, cancelled, context.DeadlineExceeded)
	require.ErrorIs(t, cancelled, errStop)
}

// cancelRacesWithFinish cancels tasks as they finish: whoever came first, all agree.
func cancelRacesWithFinish(t *testing.T, ex executor.Executor) {
	const n, cancellers = 3000, 3
	var wg sync.WaitGroup
	won := make([]atomic.Int32, n)
	fs := make([]*futures.Future[int], n)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, echo, i)
		if i%8 != 0 {
			continue
		}
		for range cancellers {
			wg.Go(func() {
				if fs[i].Cancel(errStop) {
					won[i].Add(1)
				}
			})
		}
	}
	wg.Wait()
	for i, f := range fs {
		switch won[i].Load() {
		case 0:
			require.Equal(t, i, result(t, f))
		case 1:
			require.ErrorIs(t, failure(t, f, futures.Cancelled), errStop)
		default:
			require.Fail(t, "more than one Cancel was the first")
		}
	}
}

func finishedWins(t *testing.T, ex executor.Executor) {
	f, g := executor.Submit(t.Context(), ex, echo, 1), executor.Submit(t.Context(), ex, refuse, 2)
	batch := executor.Map(t.Context(), ex, echo, []int{1, 2})
	require.Equal(t, 1, result(t, f))
	ended(t, g)
	ended(t, batch)

	over, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	for _, ctx := range []context.Context{over, late} {
		for range 20 { // a select between two that are ready goes either way
			v, err := f.Result(ctx)
			require.NoError(t, err)
			require.Equal(t, 1, v)
			require.NoError(t, f.Wait(ctx))
			require.NoError(t, batch.Wait(ctx))
			_, err = g.Result(ctx)
			require.ErrorIs(t, err, errRefused)
			require.ErrorIs(t, g.Wait(ctx), errRefused)

			vs, err := futures.Gather(ctx, f, f)
			require.NoError(t, err)
			require.Equal(t, []int{1, 1}, vs)
			outcomes := futures.Settle(ctx, f, g)
			require.Equal(t, futures.Outcome[int]{Value: 1}, outcomes[0])
			require.ErrorIs(t, outcomes[1].Err, errRefused)
			done, pending, err := futures.Wait(ctx, futures.AllCompleted, f, g)
			require.NoError(t, err)
			require.Equal(t, []*futures.Future[int]{f, g}, done)
			require.Empty(t, pending)
		}
	}
}

// endedWaiter waits for a running task, by all ways to wait, with a ctx that ends.
func endedWaiter(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, hold, b.post("f"))
	started(t, f)
	batch := executor.Map(t.Context(), ex, hold, []Post{b.post("item")})
	ways := map[string]func(context.Context) error{
		"Result":         func(ctx context.Context) error { _, err := f.Result(ctx); return err },
		"Wait":           func(ctx context.Context) error { return f.Wait(ctx) },
		"Gather":         func(ctx context.Context) error { _, err := futures.Gather(ctx, f); return err },
		"Settle":         func(ctx context.Context) error { return futures.Settle(ctx, f)[0].Err },
		"futures.Wait":   func(ctx context.Context) error { _, _, err := futures.Wait(ctx, futures.AllCompleted, f); return err },
		"All":            func(ctx context.Context) error { _, err := futures.All(f).Result(ctx); return err },
		"Join":           func(ctx context.Context) error { _, err := futures.Join(f, f).Result(ctx); return err },
		"Batch.Wait":     func(ctx context.Context) error { return batch.Wait(ctx) },
		"Batch.Results":  func(ctx context.Context) error { _, err := batch.Results(ctx); return err },
		"Batch.Outcomes": func(ctx context.Context) error { _, err := batch.Outcomes(ctx); return err },
	}
	for name, wait := range ways {
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Millisecond, func() { cancel(errStop) })
		err := wait(ctx)
		assert.ErrorIs(t, err, context.Canceled, name)
		assert.ErrorIs(t, err, errStop, name)
		assert.NotErrorIs(t, err, futures.ErrCancelled, "%s: the future was not cancelled", name)

		ctx, stop := context.WithTimeoutCause(context.Background(), time.Millisecond, errRefused)
		err = wait(ctx)
		stop()
		assert.ErrorIs(t, err, context.DeadlineExceeded, name)
		assert.ErrorIs(t, err, errRefused, name)
		assert.NotErrorIs(t, err, context.Canceled, name)
	}
	require.Equal(t, futures.Running, f.State())
	b.open()
	require.Equal(t, "f", result(t, f))
	rs, err := batch.Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, []string{"item"}, rs)
}

func manyWaiters(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, hold, b.post("all see this"))
	started(t, f)
	ctx := soon(t)
	var wg sync.WaitGroup
	var called atomic.Int32
	for range 60 {
		wg.Add(1)
		f.OnDone(func(g *futures.Future[string]) {
			defer wg.Done()
			called.Add(1)
			assert.Same(t, f, g)
			assert.Equal(t, futures.Finished, g.State())
		})
		wg.Go(func() {
			v, err := f.Result(ctx)
			assert.NoError(t, err)
			assert.Equal(t, "all see this", v)
		})
		wg.Go(func() { assert.NoError(t, f.Wait(ctx)) })
		wg.Go(func() {
			select {
			case <-f.Done():
				assert.Equal(t, futures.Finished, f.State())
				assert.NoError(t, f.Err())
			case <-ctx.Done():
				assert.Fail(t, "Done was not closed")
			}
		})
	}
	b.open()
	within(t, "all waiters", wg.Wait)
	require.EqualValues(t, 60, called.Load())
}

func releaseLeavesState(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, echo, 3)
	ended(t, f)
	f.Release()
	f.Release()
	_, err := f.Result(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
	require.Equal(t, futures.Finished, f.State())
	require.NoError(t, f.Err())
	require.False(t, f.Cancel(nil))

	bad := executor.Submit(t.Context(), ex, refuse, 3)
	ended(t, bad)
	bad.Release()
	require.ErrorIs(t, failure(t, bad, futures.Failed), errRefused)

	b := newBoard(t, ex)
	early := executor.Submit(t.Context(), ex, hold, b.post("early"))
	next := executor.Then(t.Context(), ex, same, early)
	early.Release()
	b.open()
	require.Equal(t, "early", result(t, next), "what was submitted before the Release still gets the value")
	ended(t, early)
	_, err = early.Result(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
}

func promiseOnce(t *testing.T) {
	for range 200 {
		f, resolve := futures.New[int]()
		var wg sync.WaitGroup
		var winner, wins atomic.Int64
		for i := range 8 {
			wg.Go(func() {
				var first bool
				switch {
				case i < 4:
					first = resolve(i, nil)
				case i < 6:
					first = resolve(i, errRefused)
				default:
					first = f.Cancel(errStop)
				}
				if first {
					winner.Store(int64(i))
					wins.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, wins.Load())
		switch i := int(winner.Load()); {
		case i < 4:
			require.Equal(t, i, result(t, f))
		case i < 6:
			require.Same(t, errRefused, failure(t, f, futures.Failed))
		default:
			require.ErrorIs(t, failure(t, f, futures.Cancelled), errStop)
		}
	}
}

func promises(t *testing.T) {
	v := futures.Value("v")
	require.Equal(t, futures.Finished, v.State())
	require.Equal(t, "v", result(t, v))
	require.False(t, v.Cancel(nil))
	require.Empty(t, v.Key())

	e := futures.Error[string](errRefused)
	require.Equal(t, futures.Failed, e.State())
	require.Same(t, errRefused, failure(t, e, futures.Failed))

	f, resolve := futures.New[string]()
	require.Equal(t, futures.Pending, f.State())
	require.NoError(t, f.Err())
	require.True(t, resolve("", context.Canceled))
	require.Equal(t, futures.Failed, f.State(), "only Cancel and the end of a ctx cancel")

	g, resolve := futures.New[string]()
	require.True(t, g.Cancel(nil))
	require.False(t, resolve("late", nil))
	err := failure(t, g, futures.Cancelled)
	require.ErrorIs(t, err, futures.ErrCancelled)
	require.ErrorIs(t, err, context.Canceled)
	for state, want := range map[futures.State]string{
		futures.Pending: "pending", futures.Running: "running", futures.Finished: "finished",
		futures.Failed: "failed", futures.Cancelled: "cancelled",
	} {
		require.Equal(t, want, state.String())
		require.Equal(t, state > futures.Running, state.Done())
	}
}

// doneMeansResolved looks at a future in the moment in which one way to wait for it ends.
func doneMeansResolved(t *testing.T) {
	ctx := soon(t)
	for range 500 {
		f, resolve := futures.New[int]()
		var wg sync.WaitGroup
		for _, wait := range []func(){
			func() { <-f.Done() },
			func() { _ = f.Wait(ctx) },
			func() {
				for !f.State().Done() {
					if rand.IntN(64) == 0 {
						time.Sleep(time.Microsecond)
					}
				}
			},
		} {
			wg.Go(func() {
				wait()
				assert.Equal(t, futures.Failed, f.State())
				assert.Same(t, errRefused, f.Err())
				select {
				case <-f.Done():
				default:
					assert.Fail(t, "Done is open")
				}
			})
		}
		resolve(0, errRefused)
		wg.Wait()
	}
}

func zeroFuture(t *testing.T) {
	var f futures.Future[int]
	require.Equal(t, futures.Pending, f.State())
	require.NoError(t, f.Err())
	require.Empty(t, f.Key())
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := f.Result(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	select {
	case <-f.Done():
		require.Fail(t, "Done is closed")
	default:
	}
	require.NotPanics(t, func() { _ = f.String() })
}

func stringSaysWhy(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	hs := b.fillSlots(t.Context())
	require.Equal(t, "running", hs[0].String())
	p, resolve := futures.New[int]()
	waits := executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: p, Many: []*futures.Future[int]{{}, {}}})
	require.Contains(t, waits.String(), "pending: for 3 inputs")
	resolve(0, nil)
	require.Contains(t, waits.String(), "pending: for 2 inputs")
	var queued *futures.Future[int]
	for i := range 3 {
		queued = executor.Submit(t.Context(), ex, echo, i)
	}
	if inProcess(ex) {
		require.Equal(t, "pending: behind 2", queued.String())
	}
	require.Contains(t, queued.String(), "pending")
	b.open()
	ended(t, queued)
	require.Equal(t, "finished", queued.String())
	bad := executor.Submit(t.Context(), ex, refuse, 1)
	ended(t, bad)
	require.Contains(t, bad.String(), "failed: ")
	require.Contains(t, bad.String(), errRefused.Error())
	waits.Cancel(errStop)
	require.Contains(t, waits.String(), "cancelled")
}
