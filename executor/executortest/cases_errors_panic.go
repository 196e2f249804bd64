package executortest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func panicErrorCases(t *testing.T, open opener) {
	check(t, open, "G24/PanicsArriveAsPanicErrors", panicErrors)
	check(t, open, "G24/PanicValuesThatAreErrors", panicsWithErrors)
	check(t, open, "G24/PanicValuesThatAreNoErrors", panicsWithValues)
	check(t, open, "G24/LongPanicsAreCut", panicLong)
	check(t, open, "G24/PermanentErrorIsItself", permanentErrors)
}

func panicked(t *testing.T, ex executor.Executor, how string) (*futures.PanicError, error) {
	t.Helper()
	err := failure(t, executor.Submit(t.Context(), ex, panicAs, how), futures.Failed)
	var p *futures.PanicError
	require.ErrorAs(t, err, &p, how)
	return p, err
}

func panicErrors(t *testing.T, ex executor.Executor) {
	for _, how := range []string{"text", "sentinel", "wrapped", "code", "stray", "struct", "nil", "nil map", "nil pointer", "bad stringer", "channel"} {
		p, err := panicked(t, ex, how)
		require.NotEmpty(t, err.Error())
		stack := string(p.Stack)
		require.Contains(t, stack, "panicAs", how)
		require.Contains(t, stack, "funcs_errors.go:", how)
		for _, own := range []string{"nearfar/pool.", "nearfar/executor.", "ants"} {
			require.NotContains(t, stack, own, "%s: frames of the library", how)
		}
		b := executor.Map(t.Context(), ex, panicAs, []string{how})
		require.ErrorAs(t, b.Wait(soon(t)), &p)
		require.Contains(t, string(p.Stack), "panicAs", how)
	}
}

func panicsWithErrors(t *testing.T, ex executor.Executor) {
	p, err := panicked(t, ex, "sentinel")
	require.ErrorIs(t, err, errDeep)
	_, ok := p.Value.(error)
	require.True(t, ok, "its Value is the error, not %T", p.Value)
	_, err = panicked(t, ex, "wrapped")
	require.ErrorIs(t, err, errDeep)
	require.ErrorContains(t, err, "twice: once: ")
	_, err = panicked(t, ex, "code")
	var code codeError
	require.ErrorAs(t, err, &code)
	require.Equal(t, codeError{3, "three"}, code)
	_, err = panicked(t, ex, "stray")
	require.ErrorIs(t, err, errDeep)
	require.ErrorContains(t, err, "astray 4")
	p, err = panicked(t, ex, "nil")
	require.ErrorContains(t, err, "nil")
	require.NotNil(t, p.Value, "Go makes it an error")
	_, err = panicked(t, ex, "nil map")
	require.ErrorContains(t, err, "nil map")
	if isNear(ex) {
		var rt runtime.Error
		require.ErrorAs(t, err, &rt)
		var none *runtime.PanicNilError
		require.True(t, errors.As(p, &none))
	}
}

func panicsWithValues(t *testing.T, ex executor.Executor) {
	for how, want := range map[string]any{"text": "a text", "struct": pairOfInts{1, 2}} {
		p, err := panicked(t, ex, how)
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(p.Value))
		require.ErrorContains(t, err, fmt.Sprint(want))
		require.NoError(t, errors.Unwrap(p))
		if isNear(ex) {
			require.Equal(t, want, p.Value)
		} else {
			require.IsType(t, "", p.Value, "far, it is the text")
		}
	}
}

func panicLong(t *testing.T, ex executor.Executor) {
	p, err := panicked(t, ex, "long")
	require.True(t, strings.HasPrefix(fmt.Sprint(p.Value), "long long "))
	if isNear(ex) {
		require.Len(t, p.Value, 5<<20)
		return
	}
	require.Less(t, len(err.Error()), 100<<10)
	require.Less(t, len(fmt.Sprint(p.Value)), 100<<10)
	require.Contains(t, string(p.Stack), "panicAs")
}

// permanentErrors: Permanent ends the retries, and leaves no trace in the error.
func permanentErrors(t *testing.T, ex executor.Executor) {
	for _, wrap := range []bool{false, true} {
		for _, opts := range [][]executor.Option{nil, {executor.WithRetries(3)}} {
			err := failure(t, executor.Submit(t.Context(), ex, failForGood, wrap, opts...), futures.Failed)
			var code codeError
			require.ErrorAs(t, err, &code)
			require.Equal(t, codeError{1, "one"}, code)
			require.ErrorContains(t, err, "attempt 1: code 1: one")
			if isNear(ex) && !wrap {
				require.Equal(t, "attempt 1: code 1: one", err.Error())
				require.Equal(t, fmt.Sprintf("%T", fmt.Errorf("%w", err)), fmt.Sprintf("%T", err), "the error is what Permanent was given")
			}
		}
	}
	require.Zero(t, ex.Stats().Retried)
	require.NoError(t, executor.Permanent(nil))
	require.ErrorIs(t, executor.Permanent(errDeep), errDeep)
}
