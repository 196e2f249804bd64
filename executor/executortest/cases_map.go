package executortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// mapCases are those of Map: G14, G15, G17, and what a Batch can do.
func mapCases(t *testing.T, open func(t *testing.T) executor.Executor) {
	check(t, open, "G14/ResultsAreByPosition", mapByPosition)
	check(t, open, "G14/LaterItemsMayEndFirst", mapBackwards)
	check(t, open, "G14/NoItemsAreFinishedAtOnce", mapOfNothing)
	check(t, open, "G14/CtxEndsEveryItem", mapCtxEnds)
	check(t, open, "G14/DeadlineOfCtxIsKept", mapDeadline)
	check(t, open, "G14/EndedCtxStartsNothing", mapEndedCtx)
	check(t, open, "G14/ValuesOfCtxNear", mapCtxValues)
	check(t, open, "G14/ItemCancelsWhatItSubmitted", mapItemScope)
	check(t, open, "G17/ItemsCannotTellTheirChunks", mapItemInfo)
	check(t, open, "G8/ClosedExecutorRefusesMap", mapClosed)
	check(t, open, "R11/WrongOptionsOfMap", mapWrongOptions)
	mapFailCases(t, open)
	mapRetryCases(t, open)
	mapChunkCases(t, open)
	batchCases(t, open)
	mapStressCases(t, open)
}

// chunkings are the ways to cut n items: the library's, and some fixed ones.
func chunkings(n int) map[string][]executor.Option {
	all := map[string][]executor.Option{"auto": nil}
	for _, size := range []int{1, 7, max(n, 1), 10*n + 1} {
		all[fmt.Sprint(size)] = []executor.Option{executor.WithChunkSize(size)}
	}
	return all
}

func mapByPosition(t *testing.T, ex executor.Executor) {
	for _, n := range []int{1, 2, 3, ex.Slots(), ex.Slots() + 1, 17, 1000} {
		for name, opts := range chunkings(n) {
			b := executor.Map(t.Context(), ex, doStep, steps(n, nil), opts...)
			got, err := b.Results(soon(t))
			require.NoError(t, err)
			require.Equal(t, answers(n), got, "%d items, chunks %s", n, name)
			require.Equal(t, futures.Finished, b.State())
			require.NoError(t, b.Err())
			require.Equal(t, n, b.Len())
		}
	}
	order := rand.Perm(500)
	items := make([]step, len(order))
	for at, i := range order {
		items[at] = step{I: i}
	}
	got, err := executor.Map(t.Context(), ex, doStep, items).Results(soon(t))
	require.NoError(t, err)
	for at, i := range order {
		require.Equal(t, answer(i), got[at], "at %d", at)
	}
}

func mapBackwards(t *testing.T, ex executor.Executor) {
	const n = 12
	items := steps(n, func(s *step) { s.Nap = time.Duration(n-s.I) * time.Millisecond })
	got, err := executor.Map(t.Context(), ex, doStep, items, executor.WithChunkSize(1)).Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, answers(n), got)
}

func mapOfNothing(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sleepers(ctx, t, ex) // no slot is needed for it
	for name, items := range map[string][]step{"nil": nil, "empty": {}} {
		for _, opts := range [][]executor.Option{nil, {executor.WithChunkSize(3)}, {executor.WithKeepGoing()}, {executor.WithRetries(1)}} {
			b := executor.Map(ctx, ex, doStep, items, opts...)
			require.Equal(t, futures.Finished, b.State(), name)
			require.NoError(t, b.Err())
			await(t, "Done", b.Done())
			got, err := b.Results(soon(t))
			require.NoError(t, err)
			require.Empty(t, got)
			out, err := b.Outcomes(soon(t))
			require.NoError(t, err)
			require.Empty(t, out)
			for range b.All(soon(t)) {
				t.Fatal("All yielded something")
			}
			for range b.AsCompleted(soon(t)) {
				t.Fatal("AsCompleted yielded something")
			}
			require.Empty(t, result(t, b.Future()))
			require.Empty(t, b.Futures())
			require.Zero(t, b.Len())
			done, total := b.Progress()
			require.Equal(t, []int{0, 0}, []int{done, total})
			require.False(t, b.Cancel(errCause))
			called := make(chan struct{})
			b.OnDone(func(*futures.Batch[int]) { close(called) })
			await(t, "OnDone", called)
		}
	}
}

// mapCtxEnds: each slot has an item that waits for the end of its ctx. What is pending is
// kept from starting before that comes, so no slot gets to a second item.
func mapCtxEnds(t *testing.T, ex executor.Executor) {
	for range 50 {
		for name, opts := range chunkings(50) {
			b := newBoard(t, ex)
			ctx, cancel := context.WithCancelCause(t.Context())
			batch := executor.Map(ctx, ex, doStep, steps(50, func(s *step) { s.Do, s.Board = blocks, b.name }), opts...)
			b.wait(1, "start ")
			require.False(t, batch.State().Done())
			cancel(errCause)
			_, err := batch.Results(soon(t))
			require.ErrorIs(t, err, futures.ErrCancelled, name)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, errCause)
			require.Equal(t, futures.Cancelled, batch.State())
			eventually(t, "all that started return", func() bool { return b.has("start ") == b.has("end ") })
			most := 25
			if inProcess(ex) {
				most = ex.Slots()
			}
			require.LessOrEqual(t, b.has("start "), most, "chunks %s: what had not started was started", name)
		}
	}
}

