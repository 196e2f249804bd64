package executortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func mapFailCases(t *testing.T, open opener) {
	check(t, open, "G15/FirstFailureCancelsUnstarted", failureCancels)
	check(t, open, "G15/LowestKnownIndexIsReported", lowestKnown)
	check(t, open, "G15/KeepGoingRunsEverything", keepGoing)
	check(t, open, "G15/KeepGoingIsFinishedIfAllFail", keepGoingAllFail)
	check(t, open, "G15/AllStopsAtTheFailure", allStops)
	check(t, open, "G15/AllYieldsAsSoonAsItCan", allEarly)
	check(t, open, "G15/AllLeavesTheBatchAlone", allLeaves)
	check(t, open, "G15/AsCompletedYieldsEachOnce", asCompletedOnce)
	check(t, open, "G15/PanicTakesNothingWithIt", panicAlone)
	check(t, open, "G15/RunningItemsAreLeftToEnd", failureLeavesRunning)
}

// failureCancels: item 0 fails while the others that run wait at a gate, so what starts
// after the failure is known cannot be mistaken for what had started.
func failureCancels(t *testing.T, ex executor.Executor) {
	const n = 300
	for name, opts := range chunkings(n) {
		b, gate := newBoard(t, ex), newBoard(t, ex)
		batch := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) {
			s.Board, s.Await = b.name, gate.name
			if s.I == 0 {
				s.Do, s.Await = fails, ""
			}
		}), opts...)
		for i, o := range batch.AsCompleted(soon(t)) {
			require.Zero(t, i)
			require.ErrorIs(t, o.Err, errStep)
			break
		}
		gate.open()
		_, err := batch.Results(soon(t))
		requireItem(t, err, 0, errStep)
		require.Equal(t, futures.Failed, batch.State(), name)
		requireItem(t, batch.Err(), 0, errStep)
		require.Equal(t, err.Error(), batch.Wait(soon(t)).Error())

		out, err := batch.Outcomes(soon(t))
		require.NoError(t, err)
		require.Len(t, out, n)
		ran := 0
		for i, o := range out {
			switch {
			case i == 0:
				require.ErrorIs(t, o.Err, errStep)
				ran++
			case o.Err == nil:
				require.Equal(t, answer(i), o.Value)
				ran++
			default:
				require.ErrorIs(t, o.Err, futures.ErrCancelled)
			}
		}
		done, total := batch.Progress()
		require.Equal(t, []int{ran, n}, []int{done, total}, name)
		require.Equal(t, ran, b.has("start "), "%s: items started, and items with an outcome of their own", name)
		require.Less(t, ran, n/2, "%s: what had not started was cancelled", name)
		if isNear(ex) && ex.Slots() == 1 {
			require.Equal(t, 1, ran, "%s: nothing starts after the failure", name)
		}
	}
}

// requireItem: err says that item i has failed with want.
func requireItem(t *testing.T, err error, i int, want error) {
	t.Helper()
	var item *futures.ItemError
	require.ErrorAs(t, err, &item)
	require.Equal(t, i, item.Index)
	if want != nil {
		require.ErrorIs(t, err, want)
	}
}

func lowestKnown(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: two items must run together")
	}
	b, up := newBoard(t, ex), newBoard(t, ex)
	batch := executor.Map(t.Context(), ex, doStep, steps(2, func(s *step) {
		s.Do, s.Board = fails, b.name
		s.Await = []string{b.name, up.name}[s.I]
	}), executor.WithChunkSize(1))
	b.wait(2, "start ")
	up.open() // item 1 fails while item 0 runs
	for i := range batch.AsCompleted(soon(t)) {
		require.Equal(t, 1, i)
		break
	}
	require.False(t, batch.State().Done(), "the batch has failed before what had started has ended")
	b.open()
	_, err := batch.Results(soon(t))
	requireItem(t, err, 0, errStep)
}

