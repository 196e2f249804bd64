package remote_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/remote"
)

const megabyte8 = 1 << 20 // elements of a vector

// once counts how often a future is resolved.
type once[T any] struct {
	f *futures.Future[T]
	n atomic.Int32
}

func watched[T any](f *futures.Future[T]) *once[T] {
	o := &once[T]{f: f}
	f.OnDone(func(*futures.Future[T]) { o.n.Add(1) })
	return o
}

func (o *once[T]) check(t *testing.T) {
	t.Helper()
	eventually(t, "OnDone", func() bool { return o.n.Load() > 0 })
	assert.EqualValues(t, 1, o.n.Load(), "times that a future was resolved")
}

func TestWorkerKilledDuringMap(t *testing.T) {
	for _, dsn := range []string{"proc://?workers=2&threads=1", "proc://?workers=2&threads=2&transport=unix"} {
		t.Run(dsn, func(t *testing.T) {
			ctx := watch(t)
			ex := open(t, dsn)
			items := make([]int, 10_000)
			for i := range items {
				items[i] = i
			}
			b := executor.Map(ctx, ex, spin, items)
			for _, part := range []int{1000, 4000} {
				eventually(t, "progress", func() bool { done, _ := b.Progress(); return done > part })
				kill9(t, ex.Stats().Workers[0].PID)
			}
			got, err := b.Results(ctx)
			require.NoError(t, err)
			require.Len(t, got, len(items))
			for i, v := range got {
				require.Equal(t, i*i, v)
			}
			s := ex.Stats()
			assert.EqualValues(t, len(items), s.Submitted)
			assert.EqualValues(t, len(items), s.Finished)
			assert.Positive(t, s.Retried, "items that were run again")
		})
	}
}

func TestWorkerKilledDuringSubmits(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=2")
	items := make([]int, 10_000)
	for i := range items {
		items[i] = i
	}
	fs := executor.SubmitAll(ctx, ex, spin, items)
	seen := make([]*once[int], len(fs))
	for i, f := range fs {
		seen[i] = watched(f)
	}
	for _, part := range []int{1000, 4000} {
		require.NoError(t, fs[part].Wait(ctx))
		kill9(t, ex.Stats().Workers[0].PID)
	}
	got, err := futures.Gather(ctx, fs...)
	require.NoError(t, err)
	for i, v := range got {
		require.Equal(t, i*i, v)
	}
	for _, o := range seen {
		o.check(t)
	}
	assert.EqualValues(t, len(items), ex.Stats().Finished)
	assert.Positive(t, ex.Stats().Lost)
}

func TestHolderKilledBeforeResult(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	f := executor.Submit(ctx, ex, vector, megabyte8)
	o := watched(f)
	require.NoError(t, f.Wait(ctx))
	kill9(t, holder(t, ex).PID)
	v, err := f.Result(ctx)
	require.NoError(t, err)
	require.Len(t, v, megabyte8)
	assert.Equal(t, float64(megabyte8-1), v[megabyte8-1])
	o.check(t)
}

func TestHolderKilledBeforeThen(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	f := executor.Submit(ctx, ex, vector, megabyte8)
	require.NoError(t, f.Wait(ctx))
	kill9(t, holder(t, ex).PID)
	n, err := executor.Then(ctx, ex, lengthOf, f).Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, megabyte8, n)
}

// An input that nobody holds any more in the client is still what a value is computed
// again from.
func TestChainIsComputedAgain(t *testing.T) {
	for _, released := range []bool{false, true} {
		t.Run(fmt.Sprintf("released=%v", released), func(t *testing.T) {
			ctx := watch(t)
			ex := open(t, "proc://?workers=2&threads=1")
			chain := []*futures.Future[[]float64]{executor.Submit(ctx, ex, vector, megabyte8/8)}
			for range 3 {
				chain = append(chain, executor.Then(ctx, ex, double, chain[len(chain)-1]))
			}
			last := chain[len(chain)-1]
			require.NoError(t, last.Wait(ctx))
			if released {
				for _, f := range chain[:len(chain)-1] {
					f.Release()
				}
			}
			kill9(t, holder(t, ex).PID)
			v, err := last.Result(ctx)
			require.NoError(t, err)
			require.Len(t, v, megabyte8/8)
			assert.Equal(t, 8*float64(megabyte8/8-1), v[len(v)-1])
			if released {
				last.Release()
				eventually(t, "nothing is stored", func() bool { return storedBytes(ex) == 0 })
			}
		})
	}
}

func TestDiamondIsComputedAgain(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	top := executor.Submit(ctx, ex, vector, megabyte8/8)
	left := executor.Then(ctx, ex, double, top)
	right := executor.Then(ctx, ex, double, top)
	require.NoError(t, left.Wait(ctx))
	require.NoError(t, right.Wait(ctx))
	killAll(t, ex)
	sum, err := executor.Then(ctx, ex, total, futures.All(left, right)).Result(ctx)
	require.NoError(t, err)
	n := float64(megabyte8 / 8)
	assert.Equal(t, 2*n*(n-1), sum)
}

