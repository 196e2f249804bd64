package executortest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// retryCases: a task that failed is run again.
func retryCases(t *testing.T, open opener) {
	check(t, open, "G9/RunsUntilItSucceeds", retriesSucceed)
	check(t, open, "G9/RunsNMoreTimesAtMost", retriesEnd)
	check(t, open, "G9/WhatCountsAsFailure", retriesOf)
	check(t, open, "G9/PermanentEndsIt", permanent)
	check(t, open, "G9/CancelEndsIt", cancelEndsRetries)
	check(t, open, "G9/NextAttemptWaitsForTheLast", attemptsDoNotOverlap)
	check(t, open, "G9/AttemptsAreOneTask", attemptsAreOneTask)
	check(t, open, "G9/BackoffTakesNoSlot", backoffTakesNoSlot)
	check(t, open, "G9/BackoffIsWaitedFor", backoffWaits)
	check(t, open, "G9/DependentsWaitForTheOutcome", dependentsOfRetried)
	check(t, open, "G9/AttemptEndsWhatItSubmitted", attemptEndsChildren)
	check(t, open, "G9/ManyRetried", manyRetried)
}

func retriesSucceed(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 3}, executor.WithRetries(5))
	require.Equal(t, 3, result(t, f))
	require.Equal(t, 3, b.has("attempt"))
	s := ex.Stats()
	require.Equal(t, []int64{1, 1, 0, 2}, []int64{s.Submitted, s.Finished, s.Failed, s.Retried})
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 1}, executor.WithRetries(5))))
	require.EqualValues(t, 2, ex.Stats().Retried)
}

func retriesEnd(t *testing.T, ex executor.Executor) {
	for n := range 4 {
		b := newBoard(t, ex)
		f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 100}, executor.WithRetries(n))
		err := failure(t, f, futures.Failed)
		require.ErrorIs(t, err, errRefused)
		require.Contains(t, err.Error(), fmt.Sprintf("attempt %d ", n+1), "the error of the last attempt")
		require.Equal(t, n+1, b.has("attempt"))
	}
	s := ex.Stats()
	require.Equal(t, []int64{4, 4, 0 + 1 + 2 + 3}, []int64{s.Submitted, s.Failed, s.Retried})
}

func retriesOf(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"", "panic", "goexit", "canceled"} {
		f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 2, How: how}, executor.WithRetries(1))
		require.Equal(t, 2, result(t, f), how)
	}
	require.EqualValues(t, 4, ex.Stats().Retried)
	for _, how := range []string{"timeout", "ignored timeout"} { // on a slow machine others may be late, too
		f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 2, How: how},
			executor.WithRetries(1000), executor.WithTimeout(20*time.Millisecond))
		require.GreaterOrEqual(t, result(t, f), 2, how)
	}
}

func permanent(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"permanent", "wrapped permanent"} {
		b := newBoard(t, ex)
		f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 3, How: how}, executor.WithRetries(5))
		require.ErrorIs(t, failure(t, f, futures.Failed), errRefused)
		require.Equal(t, 1, b.has("attempt"), how)
	}
	require.Zero(t, ex.Stats().Retried)
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 3, How: "permanent"})
	require.ErrorIs(t, failure(t, f, futures.Failed), errRefused, "also without retries")
	require.NoError(t, executor.Permanent(nil))
	require.ErrorIs(t, executor.Permanent(errRefused), errRefused)
	require.Equal(t, errRefused.Error(), executor.Permanent(errRefused).Error())
	if isNear(ex) {
		f := executor.Go(t.Context(), ex, func(context.Context) (int, error) { return 0, executor.Permanent(errRefused) })
		require.Same(t, errRefused, failure(t, f, futures.Failed), "err itself")
	}
}

