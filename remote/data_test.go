package remote_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

const kibibyte, mebibyte8 = 1 << 10, 8 << 20

func TestShapeOfWhatStaysMovesNothing(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	f := executor.Submit(ctx, ex, vector, megabyte8)
	require.NoError(t, f.Wait(ctx))
	require.GreaterOrEqual(t, storedBytes(ex), int64(mebibyte8))
	for range 20 {
		n, err := executor.Then(ctx, ex, lengthOf, f).Result(ctx)
		require.NoError(t, err)
		require.Equal(t, megabyte8, n)
	}
	s := ex.Stats()
	assert.Less(t, s.BytesSent, int64(kibibyte))
	assert.Less(t, s.BytesReceived, int64(kibibyte))
	assert.Zero(t, s.BytesMoved)
}

func TestInputsMoveFromWorkerToWorker(t *testing.T) {
	for _, backend := range []string{"proc", "tls", "unix"} {
		t.Run(backend, func(t *testing.T) {
			ctx := watch(t)
			dsn := "proc://?workers=2&threads=1"
			if backend != "proc" {
				dsn = listeners(t, backend, 2, 1)
			}
			var mu sync.Mutex
			var moved []executor.Event
			ex := open(t, dsn, func(c *executor.Config) {
				c.Observer = &executor.Observer{Moved: func(e executor.Event) {
					mu.Lock()
					defer mu.Unlock()
					moved = append(moved, e)
				}}
			})
			workers := ex.Stats().Workers
			require.Len(t, workers, 2)
			a := executor.Submit(ctx, ex, vector, megabyte8, executor.WithWorkers(workers[0].Name))
			b := executor.Submit(ctx, ex, vector, megabyte8, executor.WithWorkers(workers[1].Name))
			sum, err := executor.Then(ctx, ex, total, futures.All(a, b)).Result(ctx)
			require.NoError(t, err)
			n := float64(megabyte8)
			assert.Equal(t, n*(n-1), sum)
			s := ex.Stats()
			assert.InDelta(t, mebibyte8, s.BytesMoved, kibibyte)
			assert.Less(t, s.BytesSent, int64(kibibyte))
			assert.Less(t, s.BytesReceived, int64(kibibyte))
			eventually(t, "Moved is told", func() bool { mu.Lock(); defer mu.Unlock(); return len(moved) == 1 })
			assert.Equal(t, s.BytesMoved, moved[0].Bytes)
			_, err = a.Result(ctx)
			require.NoError(t, err)
			assert.InDelta(t, mebibyte8, ex.Stats().BytesReceived, 2*kibibyte, "one came home")
		})
	}
}

func TestReleaseAndCollectionFree(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=1&threads=1")
	held := executor.Submit(ctx, ex, vector, megabyte8)
	require.NoError(t, held.Wait(ctx))
	func() {
		f := executor.Submit(ctx, ex, vector, megabyte8)
		require.NoError(t, f.Wait(ctx))
		require.Greater(t, storedBytes(ex), int64(2*mebibyte8-1))
		f.Release()
		require.Less(t, storedBytes(ex), int64(2*mebibyte8-1), "at Release")
		g := executor.Submit(ctx, ex, vector, megabyte8)
		require.NoError(t, g.Wait(ctx))
		require.Greater(t, storedBytes(ex), int64(2*mebibyte8-1))
	}()
	eventually(t, "it is collected", func() bool { runtime.GC(); return storedBytes(ex) < 2*mebibyte8-1 })
	assert.EqualValues(t, 1, ex.Stats().Workers[0].Stored)
	kept, err := executor.Submit(ctx, ex, heapInUse, struct{}{}).Result(ctx)
	require.NoError(t, err)
	assert.Less(t, kept, uint64(3*mebibyte8), "on the worker")
	runtime.KeepAlive(held)
}

func init() {
	executor.Register(heapInUse)
	executor.RegisterSetup(setUp)
	executor.Register(setUpWith)
}

func heapInUse(context.Context, struct{}) (uint64, error) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, nil
}

// setUps is what this process was set up with.
var setUps []string

var errSetup = errors.New("the setup was told to fail")

func setUp(_ context.Context, data []byte) error {
	setUps = append(setUps, string(data))
	switch string(data) {
	case "fail":
		return errSetup
	case "panic":
		panic("the setup was told to panic")
	}
	return nil
}

func setUpWith(context.Context, struct{}) (string, error) { return strings.Join(setUps, ","), nil }

