package executor_test

import (
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// toyGate holds functions up, by name.
var toyGates sync.Map

func toyGate(t *testing.T) string {
	toyGates.Store(t.Name(), make(chan struct{}))
	return t.Name()
}

func toyOpen(name string) { g, _ := toyGates.Load(name); close(g.(chan struct{})) }

// toyWait waits at a gate, or for its ctx.
func toyWait(ctx context.Context, name string) (string, error) {
	g, _ := toyGates.Load(name)
	select {
	case <-g.(chan struct{}):
		return name, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// toyFlaky succeeds in its third attempt.
func toyFlaky(ctx context.Context, n int) (int, error) {
	switch info, _ := executor.TaskFromContext(ctx); {
	case n < 0:
		return 0, executor.Permanent(errStrictKnown)
	case info.Attempt == 1:
		return 0, errStrictKnown
	case info.Attempt == 2:
		panic("again")
	default:
		return n * info.Attempt, nil
	}
}

func toyLeaves(_ context.Context, how string) (string, error) {
	switch how {
	case "panic":
		panic(errStrictKnown)
	case "goexit":
		runtime.Goexit()
	case "error":
		return "", errStrictKnown
	}
	return how, nil
}

// toyFib submits to the executor that runs it.
func toyFib(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	ex, _ := executor.FromContext(ctx)
	a := executor.Submit(ctx, ex, toyFib, n-1)
	b := executor.Submit(ctx, ex, toyFib, n-2)
	both, err := futures.Gather(ctx, a, b)
	if err != nil {
		return 0, err
	}
	return both[0] + both[1], nil
}

func toyDouble(_ context.Context, n int) (int, error) {
	if n == 13 {
		return 0, errStrictKnown
	}
	return 2 * n, nil
}

func init() {
	executor.Register(toyWait)
	executor.Register(toyFlaky)
	executor.Register(toyLeaves)
	executor.Register(toyFib)
	executor.Register(toyDouble)
}

func TestToySubmit(t *testing.T) {
	ex := newToy(t, 2, executor.Config{})
	v, err := executor.Submit(t.Context(), ex, toyDouble, 4).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 8, v)
	f := executor.Submit(t.Context(), ex, toyDouble, 13)
	require.Same(t, errStrictKnown, f.Wait(t.Context()))
	failed(t, executor.Submit(t.Context(), ex, strictUnregistered, 1), executor.ErrNotRegistered)
	failed(t, executor.Submit(t.Context(), ex, toyDouble, 1, executor.WithRetries(-1)), executor.ErrConfig)

	var panicked *futures.PanicError
	err = executor.Submit(t.Context(), ex, toyLeaves, "panic").Wait(t.Context())
	require.ErrorAs(t, err, &panicked)
	require.ErrorIs(t, err, errStrictKnown)
	require.Contains(t, string(panicked.Stack), "toyLeaves")
	require.NotContains(t, string(panicked.Stack), "runAttempt")
	failed(t, executor.Submit(t.Context(), ex, toyLeaves, "goexit"), futures.ErrGoexit)
}

func TestToyInputs(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	f, resolve := futures.New[int]()
	then := executor.Then(t.Context(), ex, toyDouble, executor.Then(t.Context(), ex, toyDouble, f))
	sum := executor.Submit(t.Context(), ex, strictSum, strictIn{One: f, Many: []*futures.Future[int]{then}, Plus: 1})
	lost := executor.Then(t.Context(), ex, toyDouble, futures.Error[int](io.EOF))
	require.Equal(t, futures.Pending, sum.State())
	resolve(10, nil)
	got, err := sum.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 51, got)
	require.Equal(t, io.EOF, lost.Wait(t.Context()))
}

func TestToyMany(t *testing.T) {
	ex := newToy(t, 3, executor.Config{})
	items := make([]int, 50)
	for i := range items {
		items[i] = i
	}
	var want []int
	for i := range items {
		want = append(want, 2*i)
	}
	want[13] = 0

	fs := executor.SubmitAll(t.Context(), ex, toyDouble, items)
	for i, o := range futures.Settle(t.Context(), fs...) {
		require.Equal(t, want[i], o.Value)
	}
	b := executor.Map(t.Context(), ex, toyDouble, items, executor.WithKeepGoing())
	outs, err := b.Outcomes(t.Context())
	require.NoError(t, err)
	for i, o := range outs {
		require.Equal(t, want[i], o.Value)
		require.Equal(t, i == 13, o.Err != nil)
	}
	require.Equal(t, futures.Finished, b.State())

	i := 0
	for v, err := range executor.MapSeq(t.Context(), ex, toyDouble, slices.Values(items), executor.WithKeepGoing()) {
		require.Equal(t, want[i], v)
		require.Equal(t, i == 13, err != nil)
		i++
	}
	var got []int
	for v := range executor.MapSeq(t.Context(), ex, toyDouble, slices.Values(items), executor.WithUnordered(), executor.WithKeepGoing()) {
		got = append(got, v)
	}
	require.ElementsMatch(t, want, got)

	var ins []*futures.Future[int]
	for i := range 40 {
		ins = append(ins, futures.Value(i))
	}
	total, err := executor.Reduce(t.Context(), ex, strictTotal, ins, executor.WithFanIn(3)).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 780, total)
}

