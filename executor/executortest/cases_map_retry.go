package executortest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func mapRetryCases(t *testing.T, open opener) {
	check(t, open, "G9/MapRetriesEachItem", mapRetries)
	check(t, open, "G9/MapGivesUpAfterRetries", mapGivesUp)
	check(t, open, "G9/PermanentErrorOfAnItemIsNotRetried", mapPermanent)
	check(t, open, "G13/TimeoutIsOfAnItem", mapTimeout)
	check(t, open, "G13/ItemThatTakesTooLongFailsAlone", mapTooLong)
}

func mapRetries(t *testing.T, ex executor.Executor) {
	const n = 30
	for name, opts := range chunkings(n) {
		before := ex.Stats().Retried
		opts = append(opts, executor.WithRetries(2))
		b := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) {
			if s.I%2 == 0 {
				s.Do = thirds
			}
		}), opts...)
		got, err := b.Results(soon(t))
		require.NoError(t, err, name)
		require.Equal(t, answers(n), got)
		require.EqualValues(t, n, ex.Stats().Retried-before, "%s: half the items run two times more", name)
		done, total := b.Progress()
		require.Equal(t, []int{n, n}, []int{done, total}, "attempts are not items")
	}
}

func mapGivesUp(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, doStep, steps(6, func(s *step) { s.Do = thirds }), executor.WithRetries(1), executor.WithKeepGoing())
	out, err := b.Outcomes(soon(t))
	require.NoError(t, err)
	for _, o := range out {
		require.ErrorIs(t, o.Err, errStep)
		require.ErrorContains(t, o.Err, "attempt 2:", "the last attempt's error is the item's")
	}
}

func mapPermanent(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{{executor.WithRetries(5)}, nil} {
		opts = append(opts, executor.WithKeepGoing())
		b := executor.Map(t.Context(), ex, doStep, steps(6, func(s *step) { s.Do = forever }), opts...)
		out, err := b.Outcomes(soon(t))
		require.NoError(t, err)
		for _, o := range out {
			require.ErrorIs(t, o.Err, errStep)
			require.ErrorContains(t, o.Err, "attempt 1:")
		}
	}
	require.Zero(t, ex.Stats().Retried)
}

// mapTimeout: the items of a chunk run one after the other, so each has a later deadline
// than the one before, if the deadline is its own.
func mapTimeout(t *testing.T, ex executor.Executor) {
	naps := make([]time.Duration, 10)
	for i := range naps {
		naps[i] = 2 * time.Millisecond
	}
	b := executor.Map(t.Context(), ex, untilDeadline, naps, executor.WithTimeout(time.Hour), executor.WithChunkSize(len(naps)))
	at, err := b.Results(soon(t))
	require.NoError(t, err)
	if ex.Slots() > 1 {
		return // with an attempt of its own an item may run beside others
	}
	for i := 1; i < len(at); i++ {
		require.Greater(t, at[i], at[i-1], "item %d has the deadline of item %d", i, i-1)
	}
}

func mapTooLong(t *testing.T, ex executor.Executor) {
	for name, opts := range chunkings(5) {
		opts = append(opts, executor.WithTimeout(20*time.Millisecond), executor.WithKeepGoing())
		b := executor.Map(t.Context(), ex, doStep, steps(5, func(s *step) {
			if s.I == 2 {
				s.Do = blocks
			}
		}), opts...)
		out, err := b.Outcomes(soon(t))
		require.NoError(t, err)
		require.ErrorIs(t, out[2].Err, context.DeadlineExceeded, name)
		require.NotErrorIs(t, out[2].Err, futures.ErrCancelled, "it has failed")
		require.Equal(t, futures.Finished, b.State())
	}
}
