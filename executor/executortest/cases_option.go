package executortest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// optionCases: wrong options and arguments, and who says so first.
func optionCases(t *testing.T, open opener) {
	check(t, open, "R11/WrongOptionIsErrConfig", wrongOptions)
	check(t, open, "R11/OrderOfChecks", orderOfChecks)
	check(t, open, "R11/NilPanics", nilPanics)
	check(t, open, "R11/OptionsTogether", optionsTogether)
	check(t, open, "R4/WorkersByName", workersByName)
	check(t, open, "R7/ArgumentIsEncodedAtSubmit", encodedAtSubmit)
	check(t, open, "R7/FunctionMustNotChangeItsArgument", changedArgument)
	checkNear(t, open, "R7/ValuesAreShared", sharedValues)
}

func wrongOptions(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	for name, opt := range map[string]executor.Option{
		"WithRetries":    executor.WithRetries(-1),
		"WithTimeout":    executor.WithTimeout(-time.Second),
		"WithBackoff":    executor.WithBackoff(-time.Second),
		"WithKillAfter":  executor.WithKillAfter(-time.Second),
		"WithChunkSize":  executor.WithChunkSize(3),
		"WithKeepGoing":  executor.WithKeepGoing(),
		"WithInFlight":   executor.WithInFlight(3),
		"WithUnordered":  executor.WithUnordered(),
		"WithFanIn":      executor.WithFanIn(3),
		"WithBroadcast":  executor.WithBroadcast(),
		"WithKey, empty": executor.WithKey(""),
	} {
		f := executor.Submit(t.Context(), ex, note, b.post("no"), opt)
		require.Equal(t, futures.Failed, f.State(), "%s, at once", name)
		require.ErrorIs(t, f.Err(), executor.ErrConfig, name)
		g := executor.Then(t.Context(), ex, note, futures.Value(b.post("no")), opt)
		require.ErrorIs(t, failure(t, g, futures.Failed), executor.ErrConfig, name)
		for _, f := range executor.SubmitAll(t.Context(), ex, note, []Post{b.post("no"), b.post("no")}, opt) {
			require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrConfig, name)
		}
	}
	never, _ := futures.New[int]()
	r := executor.Reduce(t.Context(), ex, sum, []*futures.Future[int]{never}, executor.WithFanIn(1))
	require.ErrorIs(t, failure(t, r, futures.Failed), executor.ErrConfig)
	_, err := executor.Scatter(t.Context(), ex, 1, executor.WithRetries(1))
	require.ErrorIs(t, err, executor.ErrConfig)
	for _, opt := range []executor.Option{executor.WithChunkSize(0), executor.WithChunkSize(-1), executor.WithKey("k")} {
		m := executor.Map(t.Context(), ex, note, []Post{b.post("no")}, opt)
		ended(t, m)
		require.ErrorIs(t, m.Err(), executor.ErrConfig)
	}
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Empty(t, b.lines())
}

// unregistered is a function that may not travel.
func unregistered(_ context.Context, n chan int) (int, error) { return cap(n), nil }

func orderOfChecks(t *testing.T, ex executor.Executor) {
	wrong := executor.WithRetries(-1)
	require.ErrorIs(t, executor.Submit(t.Context(), ex, unregistered, nil, wrong).Err(), executor.ErrConfig)
	f := executor.Submit(t.Context(), ex, unregistered, make(chan int, 3))
	if isNear(ex) {
		require.Equal(t, 3, result(t, f))
	} else {
		err := failure(t, f, futures.Failed)
		require.ErrorIs(t, err, executor.ErrNotRegistered)
		require.NotErrorIs(t, err, executor.ErrNotEncodable, "registered is looked at before encodable")
		require.Contains(t, err.Error(), "unregistered")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, futures.Cancelled, executor.Submit(over, ex, unregistered, nil, wrong).State())
	require.NoError(t, ex.Close())
	require.Equal(t, futures.Cancelled, executor.Submit(over, ex, unregistered, nil, wrong).State())
	require.ErrorIs(t, executor.Submit(t.Context(), ex, unregistered, nil, wrong).Err(), executor.ErrClosed)
	require.ErrorIs(t, executor.Submit(t.Context(), ex, unregistered, nil).Err(), executor.ErrClosed)
}

