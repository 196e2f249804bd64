package executortest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// timeoutCases: WithTimeout limits an attempt from its start.
func timeoutCases(t *testing.T, open opener) {
	check(t, open, "G13/AttemptOutOfTimeHasFailed", outOfTime)
	check(t, open, "G13/FailsAtOnceAndKeepsItsSlot", outOfTimeAtOnce)
	check(t, open, "G13/TimeRunsFromTheStart", timeFromStart)
	check(t, open, "G13/EachAttemptHasItsOwn", timeOfEach)
	check(t, open, "G13/DeadlineOfCtxCancelsInstead", ctxDeadlineFirst)
	check(t, open, "G13/CancelComesFirst", cancelBeforeTimeout)
	check(t, open, "G13/TimeEndsWaits", timeEndsWaits)
	check(t, open, "G13/InTimeIsInTime", inTime)
}

func outOfTime(t *testing.T, ex executor.Executor) {
	const rounds = 20 // the end of the ctx and the end of the task are easily told in the wrong order
	for i := range rounds {
		b := newBoard(t, ex)
		f := executor.Submit(t.Context(), ex, witness, b.post("w"), executor.WithTimeout(time.Millisecond))
		next := executor.Then(t.Context(), ex, same, f)
		err := failure(t, f, futures.Failed)
		require.ErrorIs(t, err, context.DeadlineExceeded, "round %d", i)
		require.NotErrorIs(t, err, futures.ErrCancelled)
		require.NotErrorIs(t, err, errRefused, "what the function returned after that")
		require.ErrorIs(t, failure(t, next, futures.Failed), context.DeadlineExceeded)
		b.wait(1, "w")
		require.Equal(t, []string{"w: context deadline exceeded;" + context.DeadlineExceeded.Error()}, b.lines(), "round %d", i)
		late := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 2, How: "ignored timeout"}, executor.WithTimeout(time.Millisecond))
		require.ErrorIs(t, failure(t, late, futures.Failed), context.DeadlineExceeded, "round %d", i)
	}
	require.EqualValues(t, 3*rounds, ex.Stats().Failed)
	require.Zero(t, ex.Stats().Cancelled)
	eventually(t, "functions return", func() bool { return ex.Stats().Abandoned == 0 })
	requireSlots(t, ex)
}

func outOfTimeAtOnce(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var fs []*futures.Future[string]
	for range ex.Slots() {
		fs = append(fs, executor.Submit(t.Context(), ex, cling, b.post("f"), executor.WithTimeout(50*time.Millisecond)))
	}
	for _, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Failed), context.DeadlineExceeded)
	}
	require.Zero(t, b.has("end"), "the functions still run")
	require.EqualValues(t, ex.Slots(), ex.Stats().Abandoned)
	after := executor.Submit(t.Context(), ex, note, b.post("after"))
	require.Equal(t, futures.Pending, after.State())
	b.open()
	result(t, after)
	eventually(t, "functions return", func() bool { return ex.Stats().Abandoned == 0 })
	requireSlots(t, ex)
}

// timeFromStart has a task with a timeout wait for a slot, and looks at its deadline.
func timeFromStart(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	f := executor.Submit(t.Context(), ex, deadlineOf, 0, executor.WithTimeout(time.Hour))
	p, resolve := futures.New[int]()
	g := executor.Then(t.Context(), ex, deadlineOf, p, executor.WithTimeout(time.Hour))
	time.Sleep(5 * time.Millisecond) // by which a deadline that was set at the submit would come too early
	opened := time.Now()
	b.open()
	require.GreaterOrEqual(t, result(t, f), opened.Add(time.Hour).UnixNano())
	resolved := time.Now()
	resolve(0, nil)
	require.GreaterOrEqual(t, result(t, g), resolved.Add(time.Hour).UnixNano())
}

func timeOfEach(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 4, How: "timeout"},
		executor.WithRetries(1000), executor.WithTimeout(20*time.Millisecond))
	require.GreaterOrEqual(t, result(t, f), 4, "the time of all attempts together is over")
	g := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 9, How: "timeout"},
		executor.WithRetries(1), executor.WithTimeout(time.Millisecond))
	require.ErrorIs(t, failure(t, g, futures.Failed), context.DeadlineExceeded)
	require.GreaterOrEqual(t, ex.Stats().Retried, int64(4))
}

func ctxDeadlineFirst(t *testing.T, ex executor.Executor) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	f := executor.Submit(ctx, ex, sleeper, 1, executor.WithTimeout(time.Hour), executor.WithRetries(5))
	err := failure(t, f, futures.Cancelled)
	require.ErrorIs(t, err, futures.ErrCancelled)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, ex.Stats().Retried)
}

func cancelBeforeTimeout(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, sleeper, 1, executor.WithTimeout(time.Hour))
	started(t, f)
	f.Cancel(errStop)
	requireStopped(t, failure(t, f, futures.Cancelled))
	eventually(t, "the function returns", func() bool { return ex.Stats().Abandoned == 0 })
	for range 30 { // as the time ends
		f := executor.Submit(t.Context(), ex, sleeper, 1, executor.WithTimeout(time.Millisecond))
		time.Sleep(time.Millisecond)
		if f.Cancel(errStop) {
			requireStopped(t, failure(t, f, futures.Cancelled))
		} else {
			require.ErrorIs(t, failure(t, f, futures.Failed), context.DeadlineExceeded)
		}
	}
}

// timeEndsWaits has the time end of tasks that have lent their slots.
func timeEndsWaits(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var fs []*futures.Future[string]
	for range 2 * ex.Slots() {
		fs = append(fs, executor.Submit(t.Context(), ex, nest, Nest{b.name, "hold"}, executor.WithTimeout(20*time.Millisecond)))
	}
	for _, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Failed), context.DeadlineExceeded)
	}
	eventually(t, "all has ended", func() bool { s := ex.Stats(); return s.Running+s.Waiting+s.Abandoned+s.Pending == 0 })
	require.Equal(t, b.has("start child"), b.has("ctx child"))
	requireSlots(t, ex)
}

func inTime(t *testing.T, ex executor.Executor) {
	fs := make([]*futures.Future[int], 1000)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, echo, i, executor.WithTimeout(time.Hour))
	}
	for i, f := range fs {
		require.Equal(t, i, result(t, f))
	}
}

func init() { executor.Register(deadlineOf) }

// deadlineOf is the deadline of its ctx, in ns of Unix time.
func deadlineOf(ctx context.Context, _ int) (int64, error) {
	d, ok := ctx.Deadline()
	if !ok {
		return 0, errRefused
	}
	return d.UnixNano(), nil
}
