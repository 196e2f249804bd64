package executortest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// keyCases: submits of one key share one run, and nothing else.
func keyCases(t *testing.T, open opener) {
	check(t, open, "G11/OneRunManyFutures", oneRun)
	check(t, open, "G11/SubmitsOfKeysTogether", keysTogether)
	check(t, open, "G11/CancelEndsOnlyThatFuture", cancelOneOfKey)
	check(t, open, "G11/CtxEndsOnlyThatFuture", ctxOfOneOfKey)
	check(t, open, "G11/LastCancelEndsTheRun", lastCancel)
	check(t, open, "G11/CancelOfPendingKey", cancelPendingKey)
	check(t, open, "G11/FailedKeyIsForgotten", failedKey)
	check(t, open, "G11/CancelledKeyIsForgotten", cancelledKey)
	check(t, open, "G11/FinishedKeyLastsUntilReleased", finishedKey)
	check(t, open, "G11/FinishedKeyLastsUntilCollected", collectedKey)
	check(t, open, "G11/AnotherFunctionIsAConflict", keyConflict)
	check(t, open, "G11/JoinersOfACancelledRunGetAnother", keyChurn)
	check(t, open, "G11/DependentsAreOfTheirFuture", dependentsOfKey)
	check(t, open, "G11/KeyWithInputs", keyWithInputs)
	check(t, open, "G11/EachExecutorHasItsKeys", func(t *testing.T, ex executor.Executor) { keysOfTwo(t, ex, open(t)) })
	check(t, open, "G11/RunOutlivesTheTaskThatBegan", keyOutlivesTask)
}

func oneRun(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	seen := map[*futures.Future[string]]bool{}
	var fs []*futures.Future[string]
	for i := range 50 {
		f := executor.Submit(t.Context(), ex, hold, b.post(fmt.Sprint("argument", i)), executor.WithKey("key"))
		require.Equal(t, "key", f.Key())
		require.False(t, seen[f], "each has its own")
		seen[f] = true
		fs = append(fs, f)
	}
	b.wait(1, "start")
	for _, f := range fs {
		started(t, f)
	}
	b.open()
	for _, f := range fs {
		require.Equal(t, "argument0", result(t, f), "the argument of the first")
	}
	require.Equal(t, 1, b.has("start"))
	s := ex.Stats()
	require.Equal(t, s.Submitted, s.Finished)
	require.Zero(t, s.Running+s.Pending)
}

func keysTogether(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	const keys, each = 20, 40
	var fs [keys * each]*futures.Future[string]
	var wg sync.WaitGroup
	for k := range each {
		wg.Go(func() {
			for i := range keys {
				key := fmt.Sprintf("key%02d", i)
				fs[k*keys+i] = executor.Submit(t.Context(), ex, note, b.post(key), executor.WithKey(key))
			}
		})
	}
	wg.Wait()
	for i, f := range fs {
		require.Equal(t, fmt.Sprintf("key%02d", i%keys), result(t, f))
	}
	require.Len(t, b.lines(), keys)
	runtime.KeepAlive(&fs)
}

func cancelOneOfKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	one := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	two := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	started(t, one, two)
	require.True(t, one.Cancel(errStop), "also of the one that began it")
	requireStopped(t, failure(t, one, futures.Cancelled))
	require.Equal(t, futures.Running, two.State())
	three := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	require.EqualValues(t, 1, ex.Stats().Cancelled)
	b.open()
	require.Equal(t, "v", result(t, two))
	require.Equal(t, "v", result(t, three))
	require.Zero(t, b.has("ctx"))
	require.Equal(t, 1, b.has("start"))
}

func ctxOfOneOfKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	ctx, cancel := context.WithCancelCause(t.Context())
	one := executor.Submit(ctx, ex, hold, b.post("v"), executor.WithKey("k"))
	two := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	started(t, one, two)
	cancel(errStop)
	requireStopped(t, failure(t, one, futures.Cancelled))
	late := executor.Submit(ctx, ex, hold, b.post("v"), executor.WithKey("k"))
	require.Equal(t, futures.Cancelled, late.State())
	b.open()
	require.Equal(t, "v", result(t, two))
	require.Zero(t, b.has("ctx"))
}