func killAll(t *testing.T, ex executor.Executor) {
	t.Helper()
	for _, w := range ex.Stats().Workers {
		kill9(t, w.PID)
	}
}

func storedBytes(ex executor.Executor) (n int64) {
	for _, w := range ex.Stats().Workers {
		n += w.StoredBytes
	}
	return n
}

func TestAllWorkersKilled(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=3&threads=1")
	kept := executor.Submit(ctx, ex, vector, megabyte8/8)
	require.NoError(t, kept.Wait(ctx))
	items := make([]int, 10_000)
	for i := range items {
		items[i] = i
	}
	b := executor.Map(ctx, ex, spin, items)
	fs := executor.SubmitAll(ctx, ex, spin, items[:1000])
	eventually(t, "progress", func() bool { done, _ := b.Progress(); return done > 1000 })
	killAll(t, ex)
	got, err := b.Results(ctx)
	require.NoError(t, err)
	for i, v := range got {
		require.Equal(t, i*i, v)
	}
	got, err = futures.Gather(ctx, fs...)
	require.NoError(t, err)
	for i, v := range got {
		require.Equal(t, i*i, v)
	}
	v, err := kept.Result(ctx)
	require.NoError(t, err)
	assert.Len(t, v, megabyte8/8)
}

func TestTaskThatKillsItsWorker(t *testing.T) {
	for how, cause := range map[string]string{"kill": "killed", "exit": "code 3", "panic": "die was told to panic"} {
		t.Run(how, func(t *testing.T) {
			ctx := watch(t)
			ex := open(t, "proc://?workers=2&threads=1")
			var neighbours []*futures.Future[int]
			for i := range 50 {
				neighbours = append(neighbours, executor.Submit(ctx, ex, spin, i))
			}
			bad := executor.Submit(ctx, ex, die, how)
			o := watched(bad)
			for i := range 50 {
				neighbours = append(neighbours, executor.Submit(ctx, ex, spin, 50+i))
			}
			_, err := bad.Result(ctx)
			require.ErrorIs(t, err, remote.ErrWorkerLost)
			var lost *remote.LostError
			require.ErrorAs(t, err, &lost)
			assert.Equal(t, 3, lost.Losses)
			assert.Len(t, lost.Workers, 3)
			assert.ErrorContains(t, lost.Cause, cause)
			if how == "exit" {
				assert.ErrorContains(t, err, "die was told to exit", "its stderr")
			}
			got, err := futures.Gather(ctx, neighbours...)
			require.NoError(t, err)
			for i, v := range got {
				require.Equal(t, i*i, v)
			}
			o.check(t)
		})
	}
}

func TestItemThatKillsItsWorker(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	items := make([]Mine, 1000)
	for i := range items {
		items[i] = Mine{i, 333}
	}
	b := executor.Map(ctx, ex, dieAt, items, executor.WithKeepGoing())
	out, err := b.Outcomes(ctx)
	require.NoError(t, err)
	for i, o := range out {
		if i == 333 {
			var lost *remote.LostError
			require.ErrorAs(t, o.Err, &lost)
			assert.Equal(t, 3, lost.Losses)
			assert.Len(t, lost.Workers, 3)
			continue
		}
		require.NoError(t, o.Err, "item %d", i)
		require.Equal(t, i*i, o.Value)
	}
}

func TestAtMostOnce(t *testing.T) {
	t.Run("Submit", func(t *testing.T) {
		ctx := watch(t)
		ex := open(t, "proc://?workers=1&threads=1")
		began := tempFile(t, "began")
		f := executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: began + "-never"}, executor.WithAtMostOnce())
		eventually(t, "start", func() bool { return lines(began) > 0 })
		killAll(t, ex)
		require.ErrorIs(t, f.Wait(ctx), remote.ErrWorkerLost)
		_, err := executor.Submit(ctx, ex, squared, 3).Result(ctx)
		require.NoError(t, err)
		assert.Equal(t, 1, lines(began), "times that it ran")
	})
	t.Run("Map", func(t *testing.T) {
		ctx := watch(t)
		ex := open(t, "proc://?workers=1&threads=1")
		items := make([]Mine, 100)
		for i := range items {
			items[i] = Mine{i, 33}
		}
		_, err := executor.Map(ctx, ex, dieAt, items, executor.WithAtMostOnce()).Results(ctx)
		require.ErrorIs(t, err, remote.ErrWorkerLost)
	})
	t.Run("value", func(t *testing.T) {
		ctx := watch(t)
		ex := open(t, "proc://?workers=1&threads=1")
		f := executor.Submit(ctx, ex, vector, megabyte8/8, executor.WithAtMostOnce())
		require.NoError(t, f.Wait(ctx))
		killAll(t, ex)
		_, err := f.Result(ctx)
		require.ErrorIs(t, err, remote.ErrDataLost)
	})
}

