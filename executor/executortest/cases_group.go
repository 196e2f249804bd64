package executortest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// groupCases: a Group is errgroup's, and never uses slots. Its functions run here, on
// any executor, so they may share memory.
func groupCases(t *testing.T, open opener) {
	check(t, open, "R12/WaitReturnsFirstError", groupError)
	check(t, open, "R12/FirstErrorEndsCtx", groupCtx)
	check(t, open, "R12/WaitEndsCtx", groupWaitEndsCtx)
	check(t, open, "R12/ParentEndsCtx", groupParent)
	check(t, open, "R12/FunctionsTalkOutsideTheSlots", groupTalks)
	check(t, open, "R12/LimitIsKept", groupLimit)
	check(t, open, "R12/TryGo", groupTryGo)
	check(t, open, "R12/GoFromFunctions", groupNested)
	check(t, open, "R12/PanicIsError", groupPanic)
	check(t, open, "R12/GoexitIsError", groupGoexit)
	check(t, open, "R12/GoexitFirstIsTheError", groupGoexitFirst)
	check(t, open, "R12/CloseEndsGroup", groupClose)
	check(t, open, "R12/GoAfterClose", groupAfterClose)
	check(t, open, "R12/ShutdownWaitsForGroup", groupShutdown)
	check(t, open, "R12/StatsCount", groupStats)
	t.Run("R12/ZeroGroup", groupZero)
}

func groupError(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(t.Context(), ex)
	var ran atomic.Int32
	for range 20 {
		g.Go(func() error { ran.Add(1); return nil })
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 20, ran.Load())
	require.Error(t, ctx.Err())

	g, ctx = executor.NewGroup(t.Context(), ex)
	g.Go(func() error { return errRefused })
	g.Go(func() error { <-ctx.Done(); return errStop })
	within(t, "Wait", func() { assert.Same(t, errRefused, g.Wait()) })
}

func groupCtx(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(t.Context(), ex)
	g.Go(func() error { return nil })
	g.Go(func() error { <-ctx.Done(); return ctx.Err() })
	require.NoError(t, ctx.Err())
	f := executor.Submit(ctx, ex, sleeper, 1)
	g.Go(func() error { return errRefused })
	within(t, "Wait", func() { assert.Same(t, errRefused, g.Wait()) })
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.ErrorIs(t, context.Cause(ctx), errRefused)
	require.ErrorIs(t, failure(t, f, futures.Cancelled), errRefused, "tasks that were submitted with its ctx end, too")
}

func groupWaitEndsCtx(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(t.Context(), ex)
	g.Go(func() error { return nil })
	require.NoError(t, g.Wait())
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.NoError(t, t.Context().Err())
	require.NoError(t, g.Wait(), "again")
}

func groupParent(t *testing.T, ex executor.Executor) {
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), tagKey{}, "tag"))
	g, ctx := executor.NewGroup(parent, ex)
	require.Equal(t, "tag", ctx.Value(tagKey{}))
	g.Go(func() error { <-ctx.Done(); return context.Cause(ctx) })
	cancel(errStop)
	within(t, "Wait", func() { assert.ErrorIs(t, g.Wait(), errStop) })
}

// groupTalks has more functions wait for one another than there are slots, all of which are taken.
func groupTalks(t *testing.T, ex executor.Executor) {
	held := sleepers(t.Context(), t, ex)
	n := 10 + 4*ex.Slots()
	g, _ := executor.NewGroup(t.Context(), ex)
	links := make([]chan int, n+1)
	for i := range links {
		links[i] = make(chan int)
	}
	for i := range n {
		g.Go(func() error { links[i+1] <- 1 + <-links[i]; return nil })
	}
	within(t, "the talk", func() {
		links[0] <- 0
		assert.Equal(t, n, <-links[n])
		assert.NoError(t, g.Wait())
	})
	for _, f := range held {
		require.Equal(t, futures.Running, f.State())
	}
}

