package executortest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// lendCases: a task that waits lends its slot.
func lendCases(t *testing.T, open opener) {
	for how := range waits {
		check(t, open, "G7/"+how+"Lends", func(t *testing.T, ex executor.Executor) { waitLends(t, ex, how, "") })
	}
	for under := range derived {
		check(t, open, "G7/ResultLendsUnderCtxWith"+under, func(t *testing.T, ex executor.Executor) { waitLends(t, ex, "Result", under) })
		check(t, open, "G7/GatherLendsUnderCtxWith"+under, func(t *testing.T, ex executor.Executor) { waitLends(t, ex, "Gather", under) })
	}
	check(t, open, "G7/RecursionEnds", recursion)
	checkNear(t, open, "G7/DepthBoundsGoroutines", depthBounds)
	check(t, open, "G7/DeepRecursionEnds", deepRecursion)
	check(t, open, "G7/AwaitedGoesFirstAndWaiterResumesFirst", awaitedFirst)
	check(t, open, "G7/DoneDoesNotLend", doneDoesNotLend)
	check(t, open, "G7/ManyWaitForOneKey", waitForOneKey)
	check(t, open, "G7/ChainInsideTask", chainInside)
	checkNear(t, open, "G7/WhatIsAwaitedNeedNotBeQueued", awaitedElsewhere)
	checkNear(t, open, "G7/AcrossExecutors", func(t *testing.T, ex executor.Executor) { acrossExecutors(t, ex, open(t)) })
	check(t, open, "R1/WaitingIsNotRunning", waitingIsNotRunning)
}

// waitLends has more tasks than slots wait, in one way, for tasks of their own.
func waitLends(t *testing.T, ex executor.Executor, how, under string) {
	b := newBoard(t, ex)
	fs := make([]*futures.Future[int], 2*ex.Slots()+1)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, waitBy, Wait{b.name, how, under})
	}
	b.wait(ex.Slots(), "start") // all slots are taken by those that are going to wait
	b.open()
	for _, f := range fs {
		require.Equal(t, 6, result(t, f))
	}
	s := ex.Stats()
	require.Zero(t, s.Waiting)
	require.Zero(t, s.Running)
}

func recursion(t *testing.T, ex executor.Executor) {
	n, want := 14, 377
	if isNear(ex) {
		n, want = 19, 4181
	}
	require.Equal(t, want, result(t, executor.Submit(t.Context(), ex, fib, n)))
	requireSlots(t, ex)
}

// depthBounds counts the goroutines of a recursion that is wide as well as deep.
func depthBounds(t *testing.T, ex executor.Executor) {
	before := runtime.NumGoroutine()
	var most atomic.Int64
	var fib func(ctx context.Context, n int) (int, error)
	fib = func(ctx context.Context, n int) (int, error) {
		for now := int64(runtime.NumGoroutine() - before); ; {
			if was := most.Load(); now <= was || most.CompareAndSwap(was, now) {
				break
			}
		}
		if n < 2 {
			return n, nil
		}
		sum := 0
		vs, err := futures.Gather(ctx, executor.Submit(ctx, ex, fib, n-1), executor.Submit(ctx, ex, fib, n-2))
		for _, v := range vs {
			sum += v
		}
		return sum, err
	}
	require.Equal(t, 2584, result(t, executor.Submit(t.Context(), ex, fib, 18)))
	// On each slot, one goroutine waits at each level of depth, and a few more come and go.
	require.LessOrEqual(t, most.Load(), int64(100*ex.Slots()))
}

func deepRecursion(t *testing.T, ex executor.Executor) {
	depth := 500
	if isNear(ex) {
		depth = 5000
	}
	require.Equal(t, depth, result(t, executor.Submit(t.Context(), ex, descend, depth)))
	requireSlots(t, ex)
}

// awaitedFirst has a task wait for its child while others are queued before that.
func awaitedFirst(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, nest, Nest{b.name, "note"})
	started(t, f)
	var want []string
	var others []*futures.Future[string]
	for i := range 50 {
		want = append(want, fmt.Sprint("other", i))
		others = append(others, executor.Submit(t.Context(), ex, note, b.post(want[i])))
	}
	b.open()
	require.Equal(t, "child", result(t, f))
	for _, f := range others {
		result(t, f)
	}
	if ex.Slots() == 1 && inProcess(ex) {
		require.Equal(t, append([]string{"start", "child", "resumed"}, want...), b.lines())
	}
}

// doneDoesNotLend has every slot taken by a task that waits for a child in ways that don't lend.
func doneDoesNotLend(t *testing.T, ex executor.Executor) {
	b, end, gate := newBoard(t, ex), newBoard(t, ex), newBoard(t, ex)
	gate.fillSlots(t.Context())
	var fs []*futures.Future[int]
	for range ex.Slots() {
		fs = append(fs, executor.Submit(t.Context(), ex, stare, Stare{b.name, end.name}))
	}
	gate.open() // all of them start before a child does
	b.wait(ex.Slots(), "start")
	eventually(t, "the children are queued", func() bool { return ex.Stats().Pending == int64(ex.Slots()) })
	require.Zero(t, ex.Stats().Waiting)
	b.open()
	b.wait(ex.Slots(), "saw")
	require.Equal(t, ex.Slots(), b.has("saw pending"), "%q", b.lines())
	end.open()
	for _, f := range fs {
		result(t, f)
	}
	b.wait(ex.Slots(), "child")
}