func TestScatteredDataIsLost(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	v, err := vector(ctx, megabyte8/8)
	require.NoError(t, err)
	f, err := executor.Scatter(ctx, ex, v)
	require.NoError(t, err)
	both, err := executor.Scatter(ctx, ex, v, executor.WithBroadcast())
	require.NoError(t, err)
	kill9(t, holder(t, ex).PID)
	_, err = executor.Then(ctx, ex, lengthOf, f).Result(ctx)
	require.ErrorIs(t, err, remote.ErrDataLost)
	_, err = f.Result(ctx)
	require.ErrorIs(t, err, remote.ErrDataLost)
	n, err := executor.Then(ctx, ex, lengthOf, both).Result(ctx)
	require.NoError(t, err, "another worker has it")
	assert.Equal(t, len(v), n)
}

func TestKillAfter(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=1&threads=1")
	began := tempFile(t, "began")
	f := executor.Submit(ctx, ex, stubborn, began, executor.WithKillAfter(50*time.Millisecond))
	eventually(t, "start", func() bool { return lines(began) > 0 })
	pid := ex.Stats().Workers[0].PID
	require.True(t, f.Cancel(nil))
	require.ErrorIs(t, f.Wait(ctx), futures.ErrCancelled)
	got, err := executor.Submit(ctx, ex, ownPID, struct{}{}).Result(ctx)
	require.NoError(t, err)
	assert.NotEqual(t, pid, got, "the process was replaced")
	assert.Equal(t, 1, lines(began), "times that it ran")
}

func init() { executor.Register(stubborn) }

// stubborn never returns.
func stubborn(_ context.Context, began string) (int, error) {
	if err := appendLine(began, "began"); err != nil {
		return 0, err
	}
	select {}
}

func TestNoWorkersTimeout(t *testing.T) {
	ctx := watch(t)
	w := startWorker(t, "tcp://127.0.0.1:0?threads=1")
	ex := open(t, w.addr, func(c *executor.Config) { c.NoWorkersTimeout = 200 * time.Millisecond })
	began := tempFile(t, "began")
	f := executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: began + "-never"})
	b := executor.Map(ctx, ex, squared, []int{1, 2, 3})
	kept := executor.Then(ctx, ex, lengthOf, f)
	eventually(t, "start", func() bool { return lines(began) > 0 })
	kill9(t, w.Process.Pid)
	require.ErrorIs(t, f.Wait(ctx), remote.ErrNoWorkers)
	require.ErrorIs(t, b.Wait(ctx), remote.ErrNoWorkers)
	require.ErrorIs(t, kept.Wait(ctx), remote.ErrNoWorkers)
	require.ErrorIs(t, executor.Submit(ctx, ex, squared, 1).Wait(ctx), remote.ErrNoWorkers)
}

// A worker that listens comes back at its address, as a new incarnation.
func TestListeningWorkerComesBack(t *testing.T) {
	ctx := watch(t)
	w := startWorker(t, "tcp://127.0.0.1:0?threads=1&name=it")
	ex := open(t, w.addr)
	f := executor.Submit(ctx, ex, vector, megabyte8/8)
	require.NoError(t, f.Wait(ctx))
	kill9(t, w.Process.Pid)
	<-w.ended
	startWorker(t, w.addr+"?threads=1&name=it")
	n, err := executor.Then(ctx, ex, lengthOf, f).Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, megabyte8/8, n)
}

// A worker that drains ends what runs and hands over what it has; the client sees no
// more of it than that it is gone.
func TestSIGTERMDrains(t *testing.T) {
	for _, backend := range []string{"proc", "tcp"} {
		t.Run(backend, func(t *testing.T) {
			ctx := watch(t)
			dsn := "proc://?workers=2&threads=1"
			if backend == "tcp" {
				dsn = listeners(t, "tcp", 2, 1)
			}
			ex := open(t, dsn)
			v, err := vector(ctx, megabyte8/8)
			require.NoError(t, err)
			scattered, err := executor.Scatter(ctx, ex, v) // which could not be computed again
			require.NoError(t, err)
			everywhere, err := executor.Scatter(ctx, ex, v[1:], executor.WithBroadcast())
			require.NoError(t, err)
			first := holder(t, ex)
			began, until := tempFile(t, "began"), tempFile(t, "until")
			runs := executor.Submit(ctx, ex, passGate, Gate{began, until, megabyte8 / 8}, executor.WithWorkers(first.Name), executor.WithAtMostOnce())
			eventually(t, "start", func() bool { return lines(began) == 1 })
			var queued []*futures.Future[int]
			for i := range 20 {
				queued = append(queued, executor.Submit(ctx, ex, spin, i))
			}
			require.NoError(t, syscall.Kill(first.PID, syscall.SIGTERM))
			got, err := futures.Gather(ctx, queued...)
			require.NoError(t, err)
			assert.Len(t, got, 20)
			require.NoError(t, appendLine(until, "go"))
			require.NoError(t, runs.Wait(ctx))
			eventually(t, "the worker is gone", func() bool {
				for _, w := range ex.Stats().Workers {
					if w.PID == first.PID {
						return false
					}
				}
				return true
			})
			for _, f := range []*futures.Future[[]float64]{scattered, everywhere, runs} {
				_, err := f.Result(ctx)
				require.NoError(t, err)
			}
			s := ex.Stats()
			assert.Zero(t, s.Lost)
			assert.Zero(t, s.Failed)
		})
	}
}
