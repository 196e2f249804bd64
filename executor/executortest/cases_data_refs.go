package executortest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func init() {
	executor.Register(sumRefs)
	executor.Register(sumRefsBehind)
	executor.Register(resultOf)
	executor.Register(resultsOf)
	executor.Register(resultsByKey)
	executor.Register(keep)
	executor.Register(resultOfKept)
	executor.Register(noteOfKept)
}

func referenceCases(t *testing.T, open opener) {
	check(t, open, "G20/FuturesAreFoundEverywhere", refsEverywhere)
	check(t, open, "G20/FailedInputsEndTheTask", refsFail)
	check(t, open, "G20/ArgumentMayBeAFutureItself", refsThemselves)
	check(t, open, "G20/NilFuturesStayNil", refsNil)
	check(t, open, "G20/InputsFromAnywhere", refsFromAnywhere)
	check(t, open, "G20/LongChain", refsChain)
	check(t, open, "G20/ResultMayCarryFutures", refsInResult)
	check(t, open, "G20/NobodyWaitsForAResultsFutures", refsNotWaitedFor)
	check(t, open, "G20/FuturesGoThroughATask", refsThrough)
	check(t, open, "R10/MapWaitsForTheFuturesInItsItems", refsInItems)
	check(t, open, "R10/FailedInputEndsTheMap", refsInItemsFail)
	checkNear(t, open, "G20/CyclicArgumentNear", refsInRing)
}

// refs has a future in every place where one is looked for.
type refs struct {
	Board string
	One   *futures.Future[int]
	List  []*futures.Future[int]
	Pair  [2]*futures.Future[int]
	ByKey map[string]*futures.Future[int]
	Deep  *refs
	Many  []refs
	Texts map[int][]*futures.Future[string]
	Named
}

// Named is embedded in refs.
type Named struct{ Last *futures.Future[int] }

