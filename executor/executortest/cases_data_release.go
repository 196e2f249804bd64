package executortest

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func releaseCases(t *testing.T, open opener) {
	check(t, open, "G21/ReleaseOfAFinishedFuture", releaseFinished)
	check(t, open, "G21/ReleaseOfAnUnfinishedFuture", releaseUnfinished)
	check(t, open, "G21/ReleaseOfWhatFailed", releaseFailed)
	check(t, open, "G21/InputsOfSubmittedTasksSurvive", releaseInputs)
	check(t, open, "G21/InputsOfASubmittedMapSurvive", releaseInputsOfMap)
	check(t, open, "G21/TasksSubmittedLaterDoNotGetIt", releaseThenSubmit)
	check(t, open, "G21/ReleaseRacesWithReaders", releaseRaces)
	checkNear(t, open, "G21/ReleasedValuesAreCollected", releaseCollects)
	checkNear(t, open, "G21/ReleasedBatchesAreCollected", releaseCollectsBatch)
	checkNear(t, open, "G21/CollectedFuturesLetTheirValuesGo", collectedFuture)
	for name := range usesOf {
		checkNear(t, open, "G21/TasksThatHaveRunLetTheirInputsGo/"+name, func(t *testing.T, ex executor.Executor) { collectedInput(t, ex, name) })
	}
}

func releaseFinished(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, doStep, step{I: 1})
	require.Equal(t, answer(1), result(t, f))
	for range 2 {
		f.Release()
		_, err := f.Result(soon(t))
		require.ErrorIs(t, err, futures.ErrReleased)
		require.Equal(t, futures.Finished, f.State(), "State and Err never change")
		require.NoError(t, f.Err())
		await(t, "Done", f.Done())
		require.False(t, f.Cancel(errCause))
	}
}

func releaseUnfinished(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	f := executor.Submit(t.Context(), ex, doStep, step{I: 1, Await: gate.name})
	g, resolve := futures.New[int]()
	then := executor.Then(t.Context(), ex, triple, g) // waits
	waiter := make(chan error)
	go func() { // ends with f
		_, err := f.Result(context.WithoutCancel(t.Context()))
		waiter <- err
	}()
	f.Release()
	then.Release()
	require.False(t, f.State().Done(), "it runs all the same")
	gate.open()
	resolve(1, nil)
	require.NoError(t, f.Wait(soon(t)))
	require.NoError(t, then.Wait(soon(t)))
	for _, one := range []*futures.Future[int]{f, then} {
		_, err := one.Result(soon(t))
		require.ErrorIs(t, err, futures.ErrReleased)
		require.Equal(t, futures.Finished, one.State())
	}
	require.ErrorIs(t, <-waiter, futures.ErrReleased)
}

func releaseFailed(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, doStep, step{Do: fails})
	g := executor.Submit(t.Context(), ex, doStep, step{Do: blocks})
	g.Release()
	require.True(t, g.Cancel(errCause))
	failure(t, f, futures.Failed)
	f.Release()
	require.Equal(t, futures.Failed, f.State())
	require.ErrorIs(t, f.Err(), errStep)
	require.Equal(t, futures.Cancelled, g.State())
	require.ErrorIs(t, g.Err(), errCause)
}

func releaseInputs(t *testing.T, ex executor.Executor) {
	gate := newBoard(t, ex)
	taken := executor.SubmitAll(t.Context(), ex, doStep, steps(ex.Slots(), func(s *step) { s.Await = gate.name }))
	done := futures.Value(10)
	one := executor.Then(t.Context(), ex, triple, done) // behind the gate
	two := executor.Submit(t.Context(), ex, sumRefs, refs{One: done, Deep: &refs{One: taken[0]}})
	three := executor.Then(t.Context(), ex, triple, one)
	text := futures.Value(rope{Text: "a"})
	four := executor.Reduce(t.Context(), ex, concat, []*futures.Future[rope]{text, text, text}, executor.WithFanIn(2))
	five := executor.Then(t.Context(), ex, sum, futures.All(done, one))
	done.Release()
	one.Release()
	taken[0].Release()
	text.Release()
	gate.open()
	require.Equal(t, 10+answer(0), result(t, two))
	require.Equal(t, 90, result(t, three))
	require.Equal(t, "aaa", result(t, four).Text)
	require.Equal(t, 40, result(t, five))
	_, err := one.Result(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
}

func releaseInputsOfMap(t *testing.T, ex executor.Executor) {
	for name, opts := range map[string][]executor.Option{"plain": nil, "retries": {executor.WithRetries(1)}, "chunks": {executor.WithChunkSize(2)}} {
		done := futures.Value(10)
		late, resolve := futures.New[int]()
		b := executor.Map(t.Context(), ex, resultOf, []*futures.Future[int]{done, late, done}, opts...)
		done.Release()
		late.Release()
		resolve(20, nil)
		got, err := b.Results(soon(t))
		require.NoError(t, err, name)
		require.Equal(t, []int{10, 20, 10}, got)
	}
}

func releaseThenSubmit(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, doStep, step{I: 1})
	require.NoError(t, f.Wait(soon(t)))
	f.Release()
	require.ErrorIs(t, failure(t, executor.Then(t.Context(), ex, triple, f), futures.Failed), futures.ErrReleased)
	_, err := executor.Submit(t.Context(), ex, sumRefs, refs{One: f}).Result(soon(t))
	require.ErrorIs(t, err, futures.ErrReleased)
}

