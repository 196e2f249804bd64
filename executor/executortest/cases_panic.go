package executortest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// panicCases: a function that leaves without returning fails its task, and nothing else.
func panicCases(t *testing.T, open opener) {
	check(t, open, "G4/PanicIsPanicError", panicValues)
	check(t, open, "G4/StackIsOfThePanic", panicStack)
	check(t, open, "G4/GoexitIsErrGoexit", goexits)
	check(t, open, "G4/LastWayOutCounts", waysOut)
	check(t, open, "G4/RecoveredPanicIsNone", recovered)
	check(t, open, "G4/UnprintablePanic", unprintable)
	check(t, open, "G4/NeitherHarmsTheWorker", harmless)
	check(t, open, "G4/PanicEndsWhatItSubmitted", panicEndsChildren)
	check(t, open, "G4/PanicOfInputReachesDependents", panicOfInput)
	checkNear(t, open, "G4/FailNowFailsTheTask", failNow)
}

// requirePanic checks that err is of a panic.
func requirePanic(t *testing.T, err error) *futures.PanicError {
	t.Helper()
	var p *futures.PanicError
	require.ErrorAs(t, err, &p)
	return p
}

func panicValues(t *testing.T, ex executor.Executor) {
	near := isNear(ex)
	for how, want := range map[string]struct {
		value any
		text  string
		is    error
	}{
		"string":      {value: "string", text: "string"},
		"error":       {text: "with reason: " + errRefused.Error(), is: errRefused},
		"struct":      {value: Post{"a", "b"}, text: fmt.Sprint(Post{"a", "b"})},
		"nil":         {text: (&runtime.PanicNilError{}).Error()},
		"dereference": {text: "nil pointer dereference"},
		"index":       {text: "out of range"},
		"map":         {text: "nil map"},
	} {
		f := executor.Submit(t.Context(), ex, crash, how)
		err := failure(t, f, futures.Failed)
		p := requirePanic(t, err)
		require.Contains(t, fmt.Sprint(p.Value), want.text, how)
		require.Contains(t, err.Error(), want.text, how)
		if want.is != nil {
			require.ErrorIs(t, err, want.is, how)
		}
		if near {
			if want.value != nil {
				require.Equal(t, want.value, p.Value, how)
			} else {
				_, ok := p.Value.(error)
				require.True(t, ok, "%s: a value of type %T", how, p.Value)
			}
		}
		require.NotErrorIs(t, err, futures.ErrGoexit)
		require.NotErrorIs(t, err, futures.ErrCancelled)
	}
	if near {
		var nilPanic *runtime.PanicNilError
		require.ErrorAs(t, failure(t, executor.Submit(t.Context(), ex, crash, "nil"), futures.Failed), &nilPanic)
		var fault runtime.Error
		require.ErrorAs(t, failure(t, executor.Submit(t.Context(), ex, crash, "map"), futures.Failed), &fault)
	}
}

func panicStack(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithRetries(1)}} {
		err := failure(t, executor.Submit(t.Context(), ex, crash, "string", opts...), futures.Failed)
		stack := string(requirePanic(t, err).Stack)
		require.Contains(t, stack, "executortest.crashHere")
		require.Contains(t, stack, "executortest.crash(")
		require.Contains(t, stack, "funcs.go:")
		require.Less(t, strings.Index(stack, "executortest.crashHere"), strings.Index(stack, "executortest.crash("), "innermost first")
		for _, frame := range []string{
			"nearfar/pool.", "nearfar/executor.", "nearfar/futures.", "nearfar/internal/", "nearfar/remote.", "panjf2000", "debug.Stack",
		} {
			require.NotContains(t, stack, frame)
		}
	}
}

func goexits(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, crash, "goexit")
	next := executor.Then(t.Context(), ex, same, f)
	err := failure(t, f, futures.Failed)
	require.ErrorIs(t, err, futures.ErrGoexit)
	var p *futures.PanicError
	require.False(t, errors.As(err, &p))
	require.ErrorIs(t, failure(t, next, futures.Failed), futures.ErrGoexit)
	require.EqualValues(t, 2, ex.Stats().Failed)
}

func waysOut(t *testing.T, ex executor.Executor) {
	err := failure(t, executor.Submit(t.Context(), ex, crash, "panic in defer"), futures.Failed)
	require.Contains(t, fmt.Sprint(requirePanic(t, err).Value), "second")
	require.Contains(t, string(requirePanic(t, err).Stack), "executortest.crash")
	err = failure(t, executor.Submit(t.Context(), ex, crash, "panic while leaving"), futures.Failed)
	require.Contains(t, fmt.Sprint(requirePanic(t, err).Value), "string")
	err = failure(t, executor.Submit(t.Context(), ex, crash, "goexit after recovery"), futures.Failed)
	require.ErrorIs(t, err, futures.ErrGoexit)
	requireSlots(t, ex)
}

func recovered(t *testing.T, ex executor.Executor) {
	require.Equal(t, "recovered", result(t, executor.Submit(t.Context(), ex, crash, "recovered")))
	require.Zero(t, ex.Stats().Failed)
}

func unprintable(t *testing.T, ex executor.Executor) {
	err := failure(t, executor.Submit(t.Context(), ex, crash, "unprintable"), futures.Failed)
	requirePanic(t, err)
	require.NotPanics(t, func() { _ = err.Error() })
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
}

func harmless(t *testing.T, ex executor.Executor) {
	before := ex.Stats().Workers
	kinds := []string{"string", "goexit", "error", "dereference", "panic while leaving"}
	var bad []*futures.Future[string]
	var good []*futures.Future[int]
	for i := range 400 {
		bad = append(bad, executor.Submit(t.Context(), ex, crash, kinds[i%len(kinds)]))
		good = append(good, executor.Submit(t.Context(), ex, echo, i))
	}
	for i := range good {
		failure(t, bad[i], futures.Failed)
		require.Equal(t, i, result(t, good[i]))
	}
	s := ex.Stats()
	require.EqualValues(t, 400, s.Failed)
	require.EqualValues(t, 400, s.Finished)
	require.Zero(t, s.Lost)
	require.Len(t, s.Workers, len(before))
	for i, w := range s.Workers {
		require.Equal(t, before[i].PID, w.PID, "a worker was replaced")
	}
	requireSlots(t, ex)
}

func panicEndsChildren(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"string", "goexit"} {
		failure(t, executor.Submit(t.Context(), ex, waitThenCrash, how), futures.Failed)
	}
	eventually(t, "the children they left are cancelled", func() bool {
		s := ex.Stats()
		return s.Cancelled == 2 && s.Running+s.Abandoned+s.Pending == 0
	})
}

func panicOfInput(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, crash, "string")
	next := executor.Then(t.Context(), ex, same, f)
	require.Equal(t, requirePanic(t, failure(t, f, futures.Failed)).Value, requirePanic(t, failure(t, next, futures.Failed)).Value)
}

// aside is what testify wants of a test, to let an assertion fail that is none of t's.
type aside struct{ failed bool }

func (a *aside) Errorf(string, ...any) { a.failed = true }

func (a *aside) FailNow() { runtime.Goexit() }

func failNow(t *testing.T, ex executor.Executor) {
	var a aside
	f := executor.Go(t.Context(), ex, func(context.Context) (int, error) {
		require.Fail(&a, "this assertion is to fail")
		return 1, nil
	})
	require.ErrorIs(t, failure(t, f, futures.Failed), futures.ErrGoexit)
	require.True(t, a.failed)
}