// sumRefs adds up all that is in r. All of it must be done before it starts.
func sumRefs(ctx context.Context, r refs) (total int, err error) {
	if r.Board != "" {
		sheetOf(r.Board).write("start")
	}
	all := append([]*futures.Future[int]{r.One, r.Last, r.Pair[0], r.Pair[1]}, r.List...)
	for _, f := range r.ByKey {
		all = append(all, f)
	}
	for _, f := range all {
		if f == nil {
			continue
		}
		if f.State() != futures.Finished || f.Err() != nil {
			return 0, fmt.Errorf("an input is %v inside the task: %w", f, f.Err())
		}
		<-f.Done()
		n, err := f.Result(ctx)
		if err != nil {
			return 0, err
		}
		total += n
	}
	for _, texts := range r.Texts {
		for _, f := range texts {
			s, err := f.Result(ctx)
			if err != nil {
				return 0, err
			}
			total += len(s)
		}
	}
	within := r.Many
	if r.Deep != nil {
		within = append(within[:len(within):len(within)], *r.Deep)
	}
	for _, r := range within {
		n, err := sumRefs(ctx, r)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func sumRefsBehind(ctx context.Context, r *refs) (int, error)           { return sumRefs(ctx, *r) }
func resultOf(ctx context.Context, f *futures.Future[int]) (int, error) { return f.Result(ctx) }
func resultsOf(ctx context.Context, fs []*futures.Future[int]) (int, error) {
	return sumRefs(ctx, refs{List: fs})
}
func resultsByKey(ctx context.Context, fs map[string]*futures.Future[int]) (int, error) {
	return sumRefs(ctx, refs{ByKey: fs})
}

// keep returns what it was given.
func keep(_ context.Context, k kept) (kept, error) { return k, nil }

func resultOfKept(ctx context.Context, k kept) (int, error) { return k.Inner.Result(ctx) }
func noteOfKept(_ context.Context, k kept) (string, error)  { return k.Note, nil }

// places put one future where refs may have one.
func places(f *futures.Future[int]) map[string]refs {
	one := refs{One: f}
	return map[string]refs{
		"a field":                  one,
		"an embedded field":        {Named: Named{f}},
		"a slice":                  {List: []*futures.Future[int]{nil, nil, f}},
		"an array":                 {Pair: [2]*futures.Future[int]{nil, f}},
		"a map":                    {ByKey: map[string]*futures.Future[int]{"a": nil, "b": f}},
		"behind a pointer":         {Deep: &one},
		"behind pointers":          {Deep: &refs{Deep: &refs{Deep: &refs{List: []*futures.Future[int]{f}}}}},
		"in a slice of structs":    {Many: []refs{{}, {Many: []refs{{}, {ByKey: map[string]*futures.Future[int]{"": f}}}}}},
		"behind a pointer, mapped": {Many: []refs{{Deep: &refs{Pair: [2]*futures.Future[int]{f}}}}},
	}
}

func refsEverywhere(t *testing.T, ex executor.Executor) {
	other := futures.Value(100)
	for name := range places(nil) {
		f, resolve := futures.New[int]()
		arg := places(f)[name]
		arg.Texts = map[int][]*futures.Future[string]{1: {futures.Value("four")}}
		if arg.Deep == nil {
			arg.Deep = &refs{One: other}
		}
		fs := []*futures.Future[int]{
			executor.Submit(t.Context(), ex, sumRefs, arg),
			executor.Submit(t.Context(), ex, sumRefsBehind, &arg),
			executor.SubmitAll(t.Context(), ex, sumRefs, []refs{arg})[0],
		}
		// they wait outside the slots
		taken := executor.SubmitAll(t.Context(), ex, triple, make([]int, 3*ex.Slots()))
		require.NoError(t, futures.All(taken...).Wait(soon(t)), name)
		for i, f := range fs {
			require.Equal(t, futures.Pending, f.State(), "%s: task %d did not wait for its input", name, i)
		}
		resolve(7, nil)
		want := 11
		if arg.Deep.One == other {
			want += 100
		}
		for i, f := range fs {
			require.Equal(t, want, result(t, f), "%s, task %d", name, i)
		}
	}
}

func refsFail(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	for name := range places(nil) {
		for _, early := range []bool{true, false} {
			f, resolve := futures.New[int]()
			g, _ := futures.New[int]()
			end := func() { resolve(0, errStep); g.Cancel(errCause) }
			if early {
				end()
			}
			failed, cancelled := places(f)[name], places(g)[name]
			failed.Board, cancelled.Board = b.name, b.name
			waits, _ := futures.New[int]() // which nobody resolves
			failed.List = append(failed.List, waits)
			one := executor.Submit(t.Context(), ex, sumRefs, failed)
			two := executor.Submit(t.Context(), ex, sumRefs, cancelled)
			if !early {
				require.Equal(t, futures.Pending, one.State(), name)
				end()
			}
			require.ErrorIs(t, failure(t, one, futures.Failed), errStep, name)
			err := failure(t, two, futures.Cancelled)
			require.ErrorIs(t, err, errCause, name)
			require.ErrorIs(t, err, futures.ErrCancelled, name)
		}
	}
	require.Zero(t, b.has("start"), "a task started though its input had failed")
}

func refsThemselves(t *testing.T, ex executor.Executor) {
	f, resolve := futures.New[int]()
	one := executor.Submit(t.Context(), ex, resultOf, f)
	list := executor.Submit(t.Context(), ex, resultsOf, []*futures.Future[int]{f, f, futures.Value(1)})
	keyed := executor.Submit(t.Context(), ex, resultsByKey, map[string]*futures.Future[int]{"f": f})
	mapped := executor.Map(t.Context(), ex, resultOf, []*futures.Future[int]{f, futures.Value(2)})
	require.Equal(t, futures.Pending, one.State())
	require.Equal(t, futures.Pending, list.State())
	require.Equal(t, futures.Pending, keyed.State())
	resolve(5, nil)
	require.Equal(t, 5, result(t, one))
	require.Equal(t, 11, result(t, list))
	require.Equal(t, 5, result(t, keyed))
	got, err := mapped.Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, []int{5, 2}, got)
}

func refsNil(t *testing.T, ex executor.Executor) {
	for name, arg := range places(nil) {
		require.Zero(t, result(t, executor.Submit(t.Context(), ex, sumRefs, arg)), name)
	}
	require.Zero(t, result(t, executor.Submit(t.Context(), ex, sumRefs, refs{})))
	got := result(t, executor.Submit(t.Context(), ex, keep, kept{Note: "nil"}))
	require.Nil(t, got.Inner)
}

func refsFromAnywhere(t *testing.T, ex executor.Executor) {
	other, err := executor.NewLocal(executor.Config{Threads: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	promise, resolve := futures.New[int]()
	scattered, err := executor.Scatter(t.Context(), ex, 1000)
	require.NoError(t, err)
	all := []*futures.Future[int]{
		futures.Value(1),
		promise,
		executor.Submit(t.Context(), other, triple, 10),
		executor.Submit(t.Context(), ex, triple, 100),
		scattered,
	}
	f := executor.Submit(t.Context(), ex, sumRefs, refs{List: all})
	var thens []*futures.Future[int]
	for _, one := range all {
		thens = append(thens, executor.Then(t.Context(), ex, triple, one))
	}
	resolve(2, nil)
	require.Equal(t, 1+2+30+300+1000, result(t, f))
	got, err := futures.Gather(soon(t), thens...)
	require.NoError(t, err)
	require.Equal(t, []int{3, 6, 90, 900, 3000}, got)
	pair := futures.Join(all[0], all[3])
	require.Equal(t, futures.Pair[int, int]{First: 1, Second: 300}, result(t, pair))
}

func refsChain(t *testing.T, ex executor.Executor) {
	f, resolve := futures.New[int]()
	first := f
	for range 1000 {
		f = executor.Submit(t.Context(), ex, sumRefs, refs{One: f, List: []*futures.Future[int]{futures.Value(1)}})
	}
	require.Equal(t, futures.Pending, first.State())
	resolve(0, nil)
	require.Equal(t, 1000, result(t, f))
}

// refsInResult: nobody waits for the future in a result, and it is the very one.
func refsInResult(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, leaveInner, step{I: 5, Await: gate.name})
	k := result(t, f)
	require.Equal(t, "inner", k.Note)
	require.False(t, k.Inner.State().Done(), "it waits for the gate")
	inner := executor.Then(t.Context(), ex, triple, k.Inner)
	require.False(t, inner.State().Done())
	gate.open()
	require.Equal(t, answer(5), result(t, k.Inner))
	require.Equal(t, 3*answer(5), result(t, inner))
	k = result(t, executor.Submit(t.Context(), ex, leaveInner, step{I: 6, Do: fails}))
	require.ErrorIs(t, failure(t, k.Inner, futures.Failed), errStep)
	b := newBoard(t, ex)
	k = result(t, executor.Submit(t.Context(), ex, leaveInner, step{I: 7, Do: blocks, Board: b.name}))
	b.wait(1, "start ")
	require.True(t, k.Inner.Cancel(errCause))
	require.ErrorIs(t, failure(t, k.Inner, futures.Cancelled), errCause)
	b.wait(1, "end ")
}

// refsNotWaitedFor: the argument of Then is a result, whose futures are its own affair.
// The function waits for them if it likes, and lends its slot.
func refsNotWaitedFor(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: the future that is not done has one")
	}
	gate := newBoard(t, ex)
	outer := executor.Submit(t.Context(), ex, leaveInner, step{I: 5, Await: gate.name})
	then := executor.Then(t.Context(), ex, resultOfKept, outer)
	noted := executor.Then(t.Context(), ex, noteOfKept, outer)
	require.Equal(t, "inner", result(t, noted), "it was called while the future was not done")
	require.False(t, then.State().Done())
	gate.open()
	require.Equal(t, answer(5), result(t, then))
}

func refsThrough(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, triple, 14)
	k := result(t, executor.Submit(t.Context(), ex, keep, kept{Inner: f, Note: "through"}))
	require.Equal(t, 42, result(t, k.Inner))
	require.Equal(t, "through", k.Note)
	again := result(t, executor.Submit(t.Context(), ex, keep, k))
	require.Equal(t, 42, result(t, again.Inner))
	require.Equal(t, 126, result(t, executor.Then(t.Context(), ex, triple, again.Inner)))
}