func cancelEndsRetries(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	running := executor.Submit(t.Context(), ex, witness, b.post("running"), executor.WithRetries(9))
	started(t, running)
	running.Cancel(errStop)
	requireStopped(t, failure(t, running, futures.Cancelled))

	ctx, cancel := context.WithCancelCause(t.Context())
	submit := func() *futures.Future[int] {
		f := executor.Submit(ctx, ex, attempts, Attempts{Board: b.name, Succeed: 9}, executor.WithRetries(9), executor.WithBackoff(1000*time.Hour))
		eventually(t, "it waits for the next attempt", func() bool { return b.has("attempt") > 0 && f.State() == futures.Pending })
		return f
	}
	one, two := submit(), submit()
	b.wait(2, "attempt")
	require.True(t, one.Cancel(errStop))
	requireStopped(t, failure(t, one, futures.Cancelled))
	cancel(errStop)
	requireStopped(t, failure(t, two, futures.Cancelled))
	eventually(t, "the function has returned", func() bool { return ex.Stats().Abandoned == 0 })
	require.Equal(t, 1, b.has("running"))
	require.Equal(t, 2, b.has("attempt"))
	require.EqualValues(t, 3, ex.Stats().Cancelled)
}

func attemptsDoNotOverlap(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 2, How: "cling"},
		executor.WithRetries(1000), executor.WithTimeout(20*time.Millisecond))
	b.wait(1, "out of time")
	if ex.Slots() > 1 {
		for i := range 20 * ex.Slots() { // would the next attempt start, it would by now
			require.Equal(t, i, result(t, executor.Submit(t.Context(), ex, echo, i)))
		}
	}
	require.False(t, f.State().Done())
	require.Equal(t, 1, b.has("attempt"))
	b.open()
	require.GreaterOrEqual(t, result(t, f), 2)
	require.Equal(t, []string{"attempt 1", "out of time", "returns", "attempt 2"}, b.lines()[:4])
}

func attemptsAreOneTask(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 4, How: "info"},
		executor.WithRetries(4), executor.WithName("the name"), executor.WithKey("the key"))
	require.Equal(t, 4, result(t, f))
	seen := map[string]bool{}
	for i, line := range b.lines() {
		id, rest, ok := strings.Cut(line, "|")
		require.True(t, ok)
		require.NotEmpty(t, id)
		seen[id] = true
		require.True(t, strings.HasPrefix(rest, fmt.Sprintf("%d|the name|the key|", i+1)), rest)
	}
	require.Len(t, seen, 1, "one ID in all attempts")

	ids := map[string]bool{}
	names := map[string]bool{}
	for _, w := range ex.Stats().Workers {
		names[w.Name] = true
	}
	for i := range 50 {
		info := result(t, executor.Submit(t.Context(), ex, whoami, i))
		ids[info.ID] = true
		require.Equal(t, 1, info.Attempt)
		require.Empty(t, info.Key)
		require.Contains(t, info.Name, "whoami")
		require.True(t, names[info.Worker], info.Worker)
	}
	require.Len(t, ids, 50)
	if inProcess(ex) {
		require.True(t, names["local"])
	}
	_, ok := executor.TaskFromContext(t.Context())
	require.False(t, ok)
	_, ok = executor.FromContext(t.Context())
	require.False(t, ok)
}

func backoffTakesNoSlot(t *testing.T, ex executor.Executor) {
	var fs []*futures.Future[int]
	n := 4 * ex.Slots()
	for range n {
		fs = append(fs, executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 9},
			executor.WithRetries(1), executor.WithBackoff(1000*time.Hour)))
	}
	for i := range 5 * ex.Slots() {
		require.Equal(t, i, result(t, executor.Submit(t.Context(), ex, echo, i)))
	}
	eventually(t, "all wait for their second attempt", func() bool {
		s := ex.Stats()
		return s.Pending == int64(n) && s.Running == 0
	})
	for _, f := range fs {
		require.Equal(t, futures.Pending, f.State(), "%v", f)
		require.True(t, f.Cancel(nil))
	}
}

