package executortest

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// dataCases are those of values on their way: SubmitAll, Scatter, RunOnAll, setup, and
// then Reduce (R9), futures in values (G20, R10) and Release (G21).
func dataCases(t *testing.T, open func(t *testing.T) executor.Executor) {
	check(t, open, "SubmitAll/AFutureAnItem", submitAll)
	check(t, open, "SubmitAll/OfNothing", submitAllNothing)
	check(t, open, "SubmitAll/RefusesEach", submitAllRefused)
	check(t, open, "Scatter/GivesTheValueBack", scatterValue)
	check(t, open, "Scatter/IsAnInput", scatterInput)
	check(t, open, "Scatter/Refusals", scatterRefused)
	check(t, open, "R2/RunOnAllIsOnceAWorker", runOnAll)
	check(t, open, "R2/RunOnAllRunsOnBusyWorkers", runOnAllBusy)
	check(t, open, "R2/RunOnAllTellsWhatBecameOfEach", runOnAllFails)
	check(t, open, "R2/RunOnAllWaitsNoLongerThanCtx", runOnAllCtx)
	check(t, open, "Setup/OnceInOrderBeforeTheFirstTask", setupOnce)
	reduceCases(t, open)
	referenceCases(t, open)
	releaseCases(t, open)
}

func submitAll(t *testing.T, ex executor.Executor) {
	for _, n := range []int{1, 2, 100, 5000} {
		fs := executor.SubmitAll(t.Context(), ex, doStep, steps(n, nil))
		require.Len(t, fs, n)
		got, err := futures.Gather(soon(t), fs...)
		require.NoError(t, err)
		require.Equal(t, answers(n), got)
	}
	// what becomes of one is nothing to the others
	gate := newBoard(t, ex)
	fs := executor.SubmitAll(t.Context(), ex, doStep, steps(60, func(s *step) {
		s.Do, s.Await = misdeed(s.I), gate.name
	}))
	require.True(t, fs[2].Cancel(errCause))
	fs[4].Release()
	gate.open()
	for i, f := range fs {
		v, err := f.Result(soon(t))
		switch i {
		case 2:
			require.ErrorIs(t, err, errCause)
			require.Equal(t, futures.Cancelled, f.State())
		case 4:
			require.ErrorIs(t, err, futures.ErrReleased)
		default:
			requireOutcome(t, i, v, err)
		}
	}
}

func submitAllNothing(t *testing.T, ex executor.Executor) {
	require.Empty(t, executor.SubmitAll(t.Context(), ex, doStep, nil))
	require.Empty(t, executor.SubmitAll(t.Context(), ex, doStep, []step{}))
	require.Panics(t, func() { executor.SubmitAll[step, int](t.Context(), ex, nil, nil) })
}

func submitAllRefused(t *testing.T, ex executor.Executor) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	for _, f := range executor.SubmitAll(ended, ex, doStep, steps(10, nil)) {
		require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
	}
	for _, f := range executor.SubmitAll(t.Context(), ex, doStep, steps(10, nil), executor.WithRetries(-1)) {
		require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrConfig)
	}
	for _, f := range executor.SubmitAll(t.Context(), ex, doStep, steps(10, func(s *step) { s.Do = thirds }), executor.WithRetries(2)) {
		result(t, f)
	}
	require.NoError(t, ex.Close())
	fs := executor.SubmitAll(t.Context(), ex, doStep, steps(10, nil))
	require.Len(t, fs, 10)
	for _, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrClosed)
	}
}

func scatterValue(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithBroadcast()}} {
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		f, err := executor.Scatter(t.Context(), ex, big, opts...)
		require.NoError(t, err)
		require.Equal(t, futures.Finished, f.State())
		require.True(t, bytes.Equal(big, result(t, f)))
		var none []int
		g, err := executor.Scatter(t.Context(), ex, none, opts...)
		require.NoError(t, err)
		require.Nil(t, result(t, g))
		h, err := executor.Scatter(t.Context(), ex, step{I: 7, Do: fails}, opts...)
		require.NoError(t, err)
		require.Equal(t, step{I: 7, Do: fails}, result(t, h))
		h.Release()
		_, err = h.Result(soon(t))
		require.ErrorIs(t, err, futures.ErrReleased)
		require.False(t, h.Cancel(nil))
	}
}

func scatterInput(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithBroadcast()}} {
		f, err := executor.Scatter(t.Context(), ex, answers(1000), opts...)
		require.NoError(t, err)
		one, err := executor.Scatter(t.Context(), ex, 14, opts...)
		require.NoError(t, err)
		var sums []*futures.Future[int]
		for range 3 * ex.Slots() { // wherever they run
			sums = append(sums, executor.Then(t.Context(), ex, sum, f))
			sums = append(sums, executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: one, Plus: 1}))
		}
		f.Release()
		one.Release()
		got, err := futures.Gather(soon(t), sums...)
		require.NoError(t, err)
		for i, v := range got {
			require.Equal(t, []int{3*1000*999/2 + 1000, 15}[i%2], v)
		}
	}
}