func refsInItems(t *testing.T, ex executor.Executor) {
	for name, opts := range chunkings(30) {
		b := newBoard(t, ex)
		items := make([]refs, 30)
		for i := range items {
			items[i] = refs{Board: b.name, One: futures.Value(i)}
		}
		last, resolve := futures.New[int]()
		items[29].Deep = &refs{Pair: [2]*futures.Future[int]{last}}
		batch := executor.Map(t.Context(), ex, sumRefs, items, opts...)
		result(t, executor.Submit(t.Context(), ex, triple, 1)) // the slots are free
		require.Equal(t, futures.Pending, batch.State(), name)
		require.Zero(t, b.has("start"), "%s: it starts when all are done", name)
		resolve(1000, nil)
		got, err := batch.Results(soon(t))
		require.NoError(t, err)
		for i, v := range got {
			require.Equal(t, i+i/29*1000, v)
		}
	}
}

func refsInItemsFail(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	f, resolve := futures.New[int]()
	g, _ := futures.New[int]()
	failed := executor.Map(t.Context(), ex, sumRefs, []refs{{Board: b.name}, {Board: b.name, One: f}})
	cancelled := executor.Map(t.Context(), ex, sumRefs, []refs{{Board: b.name}, {Board: b.name, One: g}})
	ended := executor.Map(t.Context(), ex, sumRefs, []refs{{Board: b.name}, {Board: b.name, One: g}})
	require.True(t, ended.Cancel(errCause))
	require.Equal(t, futures.Pending, g.State(), "cancelling a batch cancels no input of it")
	resolve(0, errStep)
	g.Cancel(errCause)
	_, err := failed.Results(soon(t))
	require.ErrorIs(t, err, errStep)
	require.Equal(t, futures.Failed, failed.State())
	_, err = cancelled.Results(soon(t))
	require.ErrorIs(t, err, errCause)
	require.Equal(t, futures.Cancelled, cancelled.State())
	require.Zero(t, b.has("start"))
}

// A ring is cyclic, which near is nobody's business.
type ring struct {
	One  *futures.Future[int]
	Next *ring
}

func refsInRing(t *testing.T, ex executor.Executor) {
	f, resolve := futures.New[int]()
	r := &ring{One: f}
	r.Next = &ring{Next: r}
	g := executor.Submit(t.Context(), ex, func(ctx context.Context, r *ring) (int, error) { return r.Next.Next.One.Result(ctx) }, r)
	require.Equal(t, futures.Pending, g.State())
	resolve(3, nil)
	require.Equal(t, 3, result(t, g))
}
