package executortest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// dependCases: tasks wait for their inputs outside the slots, and end with them.
func dependCases(t *testing.T, open opener) {
	check(t, open, "G5/FailedInputEndsDependents", failedInput)
	check(t, open, "G5/CancelledInputEndsDependents", cancelledInput)
	check(t, open, "G5/OneBadInputOfManyIsEnough", oneBadInput)
	check(t, open, "G5/InputThatFailedBefore", failedBefore)
	check(t, open, "G5/LongChainFails", longChainFails)
	check(t, open, "G5/ManyDependentsFail", wideFails)
	check(t, open, "G5/InputResolvesWhileItIsSubmitted", inputRaces)
	check(t, open, "G6/LongChain", longChain)
	check(t, open, "G6/DependentsTakeNoSlot", dependentsTakeNoSlot)
	check(t, open, "G6/AnyGraphEnds", anyGraph)
	check(t, open, "G6/FuturesInArgument", futuresInArgument)
	check(t, open, "G6/InputOfAnotherExecutor", func(t *testing.T, ex executor.Executor) { foreignInput(t, ex, open(t)) })
}

func failedInput(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	in := executor.Submit(t.Context(), ex, returns, "eof")
	one := executor.Then(t.Context(), ex, same, in)
	two := executor.Then(t.Context(), ex, same, one)
	noted := executor.Then(t.Context(), ex, noteOf, futures.Join(two, futures.Value(b.name)))
	tried := executor.Then(t.Context(), ex, noteOf, futures.Join(two, futures.Value(b.name)), executor.WithRetries(5))
	err := failure(t, in, futures.Failed)
	for _, f := range []*futures.Future[string]{one, two, noted, tried} {
		got := failure(t, f, futures.Failed)
		require.ErrorIs(t, got, err)
		require.Equal(t, err.Error(), got.Error(), "the same error")
	}
	require.Empty(t, b.lines(), "they never start")
	s := ex.Stats()
	require.EqualValues(t, 5, s.Failed)
	require.Zero(t, s.Retried, "a task whose input failed has not run")
}

func cancelledInput(t *testing.T, ex executor.Executor) {
	in := executor.Submit(t.Context(), ex, sleeper, 1)
	one := executor.Then(t.Context(), ex, echo, in)
	two := executor.Then(t.Context(), ex, echo, one, executor.WithRetries(3))
	three := executor.Submit(t.Context(), ex, sumOfInputs, Inputs{Many: []*futures.Future[int]{futures.Value(1), in}})
	in.Cancel(errStop)
	err := failure(t, in, futures.Cancelled)
	for _, f := range []*futures.Future[int]{one, two, three} {
		got := failure(t, f, futures.Cancelled)
		requireStopped(t, got)
		require.Equal(t, err.Error(), got.Error())
	}
}

func oneBadInput(t *testing.T, ex executor.Executor) {
	never, _ := futures.New[int]()
	bad, resolve := futures.New[int]()
	fs := []*futures.Future[int]{
		executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: bad, Many: []*futures.Future[int]{never}}),
		executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: never, Many: []*futures.Future[int]{never, bad}}),
		executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: never, Map: map[string]*futures.Future[int]{"a": never, "b": bad}}),
		executor.Then(t.Context(), ex, sum, futures.All(never, bad)),
		executor.Reduce(t.Context(), ex, sum, []*futures.Future[int]{never, bad}),
	}
	require.EqualValues(t, len(fs), ex.Stats().Pending)
	resolve(0, errRefused)
	for i, f := range fs {
		require.ErrorIs(t, failure(t, f, futures.Failed), errRefused, "task %d", i)
	}
	require.Zero(t, ex.Stats().Pending)
}

func failedBefore(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f := executor.Then(t.Context(), ex, note, futures.Error[Post](errRefused))
	require.Same(t, errRefused, f.Err(), "at once")
	g := executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: futures.Error[int](errRefused)})
	require.ErrorIs(t, g.Err(), errRefused)
	gone, _ := futures.New[Post]()
	gone.Cancel(errStop)
	h := executor.Then(t.Context(), ex, note, gone)
	require.Equal(t, futures.Cancelled, h.State())
	require.Equal(t, 1, result(t, executor.Submit(t.Context(), ex, echo, 1)))
	require.Empty(t, b.lines())
}

const chainLength = 10_000 / less

// chain is n tasks, each of which depends on the one before.
func chain(t *testing.T, ex executor.Executor, in *futures.Future[int], n int) []*futures.Future[int] {
	fs := make([]*futures.Future[int], n)
	for i := range fs {
		fs[i] = executor.Then(t.Context(), ex, echo, in)
		in = fs[i]
	}
	return fs
}

func longChainFails(t *testing.T, ex executor.Executor) {
	for _, end := range []func(f *futures.Future[int], resolve func(int, error) bool){
		func(_ *futures.Future[int], resolve func(int, error) bool) { resolve(0, errRefused) },
		func(f *futures.Future[int], _ func(int, error) bool) { f.Cancel(errStop) },
	} {
		head, resolve := futures.New[int]()
		fs := chain(t, ex, head, chainLength)
		require.EqualValues(t, chainLength, ex.Stats().Pending)
		within(t, "the end of the head", func() { end(head, resolve) })
		for _, f := range fs {
			require.Equal(t, head.State(), failState(t, f))
		}
		require.Zero(t, ex.Stats().Pending)
	}
	s := ex.Stats()
	require.EqualValues(t, chainLength, s.Failed)
	require.EqualValues(t, chainLength, s.Cancelled)
}

// failState waits for what must not finish, and returns its state.
func failState[T any](t *testing.T, f *futures.Future[T]) futures.State {
	t.Helper()
	ended(t, f)
	require.Error(t, f.Err())
	return f.State()
}