// misdeed is what item i does in the cases with all kinds of failures.
func misdeed(i int) string {
	switch {
	case i%7 == 3:
		return fails
	case i%11 == 5:
		return panics
	case i%13 == 6:
		return exits
	}
	return ""
}

// requireOutcome: item i has come out as misdeed says.
func requireOutcome(t *testing.T, i int, v int, err error) {
	t.Helper()
	var p *futures.PanicError
	switch misdeed(i) {
	case fails:
		require.ErrorIs(t, err, errStep)
		require.ErrorContains(t, err, fmt.Sprintf("step %d:", i))
	case panics:
		require.ErrorAs(t, err, &p)
		require.Equal(t, fmt.Sprintf("step %d panics", i), fmt.Sprint(p.Value))
		require.Contains(t, string(p.Stack), "doStep")
	case exits:
		require.ErrorIs(t, err, futures.ErrGoexit)
	default:
		require.NoError(t, err)
		require.Equal(t, answer(i), v)
	}
}

func keepGoing(t *testing.T, ex executor.Executor) {
	const n = 250
	good := 0
	for i := range n {
		if misdeed(i) == "" {
			good++
		}
	}
	for name, opts := range chunkings(n) {
		before := ex.Stats()
		opts = append(opts, executor.WithKeepGoing())
		b := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) { s.Do = misdeed(s.I) }), opts...)
		require.NoError(t, b.Wait(soon(t)))
		require.Equal(t, futures.Finished, b.State(), name)
		require.NoError(t, b.Err())
		after := ex.Stats()
		require.EqualValues(t, good, after.Finished-before.Finished, "%s: Stats count items", name)
		require.EqualValues(t, n-good, after.Failed-before.Failed)

		out, err := b.Outcomes(soon(t))
		require.NoError(t, err)
		require.Len(t, out, n)
		for i, o := range out {
			requireOutcome(t, i, o.Value, o.Err)
		}
		_, err = b.Results(soon(t))
		requireItem(t, err, 3, errStep)
		at := 0
		for v, err := range b.All(soon(t)) {
			if misdeed(at) != "" {
				requireItem(t, err, at, nil)
				require.Zero(t, v)
			}
			requireOutcome(t, at, v, err)
			at++
		}
		require.Equal(t, n, at)
		done, total := b.Progress()
		require.Equal(t, []int{n, n}, []int{done, total})
	}
}

func keepGoingAllFail(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(20, func(s *step) { s.Do = fails }), executor.WithKeepGoing())
	_, err := b.Results(soon(t))
	requireItem(t, err, 0, errStep)
	require.Equal(t, futures.Finished, b.State())
	require.NoError(t, b.Err())
}

// allStops: the items of one chunk run in order, so those before the failure have run.
func allStops(t *testing.T, ex executor.Executor) {
	for _, do := range []string{fails, panics, exits} {
		b := executor.Map(t.Context(), ex, doStep, steps(10, func(s *step) {
			if s.I == 6 {
				s.Do = do
			}
		}), executor.WithChunkSize(10))
		var got []int
		var errs []error
		for v, err := range b.All(soon(t)) {
			if err != nil {
				require.Zero(t, v)
				errs = append(errs, err)
				continue
			}
			require.Empty(t, errs, "a value after the failure")
			got = append(got, v)
		}
		require.Equal(t, answers(6), got)
		require.Len(t, errs, 1)
		requireItem(t, errs[0], 6, nil)
	}
}

func allEarly(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(2, func(s *step) {
		if s.I == 1 {
			s.Do = blocks
		}
	}), executor.WithChunkSize(1))
	for v, err := range b.All(soon(t)) {
		require.NoError(t, err)
		require.Equal(t, answer(0), v)
		break
	}
	require.False(t, b.State().Done())
	require.True(t, b.Cancel(errCause))
	at := 0
	for v, err := range b.All(soon(t)) {
		if at == 0 {
			require.NoError(t, err)
			require.Equal(t, answer(0), v)
		} else {
			require.ErrorIs(t, err, futures.ErrCancelled)
			require.ErrorIs(t, err, errCause)
		}
		at++
	}
	require.Equal(t, 2, at)
}