func groupLimit(t *testing.T, ex executor.Executor) {
	const limit = 3
	g, _ := executor.NewGroup(t.Context(), ex)
	g.SetLimit(limit)
	var now, most atomic.Int32
	for range 100 {
		g.Go(func() error {
			n := now.Add(1)
			for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			runtime.Gosched()
			now.Add(-1)
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.LessOrEqual(t, most.Load(), int32(limit))

	g, _ = executor.NewGroup(t.Context(), ex)
	g.SetLimit(1)
	release := make(chan struct{})
	g.Go(func() error { <-release; return nil })
	var second atomic.Bool
	went := make(chan struct{})
	go func() {
		defer close(went)
		g.Go(func() error { second.Store(true); return nil })
	}()
	runtime.Gosched()
	require.False(t, second.Load())
	close(release)
	await(t, "Go, when there is room", went)
	require.NoError(t, g.Wait())
	require.True(t, second.Load())
	g.SetLimit(-1)
	links := make(chan int)
	g.Go(func() error { links <- 1; return nil })
	g.Go(func() error { <-links; return nil })
	within(t, "Wait", func() { assert.NoError(t, g.Wait()) })
}

func groupTryGo(t *testing.T, ex executor.Executor) {
	g, _ := executor.NewGroup(t.Context(), ex)
	g.SetLimit(2)
	release := make(chan struct{})
	wait := func() error { <-release; return nil }
	require.True(t, g.TryGo(wait))
	require.True(t, g.TryGo(wait))
	require.False(t, g.TryGo(func() error { return errRefused }))
	close(release)
	require.NoError(t, g.Wait())
	require.True(t, g.TryGo(func() error { return errRefused }))
	require.Same(t, errRefused, g.Wait())

	g, _ = executor.NewGroup(t.Context(), ex)
	g.SetLimit(0)
	require.False(t, g.TryGo(wait))
	require.NoError(t, g.Wait())
}

func groupNested(t *testing.T, ex executor.Executor) {
	g, _ := executor.NewGroup(t.Context(), ex)
	var ran atomic.Int32
	var down func(n int) func() error
	down = func(n int) func() error {
		return func() error {
			ran.Add(1)
			if n > 0 {
				g.Go(down(n - 1))
				g.Go(down(n - 1))
			}
			return nil
		}
	}
	g.Go(down(8))
	within(t, "Wait", func() { assert.NoError(t, g.Wait()) })
	require.EqualValues(t, 511, ran.Load())
}

func groupPanic(t *testing.T, ex executor.Executor) {
	for _, value := range []any{"words", errRefused} {
		g, ctx := executor.NewGroup(t.Context(), ex)
		var other atomic.Bool
		g.Go(func() error { <-ctx.Done(); other.Store(true); return nil })
		g.Go(func() error { crashHere(value); return nil })
		within(t, "Wait", func() {
			err := g.Wait()
			p := requirePanic(t, err)
			assert.Equal(t, value, p.Value)
			assert.Contains(t, string(p.Stack), "crashHere")
			assert.NotContains(t, string(p.Stack), "nearfar/executor.")
			if value == errRefused {
				assert.ErrorIs(t, err, errRefused)
			}
		})
		require.True(t, other.Load())
	}
}

func groupGoexit(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(t.Context(), ex)
	g.Go(func() error { <-ctx.Done(); return nil })
	g.Go(func() error { runtime.Goexit(); return nil })
	within(t, "Wait", func() { assert.ErrorIs(t, g.Wait(), futures.ErrGoexit) })
	g, _ = executor.NewGroup(t.Context(), ex)
	g.SetLimit(1) // a function that left by Goexit has left
	for range 5 {
		within(t, "Go", func() { g.Go(func() error { runtime.Goexit(); return nil }) })
	}
	within(t, "Wait", func() { assert.ErrorIs(t, g.Wait(), futures.ErrGoexit) })
}

func groupGoexitFirst(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(t.Context(), ex)
	g.Go(func() error { <-ctx.Done(); return ctx.Err() })
	g.Go(func() error { runtime.Goexit(); return nil })
	within(t, "Wait", func() { assert.ErrorIs(t, g.Wait(), futures.ErrGoexit) })
	require.ErrorIs(t, context.Cause(ctx), futures.ErrGoexit)
}

func groupClose(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(context.Background(), ex)
	release := make(chan struct{})
	var returned atomic.Bool
	up := make(chan struct{})
	g.Go(func() error {
		close(up)
		<-ctx.Done()
		<-release
		returned.Store(true)
		return ctx.Err()
	})
	await(t, "the function", up)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		assert.NoError(t, ex.Close())
		assert.True(t, returned.Load(), "Close waits for the functions of a group")
	}()
	await(t, "the end of the group's ctx", ctx.Done())
	require.ErrorIs(t, context.Cause(ctx), executor.ErrClosed)
	close(release)
	await(t, "Close", closed)
	require.ErrorIs(t, g.Wait(), context.Canceled)
}

func groupAfterClose(t *testing.T, ex executor.Executor) {
	g, _ := executor.NewGroup(t.Context(), ex)
	require.NoError(t, ex.Close())
	g.Go(func() error { assert.Fail(t, "the executor is closed"); return nil })
	require.ErrorIs(t, g.Wait(), executor.ErrClosed)
	g, _ = executor.NewGroup(t.Context(), ex)
	g.TryGo(func() error { assert.Fail(t, "the executor is closed"); return nil })
	require.ErrorIs(t, g.Wait(), executor.ErrClosed)
}

func groupShutdown(t *testing.T, ex executor.Executor) {
	g, ctx := executor.NewGroup(context.Background(), ex)
	release := make(chan struct{})
	var returned atomic.Bool
	up := make(chan struct{})
	g.Go(func() error { close(up); <-release; returned.Store(true); return ctx.Err() })
	await(t, "the function", up)
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.NoError(t, ex.Shutdown(context.Background()))
		assert.True(t, returned.Load())
	})
	eventually(t, "Shutdown refuses", func() bool {
		return errors.Is(executor.Submit(t.Context(), ex, echo, 1).Err(), executor.ErrClosed)
	})
	close(release)
	within(t, "Shutdown", wg.Wait)
	require.NoError(t, g.Wait())
}

func groupStats(t *testing.T, ex executor.Executor) {
	g, _ := executor.NewGroup(t.Context(), ex)
	release := make(chan struct{})
	for i := range 5 {
		g.Go(func() error {
			<-release
			if i == 0 {
				return errRefused
			}
			return nil
		})
	}
	eventually(t, "they run", func() bool { s := ex.Stats(); return s.Running == 5 && s.Submitted == 5 })
	close(release)
	require.Same(t, errRefused, g.Wait())
	s := ex.Stats()
	require.Equal(t, []int64{5, 0, 0, 4, 1}, []int64{s.Submitted, s.Pending, s.Running, s.Finished, s.Failed})
}

func groupZero(t *testing.T) {
	var g executor.Group
	var ran atomic.Int32
	links := make(chan int)
	g.Go(func() error { links <- 1; ran.Add(1); return nil })
	g.Go(func() error { <-links; ran.Add(1); return errRefused })
	require.True(t, g.TryGo(func() error { ran.Add(1); return nil }))
	within(t, "Wait", func() { assert.Same(t, errRefused, g.Wait()) })
	require.EqualValues(t, 3, ran.Load())
	var p executor.Group
	p.Go(func() error { crashHere("in a zero group"); return nil })
	requirePanic(t, p.Wait())
}
