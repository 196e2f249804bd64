package executortest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// pendingCases: what has not started is bounded, here by room.
func pendingCases(t *testing.T, open opener, room int) {
	for name, body := range map[string]func(t *testing.T, ex executor.Executor, room int){
		"G12/SubmitBlocksUntilThereIsRoom": submitBlocks,
		"G12/NoWaitIsErrFull":              noWait,
		"G12/InputsAwaitedCount":           inputsCount,
		"G12/CancelMakesRoom":              cancelMakesRoom,
		"G12/CtxEndsTheWaitForRoom":        ctxEndsBlocked,
		"G12/CloseEndsTheWaitForRoom":      closeEndsBlocked,
		"G12/SubmitAllBlocksItemByItem":    submitAllBlocks,
		"G12/SubmitAllNoWait":              submitAllNoWait,
		"G12/MapBlocksItemByItem":          mapBlocks,
		"G12/SubmitInTaskNeverBlocks":      neverBlocksInTask,
		"G12/RetriesAndKeys":               boundedRetriesAndKeys,
		"G12/ManySubmitters":               manySubmitters,
	} {
		check(t, open, name, func(t *testing.T, ex executor.Executor) { body(t, ex, room) })
	}
}

// fill takes all slots and all room, until the board is opened.
func fill(t *testing.T, ex executor.Executor, b *board, room int) []*futures.Future[int] {
	b.fillSlots(context.Background())
	fs := make([]*futures.Future[int], room)
	for i := range fs {
		fs[i] = executor.Submit(context.Background(), ex, echo, i, executor.WithNoWait())
		require.Equal(t, futures.Pending, fs[i].State())
	}
	require.EqualValues(t, room, ex.Stats().Pending)
	return fs
}

func submitBlocks(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	var submitted atomic.Int64
	var wg sync.WaitGroup
	n := 5*room + 3
	fs := make([]*futures.Future[int], n)
	wg.Go(func() {
		for i := range fs {
			fs[i] = executor.Submit(t.Context(), ex, echo, i)
			submitted.Add(1)
		}
	})
	eventually(t, "all room is taken", func() bool { return submitted.Load() == int64(room) })
	full := executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait())
	require.ErrorIs(t, full.Err(), executor.ErrFull)
	require.EqualValues(t, room, submitted.Load())
	b.open()
	within(t, "Submit", wg.Wait)
	for i, f := range fs {
		require.Equal(t, i, result(t, f))
	}
}

func noWait(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	fs := fill(t, ex, b, room)
	for range 3 {
		f := executor.Submit(t.Context(), ex, note, b.post("no"), executor.WithNoWait())
		require.Equal(t, futures.Failed, f.State(), "at once")
		require.ErrorIs(t, f.Err(), executor.ErrFull)
		g := executor.Then(t.Context(), ex, note, futures.Value(b.post("no")), executor.WithNoWait())
		require.ErrorIs(t, g.Err(), executor.ErrFull)
	}
	batch := executor.Map(t.Context(), ex, note, []Post{b.post("no")}, executor.WithNoWait())
	ended(t, batch)
	require.ErrorIs(t, batch.Err(), executor.ErrFull)
	require.EqualValues(t, room, ex.Stats().Pending)
	b.open()
	for i, f := range fs {
		require.Equal(t, i, result(t, f))
	}
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait())))
	require.Zero(t, b.has("no"))
}

func inputsCount(t *testing.T, ex executor.Executor, room int) {
	p, resolve := futures.New[int]()
	fs := make([]*futures.Future[int], room)
	for i := range fs {
		fs[i] = executor.Then(t.Context(), ex, echo, p, executor.WithNoWait())
	}
	full := executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait())
	require.ErrorIs(t, full.Err(), executor.ErrFull, "although all slots are free")
	fs[0].Cancel(nil)
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait())))
	resolve(3, nil)
	for _, f := range fs[1:] {
		require.Equal(t, 3, result(t, f))
	}

	bad, resolve := futures.New[int]()
	for i := range fs {
		fs[i] = executor.Then(t.Context(), ex, echo, bad, executor.WithNoWait())
	}
	resolve(0, errRefused)
	for _, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Failed), errRefused)
	}
	b := newBoard(t, ex)
	fill(t, ex, b, room) // all room is there again
	b.open()
}

