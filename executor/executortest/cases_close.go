package executortest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// closeCases: Close refuses, cancels, waits, and leaves nothing behind.
func closeCases(t *testing.T, open opener) {
	check(t, open, "G8/SubmitAfterCloseIsRefused", func(t *testing.T, ex executor.Executor) {
		require.NoError(t, ex.Close())
		requireRefused(t, ex)
	})
	check(t, open, "G8/CloseCancelsTheRest", closeCancels)
	check(t, open, "G8/CloseWaitsForWhatRuns", closeWaits)
	check(t, open, "G8/CloseMayBeCalledAgainAndTogether", closeTogether)
	check(t, open, "G8/CloseFromOnDone", closeFromOnDone)
	check(t, open, "G8/CloseInsideTaskIsAnError", closeInside)
	checkNear(t, open, "G8/CloseInsideTaskIsAnErrorWithoutItsCtx", closeInsideClosure)
	checkNear(t, open, "G8/CloseFromGoroutineOfTask", closeFromGoroutine)
	check(t, open, "G8/CloseRacesWithSubmits", closeRaces)
	check(t, open, "G8/CloseEndsWaitsOfTasks", closeEndsWaits)
	check(t, open, "G8/ResolveAfterClose", resolveAfterClose)
	checkNear(t, open, "G8/ResultsOutliveClose", resultsOutliveClose)
	t.Run("G8/NothingIsLeft", func(t *testing.T) { nothingIsLeft(t, open) })
	t.Run("G8/DefaultRefusesBoth", defaultRefuses)
}

// requireRefused checks that an executor takes nothing more, in whatever way.
func requireRefused(t *testing.T, ex executor.Executor) {
	t.Helper()
	ctx := t.Context()
	pending, _ := futures.New[int]()
	b := newBoard(t, ex)
	fs := append(executor.SubmitAll(ctx, ex, echo, []int{1, 2}),
		executor.Submit(ctx, ex, echo, 1),
		executor.Submit(ctx, ex, echo, 1, executor.WithRetries(3), executor.WithBackoff(time.Hour)),
		executor.Submit(ctx, ex, echo, 1, executor.WithKey("key")),
		executor.Submit(ctx, ex, echo, 1, executor.WithRetries(-1)), // closed is looked at before options
		executor.Submit(ctx, ex, sumOfInputs, Inputs{One: pending}),
		executor.Then(ctx, ex, echo, pending),
		executor.Then(ctx, ex, echo, futures.Value(1)),
		executor.Reduce(ctx, ex, sum, []*futures.Future[int]{pending}),
		executor.Go(ctx, ex, func(context.Context) (int, error) { return 1, nil }))
	for i, f := range fs {
		require.Equal(t, futures.Failed, f.State(), "future %d, at once: %v", i, f.Err())
		require.ErrorIs(t, f.Err(), executor.ErrClosed, "future %d", i)
	}
	batch := executor.Map(ctx, ex, note, []Post{b.post("1"), b.post("2")})
	require.Equal(t, futures.Failed, batch.State())
	require.ErrorIs(t, batch.Err(), executor.ErrClosed)
	var errs []error
	for _, err := range executor.MapSeq(ctx, ex, note, slices.Values([]Post{b.post("1")})) {
		errs = append(errs, err)
	}
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], executor.ErrClosed)
	_, err := executor.Scatter(ctx, ex, 1)
	require.ErrorIs(t, err, executor.ErrClosed)
	_, err = executor.RunOnAll(ctx, ex, readBoard, "x")
	require.ErrorIs(t, err, executor.ErrClosed)

	over, cancel := context.WithCancelCause(ctx)
	cancel(errStop)
	requireStopped(t, executor.Submit(over, ex, echo, 1).Err()) // and ctx before closed
	if inProcess(ex) {
		require.Empty(t, b.lines())
	}
}