func scatterRefused(t *testing.T, ex executor.Executor) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	_, err := executor.Scatter(ended, ex, 1)
	require.ErrorIs(t, err, errCause)
	require.ErrorIs(t, err, context.Canceled)
	_, err = executor.Scatter(t.Context(), ex, 1, executor.WithRetries(-1))
	require.ErrorIs(t, err, executor.ErrConfig)
	if !isNear(ex) {
		_, err = executor.Scatter(t.Context(), ex, make(chan int))
		require.ErrorIs(t, err, executor.ErrNotEncodable)
	}
	require.NoError(t, ex.Close())
	_, err = executor.Scatter(t.Context(), ex, 1)
	require.ErrorIs(t, err, executor.ErrClosed)
}

func runOnAll(t *testing.T, ex executor.Executor) {
	want := map[string]bool{}
	for _, w := range ex.Stats().Workers {
		want[w.Name] = true
	}
	got, err := executor.RunOnAll(soon(t), ex, processOf, step{})
	require.NoError(t, err)
	require.Len(t, got, len(want))
	pids := map[int]bool{}
	for name, o := range got {
		require.True(t, want[name], "no worker is called %q", name)
		require.NoError(t, o.Err)
		pids[o.Value] = true
	}
	require.Len(t, pids, len(want), "once in each process")
	if inProcess(ex) {
		require.Contains(t, got, "local")
		require.Equal(t, os.Getpid(), got["local"].Value)
	}
	b := newBoard(t, ex)
	_, err = executor.RunOnAll(soon(t), ex, doStep, step{Board: b.name})
	require.NoError(t, err)
	require.Equal(t, len(want), b.has("start "), "once in each worker")
}

// runOnAllBusy: outside the slots, which all are taken, and with tasks waiting.
func runOnAllBusy(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	taken := b.fillSlots(t.Context())
	behind := executor.Submit(t.Context(), ex, triple, 1)
	got, err := executor.RunOnAll(soon(t), ex, processOf, step{})
	require.NoError(t, err)
	for _, o := range got {
		require.NoError(t, o.Err)
	}
	require.Equal(t, futures.Pending, behind.State())
	for _, f := range taken {
		require.Equal(t, futures.Running, f.State())
	}
	b.open()
	require.Equal(t, 3, result(t, behind))
}

func runOnAllFails(t *testing.T, ex executor.Executor) {
	for _, do := range []string{fails, panics, exits} {
		got, err := executor.RunOnAll(soon(t), ex, processOf, step{I: 4, Do: do})
		require.NoError(t, err, "that of a worker is its own")
		require.NotEmpty(t, got)
		for _, o := range got {
			var p *futures.PanicError
			switch do {
			case fails:
				require.ErrorIs(t, o.Err, errStep)
			case panics:
				require.ErrorAs(t, o.Err, &p)
				require.Contains(t, o.Err.Error(), "step 4 panics")
			case exits:
				require.ErrorIs(t, o.Err, futures.ErrGoexit)
			}
		}
	}
	result(t, executor.Submit(t.Context(), ex, triple, 1))
	require.Panics(t, func() { _, _ = executor.RunOnAll[int, int](t.Context(), ex, nil, 1) })
	require.NoError(t, ex.Close())
	_, err := executor.RunOnAll(soon(t), ex, processOf, step{})
	require.ErrorIs(t, err, executor.ErrClosed)
}

func runOnAllCtx(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { // ends when the function runs
		b.wait(1, "start ")
		cancel(errCause)
	}()
	got, err := executor.RunOnAll(ctx, ex, processOf, step{Do: blocks, Board: b.name})
	if err != nil {
		require.ErrorIs(t, err, errCause)
	}
	for _, o := range got {
		require.ErrorIs(t, o.Err, errCause)
	}
	eventually(t, "the functions' ctx ends", func() bool { return b.has("start ") == b.has("end ") })
}

// setupOnce: the functions of RegisterSetup were called in each process, before any
// task, each once, in the order of their registration, and with the same data.
func setupOnce(t *testing.T, ex executor.Executor) {
	all, err := executor.RunOnAll(soon(t), ex, setUpBy, 0)
	require.NoError(t, err)
	for name, o := range all {
		require.NoError(t, o.Err)
		require.Len(t, o.Value, 2, "worker %s", name)
		require.Regexp(t, "^first with ", o.Value[0])
		require.Equal(t, "second"+o.Value[0][len("first"):], o.Value[1])
	}
	got, err := executor.Map(t.Context(), ex, setUpBy, make([]int, 20), executor.WithChunkSize(1)).Results(soon(t))
	require.NoError(t, err)
	for _, calls := range got {
		require.Len(t, calls, 2, "a task ran in a process that was not set up")
	}
}