// releaseRaces: a reader gets the value, or is told that it is gone, and nothing else.
func releaseRaces(t *testing.T, ex executor.Executor) {
	for round := range 300 {
		f := executor.Submit(t.Context(), ex, doStep, step{I: round})
		then := executor.Then(t.Context(), ex, triple, f)
		var wg sync.WaitGroup
		got := make([]error, 3)
		for i := range got {
			wg.Go(func() {
				v, err := f.Result(soon(t))
				if err == nil && v != answer(round) {
					err = errStep
				}
				got[i] = err
			})
		}
		f.Release()
		within(t, "the readers return", wg.Wait)
		for _, err := range got {
			if err != nil {
				require.ErrorIs(t, err, futures.ErrReleased)
			}
		}
		require.Equal(t, 3*answer(round), result(t, then), "its task was submitted before")
	}
}

// A load is a value that is large enough to be worth collecting.
type load [1 << 16]byte

func bring(context.Context, int) (*load, error) { return new(load), nil }

// requireCollected: nothing holds the value any more.
func requireCollected(t *testing.T, what string, w weak.Pointer[load]) {
	t.Helper()
	eventually(t, what+" is collected", func() bool {
		runtime.GC()
		return w.Value() == nil
	})
}

func weakly(t *testing.T, f *futures.Future[*load]) weak.Pointer[load] {
	t.Helper()
	return weak.Make(result(t, f))
}

func releaseCollects(t *testing.T, ex executor.Executor) {
	one := executor.Submit(t.Context(), ex, bring, 0)
	two := executor.SubmitAll(t.Context(), ex, bring, make([]int, 10))[3]
	three := executor.Go(t.Context(), ex, func(context.Context) (*load, error) { return new(load), nil })
	four, err := executor.Scatter(t.Context(), ex, new(load))
	require.NoError(t, err)
	five := futures.Value(new(load))
	for i, f := range []*futures.Future[*load]{one, two, three, four, five} {
		w := weakly(t, f)
		f.Release()
		requireCollected(t, []string{"Submit's", "SubmitAll's", "Go's", "Scatter's", "Value's"}[i]+" released value", w)
		runtime.KeepAlive(f)
	}
	// and one that is released before it is there
	gate := newBoard(t, ex)
	w := make(chan weak.Pointer[load], 1)
	f := executor.Go(t.Context(), ex, func(context.Context) (*load, error) {
		<-sheetOf(gate.name).gate
		l := new(load)
		w <- weak.Make(l)
		return l, nil
	})
	f.Release()
	gate.open()
	require.NoError(t, f.Wait(soon(t)))
	requireCollected(t, "a value that came after its release", <-w)
	runtime.KeepAlive(f)
}

func releaseCollectsBatch(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, bring, make([]int, 20))
	all, err := b.Results(soon(t))
	require.NoError(t, err)
	w := weak.Make(all[7])
	all = nil
	b.Release()
	requireCollected(t, "a released batch's value", w)
	runtime.KeepAlive(b)
}

func collectedFuture(t *testing.T, ex executor.Executor) {
	w := weakly(t, executor.Submit(t.Context(), ex, bring, 0))
	requireCollected(t, "the value of a future that nobody holds", w)
	f, err := executor.Scatter(t.Context(), ex, new(load))
	require.NoError(t, err)
	w = weakly(t, f)
	f = nil
	requireCollected(t, "scattered data that nobody holds", w)
}

// usesOf are the ways to make a value an input.
var usesOf = map[string]func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter{
	"Then": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		return executor.Then(t.Context(), ex, func(_ context.Context, l *load) (int, error) { return len(l), nil }, f)
	},
	"All": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		return executor.Then(t.Context(), ex, func(_ context.Context, ls []*load) (int, error) { return len(ls), nil }, futures.All(f))
	},
	"Join": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		both := futures.Join(f, futures.Value(1))
		return executor.Then(t.Context(), ex, func(_ context.Context, p futures.Pair[*load, int]) (int, error) { return p.Second, nil }, both)
	},
	"Argument": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		return executor.Submit(t.Context(), ex, takeLoad, loadRef{f})
	},
	"Items": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		return executor.Map(t.Context(), ex, takeLoad, []loadRef{{f}})
	},
	"Reduce": func(t *testing.T, ex executor.Executor, f *futures.Future[*load]) futures.Waiter {
		last := func(_ context.Context, ls []*load) (*load, error) { return nil, nil }
		return executor.Reduce(t.Context(), ex, last, []*futures.Future[*load]{f, f, f}, executor.WithFanIn(2))
	},
}

// loadRef is an argument with a future.
type loadRef struct{ One *futures.Future[*load] }

func takeLoad(ctx context.Context, r loadRef) (int, error) {
	_, err := r.One.Result(ctx)
	return 0, err
}

// collectedInput: who holds the last future of a chain does not hold all of the chain.
func collectedInput(t *testing.T, ex executor.Executor, name string) {
	f := executor.Submit(t.Context(), ex, bring, 0)
	w := weakly(t, f)
	last := usesOf[name](t, ex, f)
	f = nil
	require.NoError(t, last.Wait(soon(t)))
	requireCollected(t, "the input of a task that has run", w)
	runtime.KeepAlive(last)
}