func lastCancel(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	ctx, cancel := context.WithCancel(t.Context())
	fs := []*futures.Future[string]{
		executor.Submit(t.Context(), ex, witness, b.post("w"), executor.WithKey("k")),
		executor.Submit(ctx, ex, witness, b.post("w"), executor.WithKey("k")),
		executor.Submit(t.Context(), ex, witness, b.post("w"), executor.WithKey("k")),
	}
	for _, f := range fs {
		started(t, f)
	}
	fs[0].Cancel(errRefused)
	cancel()
	require.Equal(t, futures.Running, fs[2].State())
	require.Empty(t, b.lines())
	fs[2].Cancel(errStop)
	b.wait(1, "w: context canceled;")
	require.EqualValues(t, 3, ex.Stats().Cancelled)
	eventually(t, "the function returns", func() bool { return ex.Stats().Abandoned == 0 })
}

func cancelPendingKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	fs := make([]*futures.Future[string], 10)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, note, b.post("note"), executor.WithKey("k"))
	}
	for _, f := range fs {
		require.Equal(t, futures.Pending, f.State())
		require.True(t, f.Cancel(errStop))
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	require.Zero(t, ex.Stats().Pending)
	b.open()
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	if inProcess(ex) {
		require.Zero(t, b.has("note"))
	}
}

func failedKey(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"string", "goexit", "error"} {
		fs := []*futures.Future[string]{
			executor.Submit(t.Context(), ex, crash, how, executor.WithKey("k")),
			executor.Submit(t.Context(), ex, crash, how, executor.WithKey("k")),
		}
		for _, f := range fs {
			failure(t, f, futures.Failed)
		}
		again := executor.Submit(t.Context(), ex, crash, "fine", executor.WithKey("k"))
		require.Equal(t, "fine", result(t, again), "after "+how)
		again.Release()
	}
}

func cancelledKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	old := executor.Submit(t.Context(), ex, hold, b.post("old"), executor.WithKey("k"))
	started(t, old)
	old.Cancel(errStop)
	b.open()
	require.Equal(t, "new", result(t, executor.Submit(t.Context(), ex, hold, b.post("new"), executor.WithKey("k"))))
	require.Equal(t, 2, result(t, executor.Submit(t.Context(), ex, echo, 2, executor.WithKey("other"))))
	if ex.Slots() == 1 {
		return
	}
	deaf := newBoard(t, ex) // also while the function still runs
	old = executor.Submit(t.Context(), ex, cling, deaf.post("old"), executor.WithKey("deaf"))
	started(t, old)
	old.Cancel(errStop)
	require.Equal(t, "new", result(t, executor.Submit(t.Context(), ex, same, "new", executor.WithKey("deaf"))), "a key that is forgotten takes another function")
	deaf.open()
}

func finishedKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	submit := func() *futures.Future[string] {
		return executor.Submit(t.Context(), ex, note, b.post("run"), executor.WithKey("k"))
	}
	one := submit()
	result(t, one)
	two := submit()
	require.Equal(t, futures.Finished, two.State(), "at once")
	require.Equal(t, "run", result(t, two))
	one.Release()
	require.Equal(t, "run", result(t, two), "one release is not the other's")
	_, err := one.Result(t.Context())
	require.ErrorIs(t, err, futures.ErrReleased)
	three := submit()
	result(t, three)
	require.Len(t, b.lines(), 1)
	two.Release()
	three.Release()
	three.Release()
	require.Equal(t, "run", result(t, submit()))
	require.Len(t, b.lines(), 2, "all were released")
}

func collectedKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	submit := func() {
		require.Equal(t, "run", result(t, executor.Submit(t.Context(), ex, note, b.post("run"), executor.WithKey("k"))))
	}
	submit()
	eventually(t, "a key whose futures were dropped is forgotten", func() bool {
		runtime.GC()
		time.Sleep(time.Millisecond) // cleanups run some time after
		submit()
		return len(b.lines()) > 1
	})
}