func cancelMakesRoom(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	fs := fill(t, ex, b, room)
	for i := range fs {
		require.True(t, fs[i].Cancel(nil))
		fs[i] = executor.Submit(t.Context(), ex, echo, i, executor.WithNoWait())
		require.Equal(t, futures.Pending, fs[i].State(), "%v", fs[i].Err())
	}
	waits := make(chan *futures.Future[int])
	go func() { waits <- executor.Submit(t.Context(), ex, echo, 77) }()
	require.True(t, fs[0].Cancel(nil))
	var f *futures.Future[int]
	within(t, "Submit, which a cancel has made room for", func() { f = <-waits })
	b.open()
	require.Equal(t, 77, result(t, f))
}

func ctxEndsBlocked(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	fill(t, ex, b, room)
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ws []futures.Waiter
	add := func(w futures.Waiter) {
		mu.Lock()
		defer mu.Unlock()
		ws = append(ws, w)
	}
	wg.Go(func() { add(executor.Submit(ctx, ex, note, b.post("no"))) })
	wg.Go(func() { add(executor.Submit(ctx, ex, note, b.post("no"), executor.WithKey("k"))) })
	wg.Go(func() {
		for _, f := range executor.SubmitAll(ctx, ex, note, []Post{b.post("no"), b.post("no")}) {
			add(f)
		}
	})
	wg.Go(func() { add(executor.Map(ctx, ex, note, []Post{b.post("no"), b.post("no")})) })
	cancel(errStop)
	within(t, "those that waited for room", wg.Wait)
	require.Len(t, ws, 5)
	for _, w := range ws {
		ended(t, w)
		require.Equal(t, futures.Cancelled, w.State())
		requireStopped(t, w.Err())
	}
	require.EqualValues(t, room, ex.Stats().Pending)
	b.open()
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Zero(t, b.has("no"))
}

func closeEndsBlocked(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	fs := fill(t, ex, b, room)
	var wg sync.WaitGroup
	more := make([]*futures.Future[int], 5)
	for i := range more {
		wg.Go(func() { more[i] = executor.Submit(context.Background(), ex, echo, i) })
	}
	var all []*futures.Future[int]
	wg.Go(func() { all = executor.SubmitAll(context.Background(), ex, echo, make([]int, 100)) })
	var batch *futures.Batch[int]
	wg.Go(func() { batch = executor.Map(context.Background(), ex, echo, make([]int, 100)) })
	within(t, "Close", func() { assert.NoError(t, ex.Close()) })
	within(t, "those that waited for room", wg.Wait)
	require.Len(t, all, 100)
	for _, f := range append(append(fs, more...), all...) {
		require.True(t, f.State().Done())
		require.ErrorIs(t, f.Err(), executor.ErrClosed)
	}
	require.ErrorIs(t, batch.Wait(soon(t)), executor.ErrClosed)
}

func submitAllBlocks(t *testing.T, ex executor.Executor, room int) {
	n := 50*room + 7
	args := make([]int, n)
	for i := range args {
		args[i] = i
	}
	for i, f := range executor.SubmitAll(t.Context(), ex, echo, args) {
		require.Equal(t, i, result(t, f))
	}

	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan []*futures.Future[int], 1)
	go func() { done <- executor.SubmitAll(ctx, ex, echo, args) }()
	eventually(t, "all room is taken", func() bool { return ex.Stats().Pending >= int64(room) })
	cancel(errStop)
	var fs []*futures.Future[int]
	within(t, "SubmitAll", func() { fs = <-done })
	require.Len(t, fs, n)
	for _, f := range fs {
		requireStopped(t, failure(t, f, futures.Cancelled))
	}
	b.open()
}