func TestSetup(t *testing.T) {
	data := func(text string) func(*executor.Config) {
		return func(c *executor.Config) { c.SetupData = []byte(text) }
	}
	t.Run("works", func(t *testing.T) {
		ctx := watch(t)
		ex := open(t, "proc://?workers=2&threads=2", data("hello"))
		all, err := executor.RunOnAll(ctx, ex, setUpWith, struct{}{})
		require.NoError(t, err)
		require.Len(t, all, 2)
		for worker, o := range all {
			require.NoError(t, o.Err)
			assert.Equal(t, "hello", o.Value, worker)
		}
		killAll(t, ex)
		v, err := executor.Submit(ctx, ex, setUpWith, struct{}{}).Result(ctx)
		require.NoError(t, err)
		assert.Equal(t, "hello", v, "the next incarnation")
	})
	for how, says := range map[string]string{"fail": errSetup.Error(), "panic": "told to panic"} {
		t.Run(how, func(t *testing.T) {
			requireQuick(t, func() {
				_, err := tryOpen(t, "proc://?workers=2&threads=1", data(how))
				var setup *executor.SetupError
				require.ErrorAs(t, err, &setup)
				assert.ErrorContains(t, err, says)
				assert.Contains(t, setup.Worker, "proc-")
			})
		})
	}
}

// RunOnAll reaches each process, busy ones too (R2).
func TestRunOnAllReachesBusyWorkers(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=3&threads=1")
	began := tempFile(t, "began")
	var fs []futures.Waiter
	for range 6 {
		fs = append(fs, executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: began + "-go"}))
	}
	eventually(t, "all are busy", func() bool { return lines(began) == 3 })
	all, err := executor.RunOnAll(ctx, ex, ownPID, struct{}{})
	require.NoError(t, err)
	require.Len(t, all, 3)
	for _, w := range ex.Stats().Workers {
		require.NoError(t, all[w.Name].Err)
		assert.Equal(t, w.PID, all[w.Name].Value)
	}
	require.NoError(t, os.WriteFile(began+"-go", nil, 0o600))
	for _, f := range fs { // they write where the test clears up
		require.NoError(t, f.Wait(ctx))
	}
}

// Two clients of one worker have values of the same numbers, and each its own (R5).
func TestClientsSeeTheirOwnValues(t *testing.T) {
	ctx := watch(t)
	w := startWorker(t, "tcp://127.0.0.1:0?threads=2")
	one, two := open(t, w.addr), open(t, w.addr)
	a := executor.Submit(ctx, one, vector, megabyte8/8)
	b := executor.Submit(ctx, two, vector, megabyte8/4)
	require.NoError(t, a.Wait(ctx))
	require.NoError(t, b.Wait(ctx))
	n, err := executor.Then(ctx, one, lengthOf, a).Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, megabyte8/8, n)
	n, err = executor.Then(ctx, two, lengthOf, b).Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, megabyte8/4, n)
	assert.Less(t, storedBytes(one), storedBytes(two))
	n, err = executor.Then(ctx, two, lengthOf, a).Result(ctx)
	require.NoError(t, err, "a foreign future is sent")
	assert.Equal(t, megabyte8/8, n)
	require.NoError(t, one.Close())
	n, err = executor.Then(ctx, two, lengthOf, b).Result(ctx)
	require.NoError(t, err, "the other client's end is nothing to it")
	assert.Equal(t, megabyte8/4, n)
}

func TestStatsAndObserver(t *testing.T) {
	ctx := watch(t)
	var mu sync.Mutex
	up, down := map[string]int{}, map[string]error{}
	ex := open(t, "proc://?workers=2&threads=1", func(c *executor.Config) {
		c.Observer = &executor.Observer{
			WorkerUp:   func(e executor.Event) { mu.Lock(); defer mu.Unlock(); up[e.Worker]++ },
			WorkerDown: func(e executor.Event) { mu.Lock(); defer mu.Unlock(); down[e.Worker] = e.Err },
		}
	})
	v, err := vector(ctx, 1000)
	require.NoError(t, err)
	got, err := executor.Submit(ctx, ex, double, v).Result(ctx)
	require.NoError(t, err)
	require.Len(t, got, 1000)
	s := ex.Stats()
	assert.InDelta(t, 8000, s.BytesSent, 100)
	assert.InDelta(t, 8000, s.BytesReceived, 100)
	assert.Zero(t, s.Lost)
	assert.Zero(t, s.Retried)
	once, err := executor.Submit(ctx, ex, dieOnce, tempFile(t, "died")).Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, 2, once, "the attempt")
	s = ex.Stats()
	assert.EqualValues(t, 1, s.Lost)
	assert.EqualValues(t, 1, s.Retried)
	assert.EqualValues(t, 2, s.Finished)
	eventually(t, "another worker is up", func() bool { mu.Lock(); defer mu.Unlock(); return len(up) == 3 })
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, down, 1)
	for worker, err := range down {
		assert.Equal(t, 1, up[worker])
		assert.ErrorContains(t, err, "killed")
	}
}