// waitForOneKey has many tasks wait for the run of one key that none of them can run.
func waitForOneKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	fs := make([]*futures.Future[string], 3*ex.Slots()+1)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, nest, Nest{b.name, "key"})
	}
	b.wait(ex.Slots(), "start")
	b.open()
	for _, f := range fs {
		require.Equal(t, "child", result(t, f))
	}
	require.GreaterOrEqual(t, b.has("child"), 1)
	requireSlots(t, ex)
}

func chainInside(t *testing.T, ex executor.Executor) {
	var fs []*futures.Future[int]
	for range 2*ex.Slots() + 1 {
		fs = append(fs, executor.Submit(t.Context(), ex, chainOf, 50))
	}
	for _, f := range fs {
		require.Equal(t, 50, result(t, f))
	}
}

// awaitedElsewhere has tasks on all slots wait for what a task resolves that is queued after them.
func awaitedElsewhere(t *testing.T, ex executor.Executor) {
	promise, resolve := futures.New[int]()
	var fs []*futures.Future[int]
	for range 2 * ex.Slots() {
		fs = append(fs, executor.Go(t.Context(), ex, promise.Result))
	}
	executor.Go(t.Context(), ex, func(context.Context) (bool, error) { return resolve(5, nil), nil })
	for _, f := range fs {
		require.Equal(t, 5, result(t, f))
	}
	requireSlots(t, ex)
}

// acrossExecutors recurses over two executors by turns.
func acrossExecutors(t *testing.T, one, two executor.Executor) {
	var fib func(ctx context.Context, n int) (int, error)
	fib = func(ctx context.Context, n int) (int, error) {
		here, ok := executor.FromContext(ctx)
		assert.True(t, ok)
		if n < 2 {
			return n, nil
		}
		other := map[executor.Executor]executor.Executor{one: two, two: one}[here]
		a, b := executor.Submit(ctx, other, fib, n-1), executor.Submit(ctx, other, fib, n-2)
		x, err := a.Result(ctx)
		if err != nil {
			return 0, err
		}
		y, err := b.Result(ctx)
		return x + y, err
	}
	require.Equal(t, 377, result(t, executor.Submit(t.Context(), one, fib, 14)))
	requireSlots(t, one)
	requireSlots(t, two)
}

func waitingIsNotRunning(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, nest, Nest{b.name, "hold"})
	b.wait(1, "start child")
	eventually(t, "one waits and one runs", func() bool {
		s := ex.Stats()
		return s.Waiting == 1 && s.Running == 1 && s.Pending == 0
	})
	require.Equal(t, futures.Running, f.State(), "it has started, whether it waits or not")
	b.open()
	require.Equal(t, "child", result(t, f))
	s := ex.Stats()
	require.Zero(t, s.Waiting)
	require.Zero(t, s.Running)
	require.EqualValues(t, 2, s.Finished)
}

func init() {
	executor.Register(fib)
	executor.Register(descend)
	executor.Register(nest)
	executor.Register(stare)
	executor.Register(chainOf)
}

// fib does it the slow way, by a task for each call.
func fib(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	a, b := executor.Submit(ctx, ex, fib, n-1), executor.Submit(ctx, ex, fib, n-2)
	x, err := a.Result(ctx)
	if err != nil {
		return 0, err
	}
	y, err := b.Result(ctx)
	return x + y, err
}

// descend has a task below it wait for a task below that, n deep.
func descend(ctx context.Context, n int) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if n == 0 || !ok {
		return 0, nil
	}
	below, err := executor.Submit(ctx, ex, descend, n-1).Result(ctx)
	return below + 1, err
}

// A Nest says what child a task is to have.
type Nest struct{ Board, Child string }

// nest waits for a child, which is a note, at once or under one key, or holds.
func nest(ctx context.Context, n Nest) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	s := sheetOf(n.Board)
	s.write("start")
	child := Post{n.Board, "child"}
	if n.Child == "hold" {
		return executor.Submit(ctx, ex, hold, child).Result(ctx)
	}
	select {
	case <-s.gate:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	var opts []executor.Option
	if n.Child == "key" {
		opts = append(opts, executor.WithKey(n.Board))
	}
	got, err := executor.Submit(ctx, ex, note, child, opts...).Result(ctx)
	s.write("resumed")
	return got, err
}

// Stare names the two boards that stare waits at.
type Stare struct{ Board, End string }

// stare waits for a child without lending, and writes down what the child did meanwhile.
func stare(ctx context.Context, s Stare) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	child := executor.Submit(context.WithoutCancel(ctx), ex, note, Post{s.Board, "child"})
	var wg sync.WaitGroup
	defer wg.Wait()
	under, cancel := context.WithCancel(context.Background())
	defer cancel()
	wg.Go(func() { _, _ = child.Result(under) }) // no task's ctx
	wg.Go(func() {
		select {
		case <-child.Done():
		case <-under.Done():
		}
	})
	sheetOf(s.Board).write("start")
	<-sheetOf(s.Board).gate
	sheetOf(s.Board).write("saw %v", child.State())
	<-sheetOf(s.End).gate
	return 1, nil
}

// chainOf waits for the last of a chain of n tasks.
func chainOf(ctx context.Context, n int) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	f := executor.Submit(ctx, ex, echo, n)
	for range n {
		f = executor.Then(ctx, ex, echo, f)
	}
	return f.Result(ctx)
}
