package executor_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// What was once wrong, each in the fewest steps that show it.

func TestChildOfKeyedRun(t *testing.T) {
	ex := newLocal(t, executor.Config{Threads: 2})
	inside, gate := make(chan context.Context, 1), make(chan struct{})
	run := func(ctx context.Context, _ int) (int, error) { inside <- ctx; <-gate; return 1, nil }
	ctx, end := context.WithCancel(context.Background())
	executor.Submit(ctx, ex, run, 0, executor.WithKey("k"))
	second := executor.Submit(context.Background(), ex, run, 0, executor.WithKey("k"))
	taskCtx := <-inside
	child := executor.Submit(taskCtx, ex, func(context.Context, int) (int, error) { <-gate; return 2, nil }, 0)
	child.Done() // somebody waits for it
	end()
	require.NoError(t, taskCtx.Err(), "the run goes on for the second")
	require.False(t, child.State().Done(), "%v", child)
	close(gate)
	require.NoError(t, second.Wait(t.Context()))
}

func TestReleaseOfKeyed(t *testing.T) {
	ex := newLocal(t, executor.Config{Threads: 1})
	gate := make(chan struct{})
	f := executor.Submit(context.Background(), ex, func(context.Context, int) (int, error) { <-gate; return 2, nil }, 0, executor.WithKey("k"))
	then := executor.Then(context.Background(), ex, func(_ context.Context, n int) (int, error) { return n, nil }, f)
	f.Release()
	require.False(t, f.State().Done(), "%v", f)
	close(gate)
	v, err := then.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, v)
}

func TestStatsOfCancelledWaiter(t *testing.T) {
	ex := newLocal(t, executor.Config{Threads: 1})
	gate := make(chan struct{})
	hold := func(context.Context, int) (int, error) { <-gate; return 2, nil }
	var b *futures.Future[int]
	a := executor.Go(context.Background(), ex, func(ctx context.Context) (int, error) {
		b = executor.Submit(context.WithoutCancel(ctx), ex, hold, 0)
		return b.Result(ctx)
	})
	for ex.Stats().Waiting != 1 || ex.Stats().Running != 1 {
	}
	a.Cancel(nil)
	s := ex.Stats()
	close(gate)
	require.Equal(t, [4]int64{1, 0, 0, 1}, [4]int64{s.Running, s.Waiting, s.Pending, s.Cancelled}, "running, waiting, pending, cancelled")
}

func TestStatsOfLentSlab(t *testing.T) {
	ex := newLocal(t, executor.Config{Threads: 1})
	gate := make(chan struct{})
	var fs []*futures.Future[int]
	set := make(chan struct{})
	fs = executor.SubmitAll(context.Background(), ex, func(ctx context.Context, i int) (int, error) {
		<-set
		if i == 0 {
			return fs[2].Result(ctx)
		}
		<-gate
		return i, nil
	}, []int{0, 1, 2, 3})
	close(set)
	for fs[2].State() != futures.Running {
	}
	s := ex.Stats()
	close(gate)
	require.Equal(t, [3]int64{1, 1, 2}, [3]int64{s.Running, s.Waiting, s.Pending}, "running, waiting, pending")
}

func TestObserverOrder(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	note := func(s string) func(executor.Event) {
		return func(executor.Event) { mu.Lock(); defer mu.Unlock(); seen = append(seen, s) }
	}
	ex := newLocal(t, executor.Config{Threads: 1, Observer: &executor.Observer{Submitted: note("submitted"), Finished: note("finished")}})
	ctx, end := context.WithCancel(context.Background())
	end()
	executor.Submit(ctx, ex, func(context.Context, int) (int, error) { return 0, nil }, 0)
	require.Equal(t, []string{"submitted", "finished"}, seen)
}

func TestObserverOfKeyed(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(s string) func(executor.Event) {
		return func(e executor.Event) { mu.Lock(); defer mu.Unlock(); seen[s] += e.Items }
	}
	ex := newLocal(t, executor.Config{Threads: 1, Observer: &executor.Observer{Submitted: note("submitted"), Started: note("started"), Finished: note("finished")}})
	f := executor.Submit(context.Background(), ex, func(context.Context, int) (int, error) { return 0, nil }, 0, executor.WithKey("k"))
	require.NoError(t, f.Wait(t.Context()))
	ex.Close()
	require.Equal(t, map[string]int{"submitted": 1, "started": 1, "finished": 1}, seen)
}