func mapDeadline(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	b := executor.Map(ctx, ex, doStep, steps(20, func(s *step) { s.Do = blocks }))
	_, err := b.Results(soon(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, futures.ErrCancelled)
	require.NotErrorIs(t, err, context.Canceled)
	require.Equal(t, futures.Cancelled, b.State())
}

func mapEndedCtx(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	b := newBoard(t, ex)
	batch := executor.Map(ctx, ex, doStep, steps(20, func(s *step) { s.Board = b.name }))
	require.Equal(t, futures.Cancelled, batch.State())
	require.ErrorIs(t, batch.Err(), errCause)
	out, err := batch.Outcomes(soon(t))
	require.NoError(t, err)
	require.Len(t, out, 20)
	for _, o := range out {
		require.ErrorIs(t, o.Err, futures.ErrCancelled)
	}
	require.NoError(t, ex.Close())
	if inProcess(ex) {
		require.Zero(t, b.has("start "))
	}
}

func mapCtxValues(t *testing.T, ex executor.Executor) {
	ctx := context.WithValue(t.Context(), tagKey{}, "blue")
	want := "<nil>"
	if isNear(ex) {
		want = "blue"
	}
	for name, opts := range chunkings(20) {
		got, err := executor.Map(ctx, ex, tagOf, make([]int, 20), opts...).Results(soon(t))
		require.NoError(t, err)
		for _, tag := range got {
			require.Equal(t, want, tag, name)
		}
	}
}

// mapItemScope: an item's ctx is its own. What it has submitted ends with it, not with
// its chunk, and its neighbours' goes on until they end.
func mapItemScope(t *testing.T, ex executor.Executor) {
	for name, opts := range chunkings(8) {
		b := executor.Map(t.Context(), ex, leaveChild, steps(8, func(s *step) { s.Do = blocks }), opts...)
		got, err := b.Results(soon(t))
		require.NoError(t, err, name)
		for _, k := range got {
			err := failure(t, k.Inner, futures.Cancelled)
			require.ErrorIs(t, err, futures.ErrCancelled)
		}
	}
}

func mapItemInfo(t *testing.T, ex executor.Executor) {
	workers := map[string]bool{}
	for _, w := range ex.Stats().Workers {
		workers[w.Name] = true
	}
	for name, opts := range chunkings(40) {
		got, err := executor.Map(t.Context(), ex, describe, make([]int, 40), opts...).Results(soon(t))
		require.NoError(t, err)
		ids := map[string]bool{}
		for _, info := range got {
			require.Equal(t, 1, info.Attempt)
			require.NotEmpty(t, info.ID)
			require.Contains(t, info.Name, "describe")
			require.True(t, workers[info.Worker], "worker %q", info.Worker)
			ids[info.ID] = true
		}
		require.Contains(t, []int{1, 40}, len(ids), "chunks %s: items can tell where they were cut", name)
	}
}

func mapClosed(t *testing.T, ex executor.Executor) {
	require.NoError(t, ex.Close())
	b := executor.Map(t.Context(), ex, doStep, steps(5, nil))
	require.Equal(t, futures.Failed, b.State())
	_, err := b.Results(soon(t))
	require.ErrorIs(t, err, executor.ErrClosed)
	n := 0
	for _, err := range b.All(soon(t)) {
		require.ErrorIs(t, err, executor.ErrClosed)
		n++
	}
	require.Equal(t, 1, n, "All yields the error once")
}

func mapWrongOptions(t *testing.T, ex executor.Executor) {
	for name, opt := range map[string]executor.Option{
		"retries": executor.WithRetries(-1), "chunk": executor.WithChunkSize(-1),
		"timeout": executor.WithTimeout(-time.Second), "backoff": executor.WithBackoff(-1),
		"in flight": executor.WithInFlight(3), "unordered": executor.WithUnordered(), "fan-in": executor.WithFanIn(3),
	} {
		b := executor.Map(t.Context(), ex, doStep, steps(3, nil), opt)
		_, err := b.Results(soon(t))
		require.ErrorIs(t, err, executor.ErrConfig, name)
		require.Equal(t, futures.Failed, b.State(), name)
	}
	require.Panics(t, func() { executor.Map[step, int](t.Context(), ex, nil, nil) }, "a nil function")
	require.Panics(t, func() { executor.Map(t.Context(), nil, doStep, nil) }, "a nil executor")
}
