package executortest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func seqFailCases(t *testing.T, open opener) {
	check(t, open, "G16/FailedItemEndsTheStream", seqFailure)
	check(t, open, "G16/ItemsBeforeTheFailureAreYielded", seqFailureWaits)
	check(t, open, "G16/KeepGoingYieldsFailuresInPlace", seqKeepGoing)
	check(t, open, "G16/UnorderedFailureSaysWhichItem", seqUnorderedFailure)
	check(t, open, "G16/EndOfCtxIsYieldedOnce", seqCtxEnds)
	check(t, open, "G16/EndOfCtxWhileItemsRun", seqCtxEndsBusy)
	check(t, open, "G16/EndedCtxTakesNothing", seqEndedCtx)
	check(t, open, "G16/RefusalIsYieldedOnce", seqRefused)
	check(t, open, "G9/MapSeqRetriesEachItem", seqRetries)
}

func seqFailure(t *testing.T, ex executor.Executor) {
	for _, do := range []string{fails, panics, exits} {
		for _, opts := range [][]executor.Option{nil, {executor.WithInFlight(1)}} {
			l := newLeaver(t, ex)
			l.edit = func(s *step) {
				s.Board = l.b.name
				if s.I == 20 {
					s.Do = do
				}
			}
			at := 0
			for v, err := range executor.MapSeq(soon(t), ex, doStep, l.steps(-1), opts...) {
				if at < 20 {
					require.NoError(t, err)
					require.Equal(t, answer(at), v)
				} else {
					require.Equal(t, 20, at, "the failure is the last")
					require.Zero(t, v)
					requireItem(t, err, 20, nil)
				}
				at++
			}
			require.Equal(t, 21, at)
			l.requireLeft(t, ex)
		}
	}
}

// seqFailureWaits: the failure is known long before the items in front of it are done,
// and does not cost them.
func seqFailureWaits(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: one has the slow item")
	}
	b, gate := newBoard(t, ex), newBoard(t, ex)
	in := &intake{edit: func(s *step) {
		s.Board = b.name
		switch s.I {
		case 0:
			s.Await = gate.name
		case 1:
			s.Do = fails
		}
	}}
	var opening sync.WaitGroup
	defer opening.Wait()
	opening.Go(func() { // ends when item 1 has failed
		b.wait(1, "end 1")
		gate.open()
	})
	at := 0
	for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(-1)) {
		if at == 0 {
			require.NoError(t, err)
			require.Equal(t, answer(0), v)
		} else {
			requireItem(t, err, 1, errStep)
		}
		at++
	}
	require.Equal(t, 2, at)
}

func seqKeepGoing(t *testing.T, ex executor.Executor) {
	const n = 250
	for _, opts := range [][]executor.Option{nil, {executor.WithInFlight(2)}} {
		at := 0
		in := &intake{edit: func(s *step) { s.Do = misdeed(s.I) }}
		for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(n), append(opts, executor.WithKeepGoing())...) {
			if misdeed(at) != "" {
				require.Zero(t, v)
				requireItem(t, err, at, nil)
			}
			requireOutcome(t, at, v, err)
			at++
		}
		require.Equal(t, n, at)
	}
}

func seqUnorderedFailure(t *testing.T, ex executor.Executor) {
	const n = 250
	in := &intake{edit: func(s *step) { s.Do = misdeed(s.I) }}
	seen := map[int]bool{}
	for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(n), executor.WithUnordered(), executor.WithKeepGoing()) {
		i := (v - 1) / 3
		var item *futures.ItemError
		if err != nil {
			require.ErrorAs(t, err, &item)
			i = item.Index
		}
		require.False(t, seen[i])
		seen[i] = true
		requireOutcome(t, i, v, err)
	}
	require.Len(t, seen, n)

	var last error
	after := 0
	for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(n), executor.WithUnordered()) {
		require.NoError(t, last, "something after the failure")
		if last = err; err == nil {
			after++
		}
	}
	var item *futures.ItemError
	require.ErrorAs(t, last, &item)
	require.NotEmpty(t, misdeed(item.Index))
}