func keyConflict(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	one := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	err := failure(t, executor.Submit(t.Context(), ex, note, b.post("note"), executor.WithKey("k")), futures.Failed)
	require.ErrorIs(t, err, executor.ErrKeyConflict)
	require.ErrorIs(t, failure(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithKey("k")), futures.Failed), executor.ErrKeyConflict,
		"of other types, too")
	started(t, one)
	b.open()
	require.Equal(t, "v", result(t, one))
	require.ErrorIs(t, failure(t, executor.Submit(t.Context(), ex, note, b.post("note"), executor.WithKey("k")), futures.Failed), executor.ErrKeyConflict)
	one.Release()
	require.Equal(t, "note", result(t, executor.Submit(t.Context(), ex, note, b.post("note"), executor.WithKey("k"))))
}

// keyChurn has many join and leave a key; who does not leave gets a value.
func keyChurn(t *testing.T, ex executor.Executor) {
	var wg sync.WaitGroup
	ctx := soon(t)
	for g := range 8 {
		wg.Go(func() {
			for i := range 400 {
				f := executor.Submit(t.Context(), ex, echo, 5, executor.WithKey("k"))
				if (i+g)%2 == 0 {
					if f.Cancel(errStop) {
						assert.Equal(t, futures.Cancelled, f.State())
					}
					continue
				}
				n, err := f.Result(ctx)
				assert.NoError(t, err)
				assert.Equal(t, 5, n)
				f.Release()
			}
		})
	}
	within(t, "all who joined", wg.Wait)
	s := ex.Stats()
	require.Equal(t, s.Submitted, s.Finished+s.Cancelled)
	requireSlots(t, ex)
}

func dependentsOfKey(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	one := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	two := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("k"))
	ofOne, ofTwo := executor.Then(t.Context(), ex, same, one), executor.Then(t.Context(), ex, same, two)
	one.Cancel(errStop)
	requireStopped(t, failure(t, ofOne, futures.Cancelled))
	b.open()
	require.Equal(t, "v", result(t, ofTwo))
}

func keyWithInputs(t *testing.T, ex executor.Executor) {
	p, resolve := futures.New[int]()
	one := executor.Then(t.Context(), ex, echo, p, executor.WithKey("k"), executor.WithRetries(1))
	two := executor.Then(t.Context(), ex, echo, futures.Value(99), executor.WithKey("k"))
	require.Equal(t, futures.Pending, two.State())
	resolve(7, nil)
	require.Equal(t, 7, result(t, one))
	require.Equal(t, 7, result(t, two))

	bad, resolve := futures.New[int]()
	one = executor.Then(t.Context(), ex, echo, bad, executor.WithKey("bad"))
	resolve(0, errRefused)
	require.ErrorIs(t, failure(t, one, futures.Failed), errRefused)
	require.Equal(t, 8, result(t, executor.Submit(t.Context(), ex, echo, 8, executor.WithKey("bad"))), "it is forgotten")
}

func keysOfTwo(t *testing.T, one, two executor.Executor) {
	f := executor.Submit(t.Context(), one, echo, 1, executor.WithKey("k"))
	g := executor.Submit(t.Context(), two, echo, 2, executor.WithKey("k"))
	require.Equal(t, 1, result(t, f))
	require.Equal(t, 2, result(t, g))
}

// keyOutlivesTask has a task begin the run of a key that others have joined when it returns.
func keyOutlivesTask(t *testing.T, ex executor.Executor) {
	b, parent := newBoard(t, ex), newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, beginKey, Stare{b.name, parent.name})
	parent.wait(1, "begun")
	other := executor.Submit(t.Context(), ex, hold, b.post("v"), executor.WithKey("shared"))
	parent.open()
	require.Equal(t, 1, result(t, f))
	b.wait(1, "start")
	b.open()
	require.Equal(t, "v", result(t, other))
	require.Equal(t, 1, b.has("start"))
	require.Zero(t, b.has("ctx"))
}

func init() {
	executor.Register(noteHigh)
	executor.Register(beginKey)
}

// noteHigh writes "high" to the board of the post.
func noteHigh(ctx context.Context, p Post) (string, error) { return note(ctx, Post{p.Board, "high"}) }

// beginKey submits under a key, and returns when its second board is opened.
func beginKey(ctx context.Context, s Stare) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	executor.Submit(ctx, ex, hold, Post{s.Board, "v"}, executor.WithKey("shared"))
	end := sheetOf(s.End)
	end.write("begun")
	<-end.gate
	return 1, nil
}