func TestObserverOfMap(t *testing.T) {
	for _, opts := range [][]executor.Option{nil, {executor.WithRetries(1)}} {
		var mu sync.Mutex
		seen := map[string]int{}
		note := func(s string) func(executor.Event) {
			return func(e executor.Event) { mu.Lock(); defer mu.Unlock(); seen[s] += e.Items }
		}
		ex := newLocal(t, executor.Config{Threads: 1, Observer: &executor.Observer{Submitted: note("submitted"), Finished: note("finished")}})
		require.NoError(t, executor.Map(context.Background(), ex, func(context.Context, int) (int, error) { return 0, nil }, make([]int, 10), opts...).Wait(t.Context()))
		ex.Close()
		require.Equal(t, map[string]int{"submitted": 10, "finished": 10}, seen)
	}
}

func TestCauseIsLost(t *testing.T) {
	cause := errors.New("cause")
	lost := 0
	for range 300 {
		ex := newLocal(t, executor.Config{Threads: 1})
		ctx, end := context.WithCancelCause(context.Background())
		inside := make(chan context.Context, 1)
		executor.Go(ctx, ex, func(ctx context.Context) (int, error) { inside <- ctx; <-ctx.Done(); return 0, nil })
		g := executor.Submit(<-inside, ex, func(ctx context.Context, _ int) (int, error) { return 0, nil }, 0) // queued
		end(cause)
		<-g.Done()
		if !errors.Is(g.Err(), cause) {
			lost++
		}
		ex.Close()
	}
	require.Zero(t, lost)
}

func TestKeyedStartsLate(t *testing.T) {
	late := 0
	for range 300 {
		ex := newLocal(t, executor.Config{Threads: 1})
		ctx, end := context.WithCancel(context.Background())
		on := make(chan struct{})
		executor.Go(ctx, ex, func(ctx context.Context) (int, error) { close(on); <-ctx.Done(); return 0, nil })
		<-on
		started := false
		executor.Submit(ctx, ex, func(context.Context, int) (int, error) { started = true; return 0, nil }, 0, executor.WithKey("k"))
		end()
		ex.Close()
		if started {
			late++
		}
	}
	require.Zero(t, late)
}

func TestPlainCallOnABackend(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	failed(t, executor.Submit(t.Context(), ex, strictUnregistered, 1), executor.ErrNotRegistered) // and it is not checked at all
}
func TestMapOfTasksRace(t *testing.T) {
	ex, err := executor.NewLocal(executor.Config{Threads: 2, Strict: true})
	require.NoError(t, err)
	defer ex.Close()
	items := make([]int, 2000)
	items[0] = 13
	for range 20 {
		require.ErrorIs(t, executor.Map(t.Context(), ex, toyDouble, items, executor.WithRetries(0)).Wait(t.Context()), errStrictKnown)
	}
}

// A task that is cancelled as it starts lets its input go like any other.
func TestCancelAtTheStartLetsTheInputGo(t *testing.T) {
	type load [1 << 10]byte
	l := newLocal(t, executor.Config{Threads: 2})
	size := func(_ context.Context, v *load) (int, error) { return len(v), nil }
	var held []*futures.Future[int]
	var values []weak.Pointer[load]
	for range 5000 {
		v := new(load)
		values = append(values, weak.Make(v))
		in := futures.Value(v)
		f := executor.Then(context.Background(), l, size, in)
		in.Release()
		for range len(held) % 100 {
			_ = f.Key() // a moment, up to what it takes to start
		}
		f.Cancel(nil)
		held = append(held, f)
	}
	require.NoError(t, l.Shutdown(t.Context()))
	runtime.GC()
	runtime.GC()
	kept := 0
	for _, w := range values {
		if w.Value() != nil {
			kept++
		}
	}
	require.Zero(t, kept, "inputs of tasks that are over")
	runtime.KeepAlive(held)
}