func submitAllNoWait(t *testing.T, ex executor.Executor, room int) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	fs := executor.SubmitAll(t.Context(), ex, echo, make([]int, 3*room), executor.WithNoWait())
	require.Len(t, fs, 3*room)
	for i, f := range fs {
		if i < room {
			require.Equal(t, futures.Pending, f.State(), "item %d: %v", i, f.Err())
		} else {
			require.ErrorIs(t, f.Err(), executor.ErrFull, "item %d", i)
		}
	}
	b.open()
	for _, f := range fs[:room] {
		result(t, f)
	}
}

func mapBlocks(t *testing.T, ex executor.Executor, room int) {
	items := make([]int, 50*room+7)
	for i := range items {
		items[i] = i
	}
	rs, err := executor.Map(t.Context(), ex, echo, items).Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, items, rs)

	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	done := make(chan *futures.Batch[int], 1)
	go func() { done <- executor.Map(t.Context(), ex, echo, items) }()
	eventually(t, "all room is taken", func() bool {
		return errors.Is(executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait()).Err(), executor.ErrFull)
	})
	select {
	case <-done:
		require.Fail(t, "Map did not wait for room")
	default:
	}
	b.open()
	within(t, "Map", func() { rs, err = (<-done).Results(soon(t)) })
	require.NoError(t, err)
	require.Equal(t, items, rs)
}

func neverBlocksInTask(t *testing.T, ex executor.Executor, room int) {
	var fs []*futures.Future[int]
	for range 2*ex.Slots() + 1 {
		fs = append(fs, executor.Submit(t.Context(), ex, flood, 4*room+4))
	}
	for _, f := range fs {
		require.Equal(t, 3*(4*room+4), result(t, f))
	}
	require.Equal(t, 55, result(t, executor.Submit(t.Context(), ex, fib, 10)))
}

func boundedRetriesAndKeys(t *testing.T, ex executor.Executor, room int) {
	for i := range 3 * room {
		f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 3}, executor.WithRetries(2))
		g := executor.Submit(t.Context(), ex, echo, i, executor.WithKey("k"))
		h := executor.Submit(t.Context(), ex, echo, i, executor.WithKey("k"))
		require.Equal(t, 3, result(t, f))
		require.Equal(t, result(t, g), result(t, h))
		g.Release()
		h.Release()
	}
	b := newBoard(t, ex)
	fill(t, ex, b, room) // all room is there again
	b.open()
}

// manySubmitters look, as they submit, for more pending tasks than there may be.
func manySubmitters(t *testing.T, ex executor.Executor, room int) {
	var wg sync.WaitGroup
	var sum atomic.Int64
	ctx := soon(t)
	for s := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				f := executor.Submit(t.Context(), ex, echo, 1)
				switch (i + s) % 10 {
				case 0:
					if f.Cancel(nil) {
						sum.Add(1)
						continue
					}
				case 1:
					_ = f.Wait(ctx)
				}
				f.OnDone(func(f *futures.Future[int]) {
					n, _ := f.Result(ctx)
					sum.Add(int64(n))
				})
			}
		})
	}
	within(t, "all submits", wg.Wait)
	eventually(t, "all have run", func() bool { return sum.Load() == 8000 })
	b := newBoard(t, ex)
	fill(t, ex, b, room) // neither more nor less than before
	require.ErrorIs(t, executor.Submit(t.Context(), ex, echo, 1, executor.WithNoWait()).Err(), executor.ErrFull)
	b.open()
}

func init() { executor.Register(flood) }

// flood submits n tasks in each of three ways before it waits for the first, and adds up
// their results, of 1 each.
func flood(ctx context.Context, n int) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	ones := make([]int, n)
	var fs []*futures.Future[int]
	for i := range ones {
		ones[i] = 1
		under, cancel := context.WithCancel(ctx)
		defer cancel()
		fs = append(fs, executor.Submit(under, ex, echo, 1))
	}
	fs = append(fs, executor.SubmitAll(ctx, ex, echo, ones)...)
	batch := executor.Map(ctx, ex, echo, ones)
	total, err := gathered(futures.Gather(ctx, fs...))
	if err != nil {
		return 0, err
	}
	more, err := gathered(batch.Results(ctx))
	return total + more, err
}
