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

// shutdownCases: Shutdown refuses, finishes the rest, and cancels it when its time is over.
func shutdownCases(t *testing.T, open opener) {
	check(t, open, "G8/SubmitAfterShutdownIsRefused", func(t *testing.T, ex executor.Executor) {
		within(t, "Shutdown", func() { assert.NoError(t, ex.Shutdown(context.Background())) })
		requireRefused(t, ex)
	})
	check(t, open, "G8/ShutdownFinishesTheRest", shutdownFinishes)
	check(t, open, "G8/ShutdownRefusesWhileItWaits", shutdownRefuses)
	check(t, open, "G8/ShutdownPastCtxCancels", shutdownPastCtx)
	check(t, open, "G8/ShutdownPastCtxSaysWhatStillRuns", shutdownGrace)
	check(t, open, "G8/CloseCutsShutdownShort", closeCutsShutdown)
}

func shutdownFinishes(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	held := b.fillSlots(t.Context())
	p, resolve := futures.New[int]()
	fs := executor.SubmitAll(t.Context(), ex, echo, []int{0, 1, 2, 3})
	fs = append(fs, executor.Then(t.Context(), ex, echo, executor.Submit(t.Context(), ex, echo, 4)),
		executor.Then(t.Context(), ex, echo, p), executor.Submit(t.Context(), ex, echo, 6, executor.WithKey("k")))
	tried := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 3}, executor.WithRetries(5), executor.WithBackoff(time.Millisecond))
	batch := executor.Map(t.Context(), ex, echo, []int{7, 8, 9})
	done := make(chan error, 1)
	go func() { done <- ex.Shutdown(context.Background()) }()
	eventually(t, "Shutdown refuses", func() bool {
		return executor.Submit(t.Context(), ex, echo, 1).State() == futures.Failed
	})
	b.open()
	for _, f := range held {
		result(t, f)
	}
	select {
	case <-done:
		require.Fail(t, "Shutdown returned while a task waited for its input")
	default:
	}
	resolve(5, nil)
	within(t, "Shutdown", func() { assert.NoError(t, <-done) })
	for i, f := range fs {
		require.Equal(t, futures.Finished, f.State())
		require.Equal(t, i, result(t, f))
	}
	require.Equal(t, 3, result(t, tried))
	require.Equal(t, futures.Finished, batch.State())
	s := ex.Stats()
	require.GreaterOrEqual(t, s.Finished, int64(len(held)+len(fs)+1+3))
	require.Zero(t, s.Cancelled)
	requireRefused(t, ex)
}

// shutdownRefuses has a task submit another when Shutdown waits for it.
func shutdownRefuses(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, nest, Nest{b.name, "note"})
	b.wait(1, "start")
	done := make(chan error, 1)
	go func() { done <- ex.Shutdown(context.Background()) }()
	eventually(t, "Shutdown refuses", func() bool {
		return executor.Submit(t.Context(), ex, echo, 1).State() == futures.Failed
	})
	b.open()
	require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrClosed)
	within(t, "Shutdown", func() { assert.NoError(t, <-done) })
}

func shutdownPastCtx(t *testing.T, ex executor.Executor) {
	p, _ := futures.New[int]()
	fs := sleepers(context.Background(), t, ex)
	fs = append(fs, executor.Then(context.Background(), ex, echo, p), executor.Submit(context.Background(), ex, echo, 1))
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Millisecond, errStop)
	defer cancel()
	within(t, "Shutdown", func() {
		err := ex.Shutdown(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errStop, "the cause of its end")
	})
	for _, f := range fs {
		require.Equal(t, futures.Cancelled, f.State(), "%v", f)
		require.ErrorIs(t, f.Err(), futures.ErrCancelled)
	}
	requireRefused(t, ex)

	over, cancel := context.WithCancel(context.Background())
	cancel()
	within(t, "another Shutdown, with nothing left to do", func() { _ = ex.Shutdown(over) })
}

// shutdownGrace has functions run on that are deaf to their ctxs.
func shutdownGrace(t *testing.T, ex executor.Executor) {
	if !inProcess(ex) {
		t.Skip("far, what does not return is killed with its process")
	}
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, cling, b.post("f"))
	started(t, f)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	within(t, "Shutdown, after CloseGrace", func() {
		err := ex.Shutdown(over)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "1 function")
	})
	require.Zero(t, b.has("end"))
	require.ErrorIs(t, failure(t, f, futures.Cancelled), futures.ErrCancelled)
	require.EqualValues(t, 1, ex.Stats().Abandoned)
	requireRefused(t, ex)
	b.open()
	within(t, "Close, which waits for it", func() {
		assert.NoError(t, ex.Close())
		assert.Equal(t, 1, b.has("end"))
	})
}

func closeCutsShutdown(t *testing.T, ex executor.Executor) {
	fs := sleepers(context.Background(), t, ex)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { _ = ex.Shutdown(context.Background()) })
	}
	eventually(t, "Shutdown refuses", func() bool {
		return executor.Submit(t.Context(), ex, echo, 1).State() == futures.Failed
	})
	within(t, "Close", func() { assert.NoError(t, ex.Close()) })
	within(t, "Shutdown", wg.Wait)
	for _, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Cancelled), executor.ErrClosed)
	}
}
