package executortest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func reduceCases(t *testing.T, open opener) {
	check(t, open, "R9/ReduceKeepsTheOrder", reduceOrder)
	check(t, open, "R9/ReduceOfNoneAndOne", reduceFew)
	check(t, open, "R9/InputsInAnyOrderOfArrival", reduceLate)
	check(t, open, "R9/FailedInputEndsReduce", reduceBadInput)
	check(t, open, "R9/FailedCallEndsReduce", reduceFails)
	check(t, open, "R9/CancelEndsTheCallsAndNotTheInputs", reduceCancel)
	check(t, open, "R9/InputsOfAnyKind", reduceKinds)
	check(t, open, "R9/WrongFanInIsRefused", reduceRefused)
}

// ropes are n finished futures of texts, and the texts joined.
func ropes(n int) (in []*futures.Future[rope], text string) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,", i)
		in = append(in, futures.Value(rope{Text: fmt.Sprintf("%d,", i)}))
	}
	return in, b.String()
}

func reduceOrder(t *testing.T, ex executor.Executor) {
	for _, fanIn := range []int{0, 2, 3, 7, 16, 1000} {
		var opts []executor.Option
		most := 16
		if fanIn > 0 {
			opts, most = append(opts, executor.WithFanIn(fanIn)), fanIn
		}
		for _, n := range []int{2, 3, 4, 15, 16, 17, 31, 32, 33, 100, 256, 257} {
			in, text := ropes(n)
			got := result(t, executor.Reduce(t.Context(), ex, concat, in, opts...))
			require.Equal(t, text, got.Text, "%d inputs, fan-in %d", n, fanIn)
			require.LessOrEqual(t, got.Most, most, "%d inputs, fan-in %d", n, fanIn)
			if n <= most {
				require.Equal(t, 1, got.Calls, "%d inputs, fan-in %d", n, fanIn)
			}
			for _, f := range in {
				require.Equal(t, 0, result(t, f).Calls, "an input has changed")
			}
		}
	}
}

func reduceFew(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithFanIn(2)}} {
		for _, in := range [][]*futures.Future[rope]{nil, {}} {
			got := result(t, executor.Reduce(t.Context(), ex, concat, in, opts...))
			require.Equal(t, rope{Calls: 1, None: true}, got, "called once, with nil")
		}
		one := []*futures.Future[rope]{futures.Value(rope{Text: "only"})}
		got := result(t, executor.Reduce(t.Context(), ex, concat, one, opts...))
		require.Equal(t, rope{Text: "only", Calls: 1, Most: 1}, got)
	}
}

func reduceLate(t *testing.T, ex executor.Executor) {
	in := make([]*futures.Future[rope], 40)
	resolve := make([]func(rope, error) bool, 40)
	for i := range in {
		in[i], resolve[i] = futures.New[rope]()
	}
	f := executor.Reduce(t.Context(), ex, concat, in, executor.WithFanIn(3))
	for i := range in { // neither forwards nor backwards
		at := i * 17 % 40
		require.False(t, f.State().Done())
		require.True(t, resolve[at](rope{Text: fmt.Sprintf("%d,", at)}, nil))
	}
	_, text := ropes(40)
	require.Equal(t, text, result(t, f).Text)
}

func reduceBadInput(t *testing.T, ex executor.Executor) {
	for _, at := range []int{0, 17, 39} {
		in, _ := ropes(40)
		bad, resolve := futures.New[rope]()
		in[at] = bad
		f := executor.Reduce(t.Context(), ex, concat, in)
		resolve(rope{}, errStep)
		require.ErrorIs(t, failure(t, f, futures.Failed), errStep)

		in[at], _ = futures.New[rope]()
		f = executor.Reduce(t.Context(), ex, concat, in)
		in[at].Cancel(errCause)
		require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
	}
	only, _ := futures.New[rope]()
	f := executor.Reduce(t.Context(), ex, concat, []*futures.Future[rope]{only})
	only.Cancel(errCause)
	require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
}

func reduceFails(t *testing.T, ex executor.Executor) {
	for _, at := range []int{0, 50, 99} {
		in, _ := ropes(100)
		in[at] = futures.Value(rope{Text: fails})
		f := executor.Reduce(t.Context(), ex, concat, in, executor.WithFanIn(2))
		require.ErrorIs(t, failure(t, f, futures.Failed), errStep)
	}
}

func reduceCancel(t *testing.T, ex executor.Executor) {
	in := make([]*futures.Future[rope], 40)
	resolve := make([]func(rope, error) bool, 40)
	for i := range in {
		in[i], resolve[i] = futures.New[rope]()
		if i%2 == 0 {
			resolve[i](rope{}, nil)
		}
	}
	before := ex.Stats()
	f := executor.Reduce(t.Context(), ex, concat, in, executor.WithFanIn(2))
	require.True(t, f.Cancel(errCause))
	require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
	for i, one := range in {
		require.Equal(t, i%2 == 0, one.State() == futures.Finished)
		require.Equal(t, i%2 == 1, one.State() == futures.Pending, "an input was cancelled")
	}
	eventually(t, "the calls inside are cancelled", func() bool { return ex.Stats().Pending == 0 })
	for i := range in {
		if i%2 == 1 {
			require.True(t, resolve[i](rope{}, nil))
		}
	}
	require.Equal(t, before.Finished, ex.Stats().Finished, "a call ran all the same")

	ctx, cancel := context.WithCancelCause(t.Context())
	late, _ := futures.New[rope]()
	f = executor.Reduce(ctx, ex, concat, []*futures.Future[rope]{late, late, late}, executor.WithFanIn(2))
	cancel(errCause)
	require.ErrorIs(t, failure(t, f, futures.Cancelled), errCause)
	require.Equal(t, futures.Pending, late.State())
}

// reduceKinds reduces the results of tasks, some of them twice, and releases them at once.
func reduceKinds(t *testing.T, ex executor.Executor) {
	const n = 64
	texts := make([][]rope, n)
	var want strings.Builder
	for i := range texts {
		texts[i] = []rope{{Text: fmt.Sprint(i, " ")}}
		want.WriteString(texts[i][0].Text)
	}
	b := executor.Map(t.Context(), ex, concat, texts)
	require.Equal(t, want.String(), result(t, executor.Reduce(t.Context(), ex, concat, b.Futures())).Text)

	fs := executor.SubmitAll(t.Context(), ex, concat, texts)
	f := executor.Reduce(t.Context(), ex, concat, append(fs, fs...), executor.WithFanIn(5))
	for _, one := range fs {
		one.Release()
	}
	require.Equal(t, want.String()+want.String(), result(t, f).Text)
}

func reduceRefused(t *testing.T, ex executor.Executor) {
	in, _ := ropes(5)
	for _, n := range []int{-1, 1} {
		f := executor.Reduce(t.Context(), ex, concat, in, executor.WithFanIn(n))
		require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrConfig, "fan-in %d", n)
	}
	require.Panics(t, func() { executor.Reduce(t.Context(), ex, nil, in) })
	require.Panics(t, func() { executor.Reduce(t.Context(), ex, concat, []*futures.Future[rope]{nil}) })
	require.NoError(t, ex.Close())
	for _, in := range [][]*futures.Future[rope]{nil, in[:1], in} {
		f := executor.Reduce(t.Context(), ex, concat, in)
		require.ErrorIs(t, failure(t, f, futures.Failed), executor.ErrClosed)
	}
}
