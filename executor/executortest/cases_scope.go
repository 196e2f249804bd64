package executortest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// scopeCases: the ctx of Submit is the task's parent, and a task's ctx that of what it submits.
func scopeCases(t *testing.T, open opener) {
	check(t, open, "G2/CtxEndCancelsAllUnderIt", ctxEndCancels)
	check(t, open, "G2/DeadlineCancels", deadlineCancels)
	check(t, open, "G2/EndedCtxKeepsFromStarting", endedCtxSubmit)
	check(t, open, "G2/CtxOfOneIsNotTheOthers", twoScopes)
	check(t, open, "G2/AnyCtxWillDo", oddContexts)
	check(t, open, "G2/ValuesAreSeenNearOnly", values)
	checkNear(t, open, "G2/DeadlineIsSeenNear", deadlineSeen)
	check(t, open, "G2/TaskCtxEndsWithFunction", ctxEndsWithFunction)
	check(t, open, "G2/ReturnCancelsChildren", returnCancelsChildren)
	check(t, open, "G2/WithoutCancelOutlives", withoutCancelOutlives)
	check(t, open, "G2/DerivedCtxCancelsChild", derivedCtxCancels)
	check(t, open, "G2/CancelReachesGrandchildren", grandchildren)
}

func ctxEndCancels(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithCancelCause(t.Context())
	running := sleepers(ctx, t, ex)
	b := newBoard(t, ex)
	promise, resolve := futures.New[string]()
	waits := executor.Then(ctx, ex, same, promise)
	pending := executor.SubmitAll(ctx, ex, note, make([]Post, 5000))
	pending = append(pending, executor.Submit(ctx, ex, note, b.post("note of Submit")), executor.Then(ctx, ex, same, pending[0]), waits)
	batch := executor.Map(ctx, ex, note, []Post{b.post("note of Map"), b.post("note of Map")})
	cancel(errStop)
	for _, f := range running {
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	for _, f := range pending {
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	ended(t, batch)
	require.Equal(t, futures.Cancelled, batch.State())
	requireStopped(t, batch.Err())
	require.True(t, resolve("late", nil), "a future that others depend on is not theirs to cancel")
	if inProcess(ex) {
		require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
		require.Empty(t, b.lines(), "what was cancelled while it was pending has started")
	}
}

// requireStopped checks an error of what was cancelled because of errStop.
func requireStopped(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, futures.ErrCancelled)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errStop)
	var ce *futures.CancelError
	require.ErrorAs(t, err, &ce)
	require.ErrorIs(t, ce.Cause, errStop)
}

func deadlineCancels(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	f := executor.Submit(ctx, ex, sleeper, 1)
	p, _ := futures.New[int]()
	waits := executor.Then(ctx, ex, echo, p)
	for _, f := range []*futures.Future[int]{f, waits} {
		err := failure(t, f, futures.Cancelled)
		require.ErrorIs(t, err, futures.ErrCancelled)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, context.Canceled)
	}
}

func endedCtxSubmit(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	in := futures.Value(b.post("then"))
	fs := executor.SubmitAll(ctx, ex, note, []Post{b.post("all"), b.post("all")})
	fs = append(fs, executor.Submit(ctx, ex, note, b.post("submit")), executor.Then(ctx, ex, note, in),
		executor.Submit(ctx, ex, note, b.post("retries"), executor.WithRetries(2)),
		executor.Submit(ctx, ex, note, b.post("key"), executor.WithKey("k")),
		executor.Submit(ctx, ex, note, b.post("wrong"), executor.WithRetries(-1)))
	for _, f := range fs {
		require.Equal(t, futures.Cancelled, f.State(), "at once")
		requireStopped(t, f.Err())
		require.False(t, f.Cancel(nil))
	}
	batch := executor.Map(ctx, ex, note, []Post{b.post("map")})
	ended(t, batch)
	require.Equal(t, futures.Cancelled, batch.State())
	requireStopped(t, batch.Err())
	_, err := executor.Scatter(ctx, ex, 1)
	require.ErrorIs(t, err, errStop)
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Empty(t, b.lines())
}

// twoScopes submits under two ctxs by turns, from two sides at a time.
func twoScopes(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	kept, keep := context.WithCancelCause(t.Context())
	defer keep(nil)
	lost, lose := context.WithCancelCause(t.Context())
	var mu sync.Mutex
	var good, bad []*futures.Future[int]
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range 500 {
				g, l := executor.Submit(kept, ex, echo, i), executor.Submit(lost, ex, echo, i)
				mu.Lock()
				good, bad = append(good, g), append(bad, l)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	lose(errStop)
	for _, f := range bad {
		require.Equal(t, futures.Cancelled, f.State())
		requireStopped(t, f.Err())
	}
	b.open()
	for i, f := range good {
		require.NoError(t, f.Wait(soon(t)), "future %d", i)
	}
}

// A listed ctx cannot be compared with ==.
type listed struct {
	context.Context
	tags []string
}

// A foreign ctx is none that the standard library knows, and Done is what ends it.
type foreign struct {
	context.Context
	done chan struct{}
	mu   *sync.Mutex
	err  *error
}

func (f foreign) Done() <-chan struct{} { return f.done }

func (f foreign) Value(any) any { return nil }

func (f foreign) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.err
}

func (f foreign) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*f.err = err
	close(f.done)
}