func closeCancels(t *testing.T, ex executor.Executor) {
	ctx := context.Background()
	b := newBoard(t, ex)
	promise, _ := futures.New[Post]()
	running := executor.Submit(ctx, ex, witness, b.post("running"))
	started(t, running)
	ends := []*futures.Future[string]{running, executor.Submit(ctx, ex, witness, b.post("key"), executor.WithKey("k")),
		executor.Submit(ctx, ex, crash, "late", executor.WithTimeout(time.Hour))}
	for range 2 * ex.Slots() {
		ends = append(ends, executor.Submit(ctx, ex, witness, b.post("more")))
	}
	ends = append(ends, executor.Then(ctx, ex, note, promise), executor.Then(ctx, ex, same, running),
		executor.Submit(ctx, ex, crash, "string", executor.WithRetries(3), executor.WithBackoff(1000*time.Hour)))
	batch := executor.Map(ctx, ex, witness, []Post{b.post("item"), b.post("item")})
	within(t, "Close", func() { assert.NoError(t, ex.Close()) })
	for i, f := range ends {
		require.Equal(t, futures.Cancelled, f.State(), "future %d: %v", i, f.Err())
		require.ErrorIs(t, f.Err(), executor.ErrClosed)
		require.ErrorIs(t, f.Err(), futures.ErrCancelled)
		require.ErrorIs(t, f.Err(), context.Canceled)
	}
	require.Equal(t, futures.Cancelled, batch.State())
	require.ErrorIs(t, batch.Err(), executor.ErrClosed)
	if inProcess(ex) {
		require.Equal(t, 1, b.has("running: context canceled;"+executor.ErrClosed.Error()), "%q", b.lines())
	}
	requireRefused(t, ex)
}

func closeWaits(t *testing.T, ex executor.Executor) {
	if !inProcess(ex) {
		t.Skip("far, what does not return is killed with its process")
	}
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, cling, b.post("f"))
	started(t, f)
	var closed sync.WaitGroup
	for range 3 {
		closed.Go(func() {
			assert.NoError(t, ex.Close())
			assert.Equal(t, 1, b.has("end"), "Close returned before the function")
		})
	}
	ended(t, f)
	require.ErrorIs(t, f.Err(), executor.ErrClosed)
	require.EqualValues(t, 1, ex.Stats().Abandoned)
	b.open()
	within(t, "Close", closed.Wait)
}

func closeTogether(t *testing.T, ex executor.Executor) {
	fs := executor.SubmitAll(t.Context(), ex, echo, make([]int, 1000))
	running := executor.Submit(t.Context(), ex, sleeper, 1)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if i%4 == 3 {
				assert.NoError(t, ex.Shutdown(soon(t)))
			} else {
				assert.NoError(t, ex.Close())
			}
		})
	}
	within(t, "Close by many", wg.Wait)
	require.NoError(t, ex.Close())
	require.NoError(t, ex.Shutdown(context.Background()))
	for _, f := range append(fs, running) {
		require.True(t, f.State().Done())
	}
	requireRefused(t, ex)
}

func closeFromOnDone(t *testing.T, ex executor.Executor) {
	done := make(chan error)
	for _, shut := range []func() error{ex.Close, func() error { return ex.Shutdown(context.Background()) }, ex.Close} {
		executor.Submit(t.Context(), ex, echo, 1).OnDone(func(*futures.Future[int]) { done <- shut() })
		within(t, "a callback that closes", func() { assert.NoError(t, <-done) })
	}
	requireRefused(t, ex)
}

// closeInside has tasks close the executor that runs them.
func closeInside(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"Close", "Shutdown", "ShutdownWithItsCtx", "CloseAfterWaiting"} {
		text := result(t, executor.Submit(t.Context(), ex, closesItself, how))
		require.NotEqual(t, "<nil>", text, how)
		require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)), "it is open after %s in a task: %s", how, text)
	}
}

func closeInsideClosure(t *testing.T, ex executor.Executor) {
	for _, shut := range []func(context.Context) error{
		func(context.Context) error { return ex.Close() },
		ex.Shutdown,
		func(context.Context) error { return ex.Shutdown(context.Background()) },
	} {
		f := executor.Go(t.Context(), ex, func(ctx context.Context) (int, error) { return 1, shut(ctx) })
		err := failure(t, f, futures.Failed)
		require.NotErrorIs(t, err, executor.ErrClosed)
		m := executor.Map(t.Context(), ex, func(ctx context.Context, _ int) (int, error) { return 1, shut(ctx) }, []int{1})
		ended(t, m)
		require.Error(t, m.Err())
		require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	}
}

func closeFromGoroutine(t *testing.T, ex executor.Executor) {
	done := make(chan error, 1)
	f := executor.Go(t.Context(), ex, func(ctx context.Context) (int, error) {
		go func() { done <- ex.Close() }()
		<-ctx.Done()
		return 1, nil
	})
	within(t, "Close", func() { assert.NoError(t, <-done) })
	require.ErrorIs(t, failure(t, f, futures.Cancelled), executor.ErrClosed)
}