func nilPanics(t *testing.T, ex executor.Executor) {
	var fn func(context.Context, int) (int, error)
	var in *futures.Future[int]
	for name, call := range map[string]func(){
		"Submit":    func() { executor.Submit(t.Context(), ex, fn, 1) },
		"Then":      func() { executor.Then(t.Context(), ex, fn, futures.Value(1)) },
		"Then of":   func() { executor.Then(t.Context(), ex, echo, in) },
		"Go":        func() { executor.Go[int](t.Context(), ex, nil) },
		"SubmitAll": func() { executor.SubmitAll(t.Context(), ex, fn, []int{1}) },
		"Map":       func() { executor.Map(t.Context(), ex, fn, []int{1}) },
		"Reduce of": func() { executor.Reduce(t.Context(), ex, sum, []*futures.Future[int]{in}) },
		"on":        func() { executor.Submit(t.Context(), nil, echo, 1) },
	} {
		assert.Panics(t, call, name)
	}
	require.Zero(t, ex.Stats().Submitted)
}

func optionsTogether(t *testing.T, ex executor.Executor) {
	p, resolve := futures.New[int]()
	f := executor.Then(t.Context(), ex, echo, p, executor.WithName("n"), executor.WithKey("k"), executor.WithPriority(3),
		executor.WithRetries(2), executor.WithBackoff(time.Millisecond), executor.WithTimeout(time.Hour), executor.WithAtMostOnce(),
		executor.WithNoWait())
	resolve(9, nil)
	require.Equal(t, 9, result(t, f))
	require.Equal(t, "k", f.Key())
	if inProcess(ex) {
		require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithKillAfter(time.Hour))))
	}
}

func workersByName(t *testing.T, ex executor.Executor) {
	name := ex.Stats().Workers[0].Name
	for range 20 {
		require.Equal(t, name, result(t, executor.Submit(t.Context(), ex, whoami, 1, executor.WithWorkers(name))).Worker)
	}
	f := executor.Submit(t.Context(), ex, echo, 1, executor.WithWorkers("no such worker"))
	if inProcess(ex) {
		require.Equal(t, 1, result(t, f), "near it is ignored")
	} else {
		require.Equal(t, futures.Failed, f.State(), "at once")
		require.ErrorIs(t, f.Err(), executor.ErrConfig)
	}
	require.ErrorIs(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithWorkers()).Err(), executor.ErrConfig)
}

// encodedAtSubmit changes an argument too early, which only one that travels survives.
func encodedAtSubmit(t *testing.T, ex executor.Executor) {
	if isNear(ex) {
		t.Skip("near it is the argument itself")
	}
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	arg := []int{1, 2, 3}
	f := executor.Submit(t.Context(), ex, sum, arg)
	g := executor.Submit(t.Context(), ex, sum, arg, executor.WithRetries(1))
	arg[0] = 100
	b.open()
	require.Equal(t, 6, result(t, f))
	require.Equal(t, 6, result(t, g))
}

func changedArgument(t *testing.T, ex executor.Executor) {
	if !inProcess(ex) || isNear(ex) {
		t.Skip("strict mode only")
	}
	arg := []int{1, 2, 3}
	err := failure(t, executor.Submit(t.Context(), ex, scribble, arg), futures.Failed)
	require.ErrorIs(t, err, executor.ErrArgumentChanged)
	require.Equal(t, []int{1, 2, 3}, arg, "it had a copy")
	in := executor.Submit(t.Context(), ex, doubles, arg)
	require.ErrorIs(t, failure(t, executor.Then(t.Context(), ex, scribble, in), futures.Failed), executor.ErrArgumentChanged)
	require.Equal(t, []int{2, 4, 6}, result(t, in), "what others may read is as it was")
}

func sharedValues(t *testing.T, ex executor.Executor) {
	arg := []int{1, 2, 3}
	in := executor.Submit(t.Context(), ex, doubles, arg)
	next := executor.Then(t.Context(), ex, itself, in)
	require.Same(t, &result(t, in)[0], &result(t, in)[0])
	require.Same(t, &result(t, in)[0], &result(t, next)[0], "near nothing is copied")
	require.Same(t, &arg[0], &result(t, executor.Submit(t.Context(), ex, itself, arg))[0])
}

func init() {
	executor.Register(scribble)
	executor.Register(doubles)
	executor.Register(itself)
}

// scribble does what it must not.
func scribble(_ context.Context, ns []int) (int, error) {
	ns[0]++
	return ns[0], nil
}

func doubles(_ context.Context, ns []int) ([]int, error) {
	out := make([]int, len(ns))
	for i, n := range ns {
		out[i] = 2 * n
	}
	return out, nil
}

func itself(_ context.Context, ns []int) ([]int, error) { return ns, nil }