func oddContexts(t *testing.T, ex executor.Executor) {
	own := foreign{context.Background(), make(chan struct{}), new(sync.Mutex), new(error)}
	inner, cancel := context.WithCancel(context.Background())
	for name, odd := range map[string]struct {
		ctx context.Context
		end func()
	}{
		"not comparable":  {listed{inner, []string{"a"}}, cancel},
		"not of the kind": {own, func() { own.end(context.Canceled) }},
	} {
		require.Equal(t, 2, result(t, executor.Submit(odd.ctx, ex, echo, 2)), name)
		require.Equal(t, 3, result(t, executor.Submit(context.WithoutCancel(odd.ctx), ex, echo, 3)), name)
		fs := []*futures.Future[int]{
			executor.Submit(odd.ctx, ex, sleeper, 1), executor.Submit(odd.ctx, ex, sleeper, 1, executor.WithRetries(1)),
		}
		started(t, fs[0])
		odd.end()
		for _, f := range fs {
			require.ErrorIs(t, failure(t, f, futures.Cancelled), context.Canceled, name)
		}
	}
	for _, ctx := range []context.Context{context.Background(), listed{context.Background(), nil}} {
		require.Equal(t, 3, result(t, executor.Submit(ctx, ex, echo, 3)))
	}
}

func values(t *testing.T, ex executor.Executor) {
	want := "<nil>"
	if isNear(ex) {
		want = "tag"
	}
	ctx := context.WithValue(t.Context(), tagKey{}, "tag")
	require.Equal(t, want, result(t, executor.Submit(ctx, ex, tagOf, 1)))
	require.Equal(t, want, result(t, executor.Submit(ctx, ex, tagOf, 1, executor.WithTimeout(time.Hour))))
	require.Equal(t, want, result(t, executor.Then(ctx, ex, tagOf, futures.Value(1))))
	tags, err := executor.Map(ctx, ex, tagOf, []int{1}).Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, []string{want}, tags)
	require.Equal(t, "<nil>", result(t, executor.Submit(t.Context(), ex, tagOf, 1)), "of another ctx")
}

func deadlineSeen(t *testing.T, ex executor.Executor) {
	want := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), want)
	defer cancel()
	deadline := func(ctx context.Context) (time.Time, error) {
		d, ok := ctx.Deadline()
		if !ok {
			return d, errRefused
		}
		return d, nil
	}
	require.True(t, want.Equal(result(t, executor.Go(ctx, ex, deadline))))
	require.ErrorIs(t, failure(t, executor.Go(t.Context(), ex, deadline), futures.Failed), errRefused)
}

func ctxEndsWithFunction(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	require.Equal(t, "plain", result(t, executor.Submit(t.Context(), ex, leave, b.post("plain"))))
	require.Equal(t, "background", result(t, executor.Submit(context.Background(), ex, leave, b.post("background"))))
	require.Equal(t, "optioned", result(t, executor.Submit(t.Context(), ex, leave, b.post("optioned"), executor.WithTimeout(time.Hour))))
	for _, name := range []string{"plain", "background", "optioned"} {
		b.wait(1, name+": context canceled")
	}
}

func returnCancelsChildren(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	n := 3*ex.Slots() + 3
	require.Equal(t, n, result(t, executor.Submit(t.Context(), ex, abandonChildren, Family{Board: b.name, Children: n})))
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	eventually(t, "children that had started have ended", func() bool { return b.has("start") == b.has("ctx") })
	require.Zero(t, b.has("end"))
	eventually(t, "all children are cancelled", func() bool {
		s := ex.Stats()
		return s.Cancelled == int64(n) && s.Running == 0 && s.Pending == 0
	})
}

func withoutCancelOutlives(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	n := 2*ex.Slots() + 1
	result(t, executor.Submit(t.Context(), ex, abandonChildren, Family{Board: b.name, Children: n, Outlive: true}))
	b.open()
	b.wait(n, "end")
	require.Zero(t, b.has("ctx"))
}

func derivedCtxCancels(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	report := result(t, executor.Submit(t.Context(), ex, cancelOneChild, Family{Board: b.name}))
	require.Equal(t, kinds(&futures.CancelError{Cause: errStop})+" / 7", report)
}

func grandchildren(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, dynasty, Family{Board: b.name, Children: 4})
	b.wait(1, "start youngest")
	f.Cancel(errStop)
	requireStopped(t, failure(t, f, futures.Cancelled))
	b.wait(1, "ctx youngest")
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	eventually(t, "all of them are cancelled", func() bool { return ex.Stats().Cancelled == 5 })
}

// A Family says what a task is to do with tasks of its own.
type Family struct {
	Board    string
	Children int
	Outlive  bool
}

func init() {
	executor.Register(abandonChildren)
	executor.Register(cancelOneChild)
	executor.Register(dynasty)
}

var errNoExecutor = errors.New("executortest: no executor in the ctx")

// abandonChildren submits tasks that hold, and returns without waiting for them.
func abandonChildren(ctx context.Context, f Family) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	if f.Outlive {
		ctx = context.WithoutCancel(ctx)
	}
	for i := range f.Children {
		executor.Submit(ctx, ex, hold, Post{f.Board, fmt.Sprint(i)})
	}
	return f.Children, nil
}

// cancelOneChild has two children, of which it cancels one by the ctx it was submitted with.
func cancelOneChild(ctx context.Context, f Family) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	under, cancel := context.WithCancelCause(ctx)
	child := executor.Submit(under, ex, hold, Post{f.Board, "child"})
	cancel(errStop)
	_, err := child.Result(ctx)
	n, other := executor.Submit(ctx, ex, echo, 7).Result(ctx)
	return fmt.Sprint(kinds(err), " / ", n), other
}

// dynasty has a child that has a child, and so on, and waits for it.
func dynasty(ctx context.Context, f Family) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	f.Children--
	if f.Children == 0 {
		return executor.Submit(ctx, ex, hold, Post{f.Board, "youngest"}).Result(ctx)
	}
	return executor.Submit(ctx, ex, dynasty, f).Result(ctx)
}
