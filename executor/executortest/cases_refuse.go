package executortest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func refuseCases(t *testing.T, open opener) {
	check(t, open, "G26/TypesThatCannotTravel", refusedTypes)
	check(t, open, "G26/CyclesAreRefused", refusedCycles)
	check(t, open, "G26/ResultsThatCannotTravel", refusedResults)
	check(t, open, "G26/FunctionsThatCannotTravel", refusedFunctions)
}

func init() {
	executor.Register(passOn[withChannel])
	executor.Register(passOn[withFunction])
	executor.Register(passOn[withInterface])
	executor.Register(passOn[withHidden])
	executor.Register(passOn[*loop])
	executor.Register(makesChannel)
	executor.Register(makesLoop)
}

// What cannot be encoded faithfully, each with the path to the reason.
type (
	withChannel   struct{ Parts []chan int }
	withFunction  struct{ Hooks map[string]func() }
	withInterface struct{ Box struct{ V any } }
	withHidden    struct{ Box struct{ v int } }
	loop          struct{ Next *loop }
)

func passOn[T any](_ context.Context, v T) (T, error) { return v, nil }

func makesChannel(context.Context, int) (withChannel, error) { return withChannel{}, nil }

func makesLoop(context.Context, int) (*loop, error) {
	l := &loop{}
	l.Next = l
	return l, nil
}

// requireUntravelled: what travels is refused, with a path; near it is passed on.
func requireUntravelled(t *testing.T, near bool, w futures.Waiter, path string) {
	t.Helper()
	ended(t, w)
	if near {
		require.NoError(t, w.Err())
		return
	}
	require.ErrorIs(t, w.Err(), executor.ErrNotEncodable)
	require.ErrorContains(t, w.Err(), path)
}

func refusedTypes(t *testing.T, ex executor.Executor) {
	near, ctx := isNear(ex), t.Context()
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, withChannel{}), "Parts")
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, withFunction{}), "Hooks")
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, withInterface{}), "Box.V")
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, withHidden{}), "Box.v")
	requireUntravelled(t, near, executor.Map(ctx, ex, passOn, make([]withChannel, 3)), "Parts")
	requireUntravelled(t, near, executor.SubmitAll(ctx, ex, passOn, make([]withHidden, 3))[1], "Box.v")
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, withChannel{}, executor.WithRetries(1)), "Parts")
}

func refusedCycles(t *testing.T, ex executor.Executor) {
	near, ctx := isNear(ex), t.Context()
	cycle, _ := makesLoop(ctx, 0)
	requireUntravelled(t, near, executor.Submit(ctx, ex, passOn, cycle), "Next")
	requireUntravelled(t, near, executor.Submit(ctx, ex, makesLoop, 0), "Next")
	straight := executor.Submit(ctx, ex, passOn, &loop{&loop{}})
	require.Equal(t, &loop{&loop{}}, result(t, straight), "the type alone is no reason")
}

func refusedResults(t *testing.T, ex executor.Executor) {
	requireUntravelled(t, isNear(ex), executor.Submit(t.Context(), ex, makesChannel, 1), "Parts")
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)), "the worker is as it was")
}

func refusedFunctions(t *testing.T, ex executor.Executor) {
	captured := 7
	fs := []*futures.Future[int]{
		executor.Submit(t.Context(), ex, unregistered, make(chan int, 7)),
		executor.Submit(t.Context(), ex, func(context.Context, int) (int, error) { return captured, nil }, 0),
		executor.Go(t.Context(), ex, func(context.Context) (int, error) { return captured, nil }),
	}
	for _, f := range fs {
		if isNear(ex) {
			require.Equal(t, 7, result(t, f))
		} else {
			require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrNotRegistered)
		}
	}
}