func allLeaves(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	b := executor.Map(t.Context(), ex, doStep, steps(40, func(s *step) { s.Await = gate.name }))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCause)
	n := 0
	for v, err := range b.All(ctx) {
		require.Zero(t, v)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errCause)
		n++
	}
	require.Equal(t, 1, n, "the end of ctx is yielded once")
	for range b.AsCompleted(ctx) {
		t.Fatal("AsCompleted yielded what is not completed")
	}
	_, err := b.Outcomes(ctx)
	require.ErrorIs(t, err, errCause)
	_, err = b.Results(ctx)
	require.ErrorIs(t, err, errCause)
	require.ErrorIs(t, b.Wait(ctx), errCause)
	require.False(t, b.State().Done(), "a waiter that gave up has ended the batch")
	gate.open()
	for range 2 { // it may be read again, and by a loop that is left early
		for v, err := range b.All(soon(t)) {
			require.NoError(t, err)
			require.Equal(t, answer(0), v)
			break
		}
	}
	got, err := b.Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, answers(40), got)
	got, err = b.Results(ctx)
	require.NoError(t, err, "a finished batch wins over an ended ctx")
	require.Len(t, got, 40)
}

func asCompletedOnce(t *testing.T, ex executor.Executor) {
	const n = 200
	for name, opts := range chunkings(n) {
		for _, keep := range []bool{true, false} {
			with := opts
			if keep {
				with = append(slices.Clip(opts), executor.WithKeepGoing())
			}
			b := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) { s.Do = misdeed(s.I) }), with...)
			early := 0
			for range b.AsCompleted(soon(t)) { // a loop that is left takes nothing away
				if early++; early == 3 {
					break
				}
			}
			seen := map[int]bool{}
			for i, o := range b.AsCompleted(soon(t)) {
				require.False(t, seen[i], "%s: item %d twice", name, i)
				seen[i] = true
				if !errors.Is(o.Err, futures.ErrCancelled) {
					requireOutcome(t, i, o.Value, o.Err)
				}
			}
			out, err := b.Outcomes(soon(t))
			require.NoError(t, err)
			for i, o := range out {
				if !errors.Is(o.Err, futures.ErrCancelled) {
					require.True(t, seen[i], "%s: item %d has run, and was not yielded", name, i)
				}
			}
		}
	}
}

func panicAlone(t *testing.T, ex executor.Executor) {
	const n = 21
	for _, do := range []string{panics, exits} {
		for name, opts := range chunkings(n) {
			opts = append(opts, executor.WithKeepGoing())
			b := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) {
				if s.I == n/2 {
					s.Do = do
				}
			}), opts...)
			out, err := b.Outcomes(soon(t))
			require.NoError(t, err)
			for i, o := range out {
				if i == n/2 {
					require.Error(t, o.Err)
					continue
				}
				require.NoError(t, o.Err, "%s: item %d of a chunk where another %s", name, i, do)
				require.Equal(t, answer(i), o.Value)
			}
		}
	}
	// no slot was harmed
	all := executor.Map(t.Context(), ex, doStep, steps(2000, func(s *step) { s.Do = panics }), executor.WithKeepGoing())
	require.NoError(t, all.Wait(soon(t)))
	board := newBoard(t, ex)
	board.fillSlots(t.Context())
}

func failureLeavesRunning(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: two items must run together")
	}
	b := newBoard(t, ex)
	batch := executor.Map(t.Context(), ex, doStep, steps(2, func(s *step) {
		s.Board, s.Await = b.name, b.name
		if s.I == 1 {
			s.Do = fails
		}
	}), executor.WithChunkSize(1))
	b.wait(2, "start ")
	b.open()
	out, err := batch.Outcomes(soon(t))
	require.NoError(t, err)
	require.NoError(t, out[0].Err, "an item that ran was cancelled by another's failure")
	require.ErrorIs(t, out[1].Err, errStep)
}