func seqCtxEnds(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithKeepGoing()}, {executor.WithInFlight(1)}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		in := &intake{}
		values, errs := 0, []error(nil)
		for v, err := range executor.MapSeq(ctx, ex, doStep, in.steps(-1), opts...) {
			if err != nil {
				require.Zero(t, v)
				errs = append(errs, err)
			} else if values++; values == 5 {
				cancel(errCause)
			}
		}
		cancel(nil)
		require.Len(t, errs, 1, "the end of ctx is yielded once")
		require.ErrorIs(t, errs[0], context.Canceled)
		require.ErrorIs(t, errs[0], errCause)
		var item *futures.ItemError
		require.NotErrorAs(t, errs[0], &item, "it is no item's failure")
		require.True(t, in.stopped.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var last error
	for _, last = range executor.MapSeq(ctx, ex, doStep, new(intake).steps(-1)) {
	}
	require.ErrorIs(t, last, context.DeadlineExceeded)
	require.NotErrorIs(t, last, context.Canceled)
}

// seqCtxEndsBusy: every item runs until ctx ends, and the loop waits for the first.
func seqCtxEndsBusy(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithKeepGoing()}, {executor.WithUnordered(), executor.WithKeepGoing()}} {
		l := newLeaver(t, ex)
		l.edit = func(s *step) { s.Board, s.Do = l.b.name, lingers }
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { // ends when an item runs
			l.b.wait(1, "start ")
			cancel(errCause)
		}()
		var errs []error
		for _, err := range executor.MapSeq(ctx, ex, doStep, l.steps(-1), opts...) {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1, "the end of ctx is yielded once, and not for each item")
		require.ErrorIs(t, errs[0], context.Canceled)
		require.ErrorIs(t, errs[0], errCause)
		l.requireLeft(t, ex)
	}
}

func seqEndedCtx(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithKeepGoing()}} {
		b := newBoard(t, ex)
		in := &intake{edit: func(s *step) { s.Board = b.name }}
		n := 0
		for _, err := range executor.MapSeq(ctx, ex, doStep, in.steps(10), opts...) {
			require.ErrorIs(t, err, errCause)
			require.ErrorIs(t, err, context.Canceled)
			n++
		}
		require.Equal(t, 1, n)
		require.LessOrEqual(t, in.pulled.Load(), int64(1), "taken for nothing")
		require.Zero(t, b.has("start "))
	}
}

func seqRefused(t *testing.T, ex executor.Executor) {
	refusals := map[error]func() []error{
		executor.ErrConfig: func() []error { return seqErrors(t, ex, executor.WithRetries(-1)) },
		executor.ErrClosed: func() []error { require.NoError(t, ex.Close()); return seqErrors(t, ex) },
	}
	for _, want := range []error{executor.ErrConfig, executor.ErrClosed} {
		errs := refusals[want]()
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], want)
	}
	require.Panics(t, func() { executor.MapSeq[step, int](t.Context(), ex, nil, slices.Values([]step(nil))) })
}

func seqErrors(t *testing.T, ex executor.Executor, opts ...executor.Option) (errs []error) {
	for _, err := range executor.MapSeq(soon(t), ex, doStep, new(intake).steps(10), opts...) {
		errs = append(errs, err)
	}
	return errs
}

func seqRetries(t *testing.T, ex executor.Executor) {
	in := &intake{edit: func(s *step) { s.Do = thirds }}
	at := 0
	for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(30), executor.WithRetries(2)) {
		require.NoError(t, err)
		require.Equal(t, answer(at), v)
		at++
	}
	require.Equal(t, 30, at)
	for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(30), executor.WithRetries(1)) {
		requireItem(t, err, 0, errStep)
		require.ErrorContains(t, err, "attempt 2:")
	}
}