func TestToyRetries(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	v, err := executor.Submit(t.Context(), ex, toyFlaky, 5, executor.WithRetries(2), executor.WithBackoff(time.Microsecond)).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 15, v)
	var panicked *futures.PanicError
	require.ErrorAs(t, executor.Submit(t.Context(), ex, toyFlaky, 5, executor.WithRetries(1)).Wait(t.Context()), &panicked)
	require.Same(t, errStrictKnown, executor.Submit(t.Context(), ex, toyFlaky, -1, executor.WithRetries(9)).Wait(t.Context()))
	all, err := executor.Map(t.Context(), ex, toyFlaky, []int{1, 2, 3}, executor.WithRetries(2)).Results(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{3, 6, 9}, all)
}

func TestToyTimeout(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	gate := toyGate(t) // which stays closed
	f := executor.Submit(t.Context(), ex, toyWait, gate, executor.WithTimeout(time.Millisecond), executor.WithRetries(1))
	failed(t, f, context.DeadlineExceeded)
}

func TestToyKeys(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	gate := toyGate(t)
	a := executor.Submit(t.Context(), ex, toyWait, gate, executor.WithKey("k"))
	b := executor.Submit(t.Context(), ex, toyWait, "no such gate", executor.WithKey("k"))
	failed(t, executor.Submit(t.Context(), ex, toyLeaves, "", executor.WithKey("k")), executor.ErrKeyConflict)
	require.True(t, a.Cancel(errStrictKnown))
	require.ErrorIs(t, a.Err(), errStrictKnown)
	require.False(t, b.State().Done())
	toyOpen(gate)
	v, err := b.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, gate, v)
}

func TestToyCancel(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	gate := toyGate(t) // which stays closed
	ctx, end := context.WithCancelCause(t.Context())
	running := executor.Submit(ctx, ex, toyWait, gate)
	for running.State() != futures.Running {
		runtime.Gosched()
	}
	pending := executor.Submit(t.Context(), ex, toyLeaves, "")
	next := executor.Submit(t.Context(), ex, toyLeaves, "next")
	then := executor.Then(t.Context(), ex, toyLeaves, pending)
	require.True(t, pending.Cancel(io.EOF))
	require.Equal(t, futures.Cancelled, then.State())
	require.ErrorIs(t, then.Err(), io.EOF)
	end(errStrictKnown)
	require.ErrorIs(t, running.Wait(t.Context()), errStrictKnown)
	require.Equal(t, futures.Cancelled, running.State())
	v, err := next.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, "next", v)
}

func TestToyLendsSlots(t *testing.T) {
	for _, slots := range []int{1, 2, 5} {
		ex := newToy(t, slots, executor.Config{})
		v, err := executor.Submit(t.Context(), ex, toyFib, 12).Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, 144, v)
	}
}

func TestToyRoom(t *testing.T) {
	ex := newToy(t, 1, executor.Config{MaxPending: 1})
	gate := toyGate(t)
	a := executor.Submit(t.Context(), ex, toyWait, gate)
	for a.State() != futures.Running {
		runtime.Gosched()
	}
	b := executor.Submit(t.Context(), ex, toyWait, gate)
	failed(t, executor.Submit(t.Context(), ex, toyWait, gate, executor.WithNoWait()), executor.ErrFull)
	time.AfterFunc(time.Millisecond, func() { toyOpen(gate) })
	c := executor.Submit(t.Context(), ex, toyWait, gate) // blocks until b has started
	require.NotEqual(t, futures.Pending, b.State())
	require.NoError(t, c.Wait(t.Context()))
}

func TestToyGroupAndTheRest(t *testing.T) {
	ex := newToy(t, 1, executor.Config{})
	g, ctx := executor.NewGroup(t.Context(), ex)
	g.Go(func() error { return errStrictKnown })
	g.Go(func() error { <-ctx.Done(); return nil })
	g.Go(func() error { panic("an error, too") })
	require.Error(t, g.Wait())
	require.Error(t, ctx.Err())

	outs, err := executor.RunOnAll(t.Context(), ex, toyDouble, 4)
	require.NoError(t, err)
	require.Equal(t, map[string]futures.Outcome[int]{"local": {Value: 8}}, outs)

	data, err := executor.Scatter(t.Context(), ex, 21)
	require.NoError(t, err)
	v, err := executor.Then(t.Context(), ex, toyDouble, data).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 42, v)
}

func TestToyIsObserved(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	count := func(what string) func(executor.Event) {
		return func(executor.Event) { mu.Lock(); defer mu.Unlock(); seen[what]++ }
	}
	ex := newToy(t, 1, executor.Config{Observer: &executor.Observer{
		Submitted: count("submitted"), Started: count("started"), Finished: count("finished"),
	}})
	f := executor.Submit(t.Context(), ex, toyFlaky, 5, executor.WithRetries(2))
	require.NoError(t, f.Wait(t.Context()))
	require.NoError(t, ex.Close()) // the last word comes after the value
	require.Equal(t, map[string]int{"submitted": 1, "started": 3, "finished": 1}, seen)
}