// backoffWaits measures nothing: a random pause of up to an hour is over within a
// second in one of 3,600 cases, and three in a row hardly ever.
func backoffWaits(t *testing.T, ex executor.Executor) {
	var fs []*futures.Future[int]
	for range 3 {
		fs = append(fs, executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 2}, executor.WithRetries(1), executor.WithBackoff(time.Hour)))
	}
	quick := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 5}, executor.WithRetries(9), executor.WithBackoff(time.Millisecond))
	require.Equal(t, 5, result(t, quick))
	waiting := 0
	for _, f := range fs {
		if !f.State().Done() {
			waiting++
		}
		f.Cancel(nil)
	}
	require.Positive(t, waiting)
}

func dependentsOfRetried(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 3}, executor.WithRetries(2))
	next := executor.Then(t.Context(), ex, attempts2, f, executor.WithRetries(1))
	all := futures.All(f, next)
	require.Equal(t, 2*3, result(t, next), "it has its input in each attempt")
	require.Equal(t, []int{3, 6}, result(t, all))
}

func attemptEndsChildren(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	how := "running child"
	if ex.Slots() == 1 {
		how = "pending child"
	}
	f := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 2, How: how}, executor.WithRetries(1))
	require.Equal(t, 2, result(t, f))
	if ex.Slots() > 1 {
		b.wait(1, "ctx child")
	}
	eventually(t, "it is cancelled", func() bool { s := ex.Stats(); return s.Cancelled == 1 && s.Abandoned == 0 })
}

func manyRetried(t *testing.T, ex executor.Executor) {
	fs := make([]*futures.Future[int], 1000)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, attempts, Attempts{Succeed: 1 + i%4}, executor.WithRetries(2))
	}
	for i, f := range fs {
		if i%4 == 3 {
			require.ErrorIs(t, failure(t, f, futures.Failed), errRefused)
		} else {
			require.Equal(t, 1+i%4, result(t, f))
		}
	}
	require.EqualValues(t, 250*(0+1+2+2), ex.Stats().Retried)
	requireSlots(t, ex)
}

func init() {
	executor.Register(attempts)
	executor.Register(attempts2)
}

// Attempts says what becomes of the attempts of a task.
type Attempts struct {
	Board   string // "" for none
	Succeed int    // the first attempt that succeeds
	How     string // in which way those before it fail
}

// attempts returns the number of the attempt that succeeded.
func attempts(ctx context.Context, a Attempts) (int, error) {
	info, ok := executor.TaskFromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	s := &sheet{}
	if a.Board != "" {
		s = sheetOf(a.Board)
	}
	if a.How == "info" {
		s.write("%s|%d|%s|%s|%s", info.ID, info.Attempt, info.Name, info.Key, info.Worker)
	} else {
		s.write("attempt %d", info.Attempt)
	}
	if info.Attempt >= a.Succeed {
		return info.Attempt, nil
	}
	err := fmt.Errorf("attempt %d of %s: %w", info.Attempt, info.Name, errRefused)
	switch a.How {
	case "panic":
		panic(err)
	case "goexit":
		runtime.Goexit()
	case "canceled":
		return 0, context.Canceled
	case "timeout":
		<-ctx.Done()
		return 0, ctx.Err()
	case "ignored timeout":
		<-ctx.Done()
		return 77, nil
	case "permanent":
		return 0, executor.Permanent(err)
	case "wrapped permanent":
		return 0, fmt.Errorf("so: %w", executor.Permanent(err))
	case "cling":
		<-ctx.Done()
		s.write("out of time")
		<-s.gate
		s.write("returns")
	case "pending child", "running child":
		ex, _ := executor.FromContext(ctx)
		child := executor.Submit(ctx, ex, hold, Post{a.Board, "child"})
		for a.How == "running child" && child.State() == futures.Pending && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	return 0, err
}

// attempts2 doubles its argument, in its second attempt.
func attempts2(ctx context.Context, n int) (int, error) {
	if info, _ := executor.TaskFromContext(ctx); info.Attempt < 2 {
		return 0, errRefused
	}
	return 2 * n, nil
}