func longChain(t *testing.T, ex executor.Executor) {
	head, resolve := futures.New[int]()
	fs := chain(t, ex, head, chainLength)
	resolve(3, nil)
	require.Equal(t, 3, result(t, fs[chainLength-1]))
	for _, f := range fs {
		require.Equal(t, futures.Finished, f.State())
	}
}

func wideFails(t *testing.T, ex executor.Executor) {
	head, resolve := futures.New[int]()
	fs := make([]*futures.Future[int], chainLength)
	for i := range fs {
		fs[i] = executor.Then(t.Context(), ex, echo, head)
	}
	gone := fs[:chainLength/2]
	for _, f := range gone { // those that leave must not cost those that stay
		f.Cancel(errStop)
	}
	resolve(0, errRefused)
	for _, f := range gone {
		require.Equal(t, futures.Cancelled, f.State())
	}
	for _, f := range fs[chainLength/2:] {
		require.ErrorIs(t, failure(t, f, futures.Failed), errRefused)
	}
}

// inputRaces resolves inputs while tasks are submitted that depend on them.
func inputRaces(t *testing.T, ex executor.Executor) {
	for i := range 300 {
		p, resolve := futures.New[int]()
		var wg sync.WaitGroup
		fs := make([]*futures.Future[int], 6)
		for k := range fs {
			wg.Go(func() {
				switch k % 3 {
				case 0:
					fs[k] = executor.Then(t.Context(), ex, echo, p)
				case 1:
					fs[k] = executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: p, Plus: 1, Many: []*futures.Future[int]{futures.Value(-1)}})
				case 2:
					fs[k] = executor.Then(t.Context(), ex, sum, futures.All(p))
				}
			})
		}
		if i%3 == 0 {
			wg.Go(func() { resolve(0, errRefused) })
		} else {
			wg.Go(func() { resolve(i, nil) })
		}
		wg.Wait()
		for _, f := range fs {
			if i%3 == 0 {
				require.ErrorIs(t, failure(t, f, futures.Failed), errRefused)
			} else {
				require.Equal(t, i, result(t, f))
			}
		}
	}
}

func dependentsTakeNoSlot(t *testing.T, ex executor.Executor) {
	p, resolve := futures.New[int]()
	n := 20 * ex.Slots()
	var fs []*futures.Future[int]
	for i := range n {
		fs = append(fs, executor.Then(t.Context(), ex, echo, p),
			executor.Submit(t.Context(), ex, sumOfInputs, Inputs{One: p, Plus: i}))
	}
	require.EqualValues(t, 2*n, ex.Stats().Pending)
	requireIdle := func() { require.Zero(t, ex.Stats().Running) }
	requireIdle()
	for i := range n {
		require.Equal(t, i, result(t, executor.Submit(t.Context(), ex, echo, i)))
	}
	requireIdle()
	resolve(5, nil)
	for i := range n {
		require.Equal(t, 5, result(t, fs[2*i]))
		require.Equal(t, 5+i, result(t, fs[2*i+1]))
	}
}

// anyGraph is one in which each task adds up some that were submitted before it, and
// which was submitted as a whole before the first could run.
func anyGraph(t *testing.T, ex executor.Executor) {
	for seed := range uint64(5) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		root, resolve := futures.New[int]()
		fs := []*futures.Future[int]{root}
		want := []int{1}
		for i := 1; i < 600; i++ {
			var in []*futures.Future[int]
			total := 0
			for range 1 + rnd.IntN(5) {
				k := rnd.IntN(len(fs))
				in = append(in, fs[k])
				total = (total + want[k]) % 1000003
			}
			want = append(want, total)
			switch rnd.IntN(3) {
			case 0:
				fs = append(fs, executor.Then(t.Context(), ex, sumMod, futures.All(in...)))
			case 1:
				fs = append(fs, executor.Then(t.Context(), ex, sumMod, futures.All(executor.Submit(t.Context(), ex, sumOfInputs, Inputs{Many: in}))))
			case 2:
				fs = append(fs, executor.Then(t.Context(), ex, sumMod, futures.All(executor.Reduce(t.Context(), ex, sum, in))))
			}
		}
		resolve(1, nil)
		for i, f := range fs {
			require.Equal(t, want[i], result(t, f), "task %d, seed %d", i, seed)
		}
	}
}

func futuresInArgument(t *testing.T, ex executor.Executor) {
	one := executor.Submit(t.Context(), ex, echo, 1)
	p, resolve := futures.New[int]()
	f := executor.Submit(t.Context(), ex, sumOfInputs, Inputs{
		One: one, Many: []*futures.Future[int]{one, nil, p}, Map: map[string]*futures.Future[int]{"x": futures.Value(100)}, Plus: 1000,
	})
	require.Equal(t, 1, result(t, one))
	require.Equal(t, futures.Pending, f.State())
	resolve(10, nil)
	require.Equal(t, 1112, result(t, f))
	require.Equal(t, 5, result(t, executor.Submit(t.Context(), ex, sumOfInputs, Inputs{Plus: 5})))
}

func foreignInput(t *testing.T, one, two executor.Executor) {
	a := executor.Submit(t.Context(), one, echo, 1)
	b := executor.Then(t.Context(), two, echo, a)
	c := executor.Submit(t.Context(), one, sumOfInputs, Inputs{One: a, Many: []*futures.Future[int]{b}})
	require.Equal(t, 2, result(t, c))
	bad := executor.Then(t.Context(), two, echo, executor.Submit(t.Context(), one, refuse, 1))
	require.ErrorIs(t, failure(t, bad, futures.Failed), errRefused)
}