// closeRaces closes an executor that many are busy submitting to.
func closeRaces(t *testing.T, ex executor.Executor) {
	const submitters = 8
	var fs [submitters][]*futures.Future[int]
	var ready, wg sync.WaitGroup
	var stop atomic.Bool
	ready.Add(submitters)
	for s := range submitters {
		wg.Go(func() {
			for i := 0; i < 10000 && !stop.Load(); i++ {
				if i == 20 {
					ready.Done()
				}
				var f *futures.Future[int]
				switch (s + i) % 8 {
				case 0:
					f = executor.Submit(t.Context(), ex, echo, i, executor.WithRetries(2))
				case 1:
					f = executor.Submit(t.Context(), ex, echo, i, executor.WithKey(fmt.Sprint(i%5)))
				case 2:
					f = executor.Then(t.Context(), ex, echo, executor.Submit(t.Context(), ex, echo, i))
				case 3:
					f = executor.SubmitAll(t.Context(), ex, echo, []int{i, i, i})[1]
				case 4:
					f = executor.Then(t.Context(), ex, sum, executor.Map(t.Context(), ex, echo, []int{i, 0}).Future())
				case 5:
					f = executor.Submit(t.Context(), ex, sleeper, i)
				default:
					f = executor.Submit(context.Background(), ex, echo, i)
				}
				fs[s] = append(fs[s], f)
			}
		})
	}
	within(t, "submitters to be at it", ready.Wait)
	within(t, "Close", func() { assert.NoError(t, ex.Close()) })
	stop.Store(true)
	within(t, "submitters to end", wg.Wait)
	for _, list := range fs {
		for _, f := range list {
			switch f.State() {
			case futures.Finished:
			case futures.Failed, futures.Cancelled:
				require.ErrorIs(t, f.Err(), executor.ErrClosed)
			default:
				require.Fail(t, "not resolved after Close", "%v", f)
			}
		}
	}
}

func closeEndsWaits(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var fs []*futures.Future[string]
	for range 2 * ex.Slots() {
		fs = append(fs, executor.Submit(t.Context(), ex, nest, Nest{b.name, "hold"}))
	}
	b.wait(1, "start child")
	within(t, "Close", func() { assert.NoError(t, ex.Close()) })
	for _, f := range fs { // cancelled, or failed, since its Submit came too late
		ended(t, f)
		require.ErrorIs(t, f.Err(), executor.ErrClosed)
	}
}

func resolveAfterClose(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	p, resolve := futures.New[Post]()
	f := executor.Then(t.Context(), ex, note, p)
	all := futures.All(p)
	require.NoError(t, ex.Close())
	require.ErrorIs(t, failure(t, f, futures.Cancelled), executor.ErrClosed)
	require.True(t, resolve(b.post("late"), nil))
	require.Len(t, result(t, all), 1, "a reference belongs to no executor")
	if inProcess(ex) {
		require.Empty(t, b.lines())
	}
}

func resultsOutliveClose(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, echo, 4)
	ended(t, f)
	require.NoError(t, ex.Close())
	require.Equal(t, 4, result(t, f))
}

// nothingIsLeft opens, uses and closes executors, and counts what is there before and after.
func nothingIsLeft(t *testing.T, open opener) {
	round := func() {
		t.Run("Round", func(t *testing.T) {
			ex := open(t)
			fs := executor.SubmitAll(t.Context(), ex, echo, make([]int, 100))
			executor.Submit(t.Context(), ex, fib, 5)
			executor.Submit(t.Context(), ex, crash, "goexit")
			executor.Submit(t.Context(), ex, sleeper, 1, executor.WithTimeout(time.Hour))
			executor.Submit(t.Context(), ex, refuse, 1, executor.WithRetries(2), executor.WithBackoff(time.Hour))
			executor.Map(t.Context(), ex, echo, make([]int, 100))
			p, _ := futures.New[int]()
			executor.Then(context.Background(), ex, echo, p)
			ended(t, fs[50])
		})
	}
	round() // the first starts what is there for good
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for range 10 {
		round()
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "files are closed", func() bool { return openFiles() <= files })
}

func defaultRefuses(t *testing.T) {
	ex := executor.Default()
	require.Error(t, ex.Close())
	require.Error(t, ex.Shutdown(context.Background()))
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Same(t, ex, executor.Default())
}

func init() { executor.Register(closesItself) }

// closesItself closes the executor that runs it, or tries to, and returns the error's text.
func closesItself(ctx context.Context, how string) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	err := errors.New("unknown way to close")
	switch how {
	case "Close":
		err = ex.Close()
	case "Shutdown":
		err = ex.Shutdown(context.Background())
	case "ShutdownWithItsCtx":
		err = ex.Shutdown(ctx)
	case "CloseAfterWaiting":
		if _, err = executor.Submit(ctx, ex, echo, 1).Result(ctx); err == nil {
			err = ex.Close()
		}
	}
	return fmt.Sprint(err), nil
}
