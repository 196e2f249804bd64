package executortest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// statsCases: the executor's account is right when somebody looks, and under load.
func statsCases(t *testing.T, open opener) {
	check(t, open, "R1/CountersChangeBeforeWaitersWake", statsFirst)
	check(t, open, "R1/CountersSeenFromOnDone", statsFromOnDone)
	check(t, open, "R1/EachTaskIsInOnePlace", statsPlaces)
	check(t, open, "R1/MapCountsItems", statsOfMap)
	check(t, open, "R1/WorkersAreListed", statsWorkers)
	check(t, open, "R13/RunningIsReported", runningReported)
	check(t, open, "D7/ManySubmitters", manyAtOnce)
}

func statsFirst(t *testing.T, ex executor.Executor) {
	for i := range int64(300) {
		_ = executor.Submit(t.Context(), ex, echo, 1).Wait(t.Context())
		require.Equal(t, i+1, ex.Stats().Finished)
		<-executor.Submit(t.Context(), ex, refuse, 1).Done()
		require.Equal(t, i+1, ex.Stats().Failed)
		f := executor.Submit(t.Context(), ex, sleeper, 1, executor.WithRetries(int(i%2)))
		f.Cancel(nil)
		require.Equal(t, i+1, ex.Stats().Cancelled)
		require.Equal(t, 3*(i+1), ex.Stats().Submitted)
	}
	eventually(t, "nothing is left", func() bool { s := ex.Stats(); return s.Pending+s.Running+s.Abandoned == 0 })
}

func statsFromOnDone(t *testing.T, ex executor.Executor) {
	const n = 500
	var wg sync.WaitGroup
	var bad atomic.Int64
	wg.Add(n)
	for i := range n {
		executor.Submit(t.Context(), ex, echo, i).OnDone(func(*futures.Future[int]) {
			defer wg.Done()
			if s := ex.Stats(); s.Finished == 0 || s.Finished > s.Submitted {
				bad.Add(1)
			}
		})
	}
	within(t, "all callbacks", wg.Wait)
	require.Zero(t, bad.Load())
	require.EqualValues(t, n, ex.Stats().Finished)
}

func statsPlaces(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	slots := int64(ex.Slots())
	b.fillSlots(t.Context())
	s := ex.Stats()
	require.Equal(t, []int64{slots, 0, slots}, []int64{s.Submitted, s.Pending, s.Running})
	p, resolve := futures.New[int]()
	waits := executor.Then(t.Context(), ex, echo, p)
	queued := executor.SubmitAll(t.Context(), ex, echo, []int{1, 2, 3})
	bad := executor.Then(t.Context(), ex, echo, futures.Error[int](errRefused))
	wrong := executor.Submit(t.Context(), ex, echo, 1, executor.WithRetries(-1))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	late := executor.Submit(over, ex, echo, 1)
	for _, f := range []*futures.Future[int]{bad, wrong, late} {
		require.True(t, f.State().Done())
	}
	s = ex.Stats()
	require.Equal(t, []int64{slots + 7, 4, slots, 0, 2, 1},
		[]int64{s.Submitted, s.Pending, s.Running, s.Finished, s.Failed, s.Cancelled})
	resolve(0, nil)
	b.open()
	result(t, waits)
	for _, f := range queued {
		result(t, f)
	}
	eventually(t, "all have run", func() bool { return ex.Stats().Finished == slots+4 })
	s = ex.Stats()
	require.Zero(t, s.Pending+s.Running+s.Waiting+s.Abandoned+s.Retried+s.Lost)
}

func statsOfMap(t *testing.T, ex executor.Executor) {
	_, err := executor.Map(t.Context(), ex, echo, make([]int, 1000)).Results(soon(t))
	require.NoError(t, err)
	s := ex.Stats()
	require.Equal(t, []int64{1000, 1000, 0, 0}, []int64{s.Submitted, s.Finished, s.Pending, s.Running})
	for range executor.MapSeq(t.Context(), ex, echo, slices.Values(make([]int, 100))) {
	}
	s = ex.Stats()
	require.Equal(t, []int64{1100, 1100, 0, 0}, []int64{s.Submitted, s.Finished, s.Pending, s.Running})
}

func statsWorkers(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	fs := b.fillSlots(t.Context())
	s := ex.Stats()
	require.NotEmpty(t, s.Workers)
	threads, running := 0, 0
	names := map[string]bool{}
	for _, w := range s.Workers {
		require.Positive(t, w.PID)
		require.NotEmpty(t, w.Name)
		require.False(t, names[w.Name])
		require.False(t, w.LastSeen.IsZero())
		names[w.Name] = true
		threads += w.Threads
		running += w.Running
	}
	require.Equal(t, ex.Slots(), threads)
	require.Equal(t, ex.Slots(), running)
	b.open()
	for _, f := range fs {
		result(t, f)
	}
	var finished int64
	for _, w := range ex.Stats().Workers {
		finished += w.Finished
	}
	require.EqualValues(t, len(fs), finished)
	if inProcess(ex) {
		require.Equal(t, map[string]bool{"local": true}, names)
	}
}

func runningReported(t *testing.T, ex executor.Executor) {
	f := executor.Submit(t.Context(), ex, sleeper, 1)
	started(t, f)
	require.Equal(t, "running", f.String())
	require.EqualValues(t, 1, ex.Stats().Running)
}

// manyAtOnce has many submit, each with values of its own, while somebody reads Stats.
func manyAtOnce(t *testing.T, ex executor.Executor) {
	const submitters = 8
	each := 10_000
	if !isNear(ex) {
		each = 2000 / less
	}
	before := ex.Stats()
	stop := make(chan struct{})
	var looker, wg sync.WaitGroup
	looker.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s := ex.Stats()
			for _, n := range []int64{s.Pending, s.Running, s.Waiting, s.Finished, s.Abandoned} {
				if n < 0 {
					assert.Fail(t, "a negative count", fmt.Sprintf("%+v", s))
					return
				}
			}
			assert.LessOrEqual(t, s.Running, int64(ex.Slots()))
		}
	})
	ctx := soon(t)
	for s := range submitters {
		wg.Go(func() {
			fs := make([]*futures.Future[int], each)
			for i := range fs {
				fs[i] = executor.Submit(t.Context(), ex, echo, s*each+i)
			}
			for i, f := range fs {
				if n, err := f.Result(ctx); err != nil || n != s*each+i {
					assert.Fail(t, "a wrong result", "%d, %v for %d", n, err, s*each+i)
					return
				}
			}
		})
	}
	within(t, "all results", wg.Wait)
	close(stop)
	looker.Wait()
	s := ex.Stats()
	require.EqualValues(t, submitters*each, s.Finished-before.Finished)
	require.Equal(t, s.Submitted, s.Finished+s.Failed)
}
