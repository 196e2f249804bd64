package remote_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/remote"
)

func init() {
	executor.Register(dieAfterChild)
	executor.Register(childDies)
	executor.Register(awaitGate)
	executor.Register(dieNoted)
	executor.Register(nap)
}

// losses has a call fail at that many.
func losses(n int) func(*executor.Config) {
	return func(c *executor.Config) { c.MaxLosses = n }
}

// requireLost checks that err is that of a call that has cost n workers their lives.
func requireLost(t *testing.T, err error, n int) {
	t.Helper()
	var lost *remote.LostError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, n, lost.Losses)
	require.Len(t, lost.Workers, n)
}

// mines makes n items, of which some kill.
func mines(n int, kill ...int) []Mine {
	items := make([]Mine, n)
	for i := range items {
		items[i] = Mine{i, -1}
	}
	for _, i := range kill {
		items[i].Kills = i
	}
	return items
}

// With one loss allowed, whoever is blamed wrongly once has failed.
func TestOnlyKillersAreBlamed(t *testing.T) {
	for _, dsn := range []string{"proc://?workers=2&threads=1", "proc://?workers=2&threads=2"} {
		t.Run(dsn, func(t *testing.T) {
			ctx := watch(t)
			ex := open(t, dsn, losses(1))
			var fs []*futures.Future[int]
			submit := func() {
				for i := range 40 {
					fs = append(fs, executor.Submit(ctx, ex, spin, i))
				}
			}
			submit()
			bad := []*futures.Future[int]{executor.Submit(ctx, ex, die, "kill")}
			submit()
			b := executor.Map(ctx, ex, dieAt, mines(300, 57, 233), executor.WithKeepGoing())
			other := executor.Map(ctx, ex, spin, make([]int, 300))
			submit()
			bad = append(bad, executor.Submit(ctx, ex, die, "kill"))
			submit()
			for i, f := range fs {
				got, err := f.Result(ctx)
				require.NoError(t, err)
				require.Equal(t, (i%40)*(i%40), got)
			}
			for _, f := range bad {
				requireLost(t, f.Wait(ctx), 1)
			}
			out, err := b.Outcomes(ctx)
			require.NoError(t, err)
			for i, o := range out {
				if i == 57 || i == 233 {
					requireLost(t, o.Err, 1)
					continue
				}
				require.NoError(t, o.Err, "item %d", i)
				require.Equal(t, i*i, o.Value)
			}
			_, err = other.Results(ctx)
			require.NoError(t, err)
		})
	}
}

// A lease may have thousands of items when its worker is lost.
func TestKillerAmongMany(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1", losses(2))
	const n, bad = 20_000, 7777
	out, err := executor.Map(ctx, ex, dieAt, mines(n, bad), executor.WithKeepGoing()).Outcomes(ctx)
	require.NoError(t, err)
	for i, o := range out {
		if i == bad {
			requireLost(t, o.Err, 2)
			continue
		}
		require.NoError(t, o.Err, "item %d", i)
		require.Equal(t, i*i, o.Value)
	}
}

// dieAfterChild waits for a child, and kills its process then.
func dieAfterChild(ctx context.Context, x int) (int, error) {
	ex, _ := executor.FromContext(ctx)
	if _, err := executor.Submit(ctx, ex, squared, x).Result(ctx); err != nil {
		return 0, err
	}
	return die(ctx, "kill")
}

// childDies waits for a child that kills the process it is in.
func childDies(ctx context.Context, how string) (int, error) {
	ex, _ := executor.FromContext(ctx)
	return executor.Submit(ctx, ex, die, how).Result(ctx)
}

// A task that waits has others run on its slot, but while it is suspected only its own.
func TestKillerThatWaits(t *testing.T) {
	for _, dsn := range []string{"proc://?workers=1&threads=1", "proc://?workers=2&threads=2"} {
		t.Run(dsn, func(t *testing.T) {
			ctx := watch(t)
			ex := open(t, dsn, losses(2))
			stop := flow(ctx, t, ex, 32)
			after := executor.Submit(ctx, ex, dieAfterChild, 3)
			requireLost(t, after.Wait(ctx), 2)
			child := executor.Submit(ctx, ex, childDies, "kill")
			require.ErrorIs(t, child.Wait(ctx), remote.ErrWorkerLost)
			stop()
		})
	}
}

// flow keeps n calls at ex until it is told to stop, and then checks that none has failed.
func flow(ctx context.Context, t *testing.T, ex executor.Executor, n int) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var senders sync.WaitGroup
	for range n {
		senders.Go(func() { // ends with stop
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				if _, err := executor.Submit(ctx, ex, nap, i%3).Result(ctx); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	return func() {
		close(quit)
		senders.Wait()
	}
}

// awaitGate has a child pass a gate.
func awaitGate(ctx context.Context, g Gate) (int, error) {
	ex, _ := executor.FromContext(ctx)
	v, err := executor.Submit(ctx, ex, passGate, g).Result(ctx)
	return len(v), err
}

// writer is the process that has left its id in a file.
func writer(t *testing.T, file string) int {
	t.Helper()
	eventually(t, "start", func() bool { return lines(file) > 0 })
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(t, err)
	return pid
}

// A suspect that is awaited runs beside those that wait, where there is no other worker.
func TestSuspectThatIsAwaited(t *testing.T) {
	ctx := watch(t)
	ex := open(t, listeners(t, "tcp", 2, 1))
	began, until := tempFile(t, "began"), tempFile(t, "until")
	f := executor.Submit(ctx, ex, awaitGate, Gate{Began: began, Until: until, Size: 3})
	kill9(t, writer(t, began))
	require.NoError(t, appendLine(until, "go"))
	n, err := f.Result(ctx)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
}

// However many others come, a suspect gets a worker to itself.
func TestSuspectAmongOthers(t *testing.T) {
	ctx := watch(t)
	ex := open(t, listeners(t, "tcp", 2, 2))
	began, until := tempFile(t, "began"), tempFile(t, "until")
	f := executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: until, Size: 3})
	pid, other := writer(t, began), ""
	for _, w := range ex.Stats().Workers {
		if w.PID != pid {
			other = w.Name
		}
	}
	// Each of the others goes on until the next has started, or that is not to be.
	relay := func(i int) (started func() bool, end func()) {
		g := Gate{Began: tempFile(t, fmt.Sprint("began", i)), Until: tempFile(t, fmt.Sprint("until", i))}
		executor.Submit(ctx, ex, passGate, g, executor.WithWorkers(other))
		return func() bool { return lines(g.Began) > 0 }, func() { require.NoError(t, appendLine(g.Until, "go")) }
	}
	started, end := relay(0)
	eventually(t, "start", started)
	kill9(t, pid)
	require.NoError(t, appendLine(until, "go"))
	n := 0
	for ; n < 100 && !f.State().Done(); n++ {
		next, endNext := relay(n + 1)
		for wait := time.Now(); !next() && !f.State().Done() && time.Since(wait) < 100*time.Millisecond; {
			time.Sleep(time.Millisecond)
		}
		end()
		end = endNext
	}
	end()
	v, err := f.Result(ctx)
	require.NoError(t, err)
	assert.Len(t, v, 3)
	assert.Less(t, n, 100, "others that came first")
}

// dieNoted leaves word that it has run, and kills its process.
func dieNoted(ctx context.Context, file string) (int, error) {
	if err := appendLine(file, "ran"); err != nil {
		return 0, err
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	<-ctx.Done()
	return 0, ctx.Err()
}

// nap takes that many milliseconds.
func nap(_ context.Context, ms int) (int, error) {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return ms, nil
}

// The end of what ran before may be unknown when the worker is lost, and with it that the
// next has started.
func TestAtMostOnceBehindOthers(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=1&threads=1")
	_, err := executor.Submit(ctx, ex, nap, 20).Result(ctx)
	require.NoError(t, err)
	for range 4 {
		ran := tempFile(t, "ran")
		before := executor.Submit(ctx, ex, nap, 2)
		f := executor.Submit(ctx, ex, dieNoted, ran, executor.WithAtMostOnce())
		require.ErrorIs(t, f.Wait(ctx), remote.ErrWorkerLost)
		_, err := before.Result(ctx)
		require.NoError(t, err)
		_, err = executor.Submit(ctx, ex, squared, 3).Result(ctx)
		require.NoError(t, err)
		assert.Equal(t, 1, lines(ran), "times that it ran")
	}
}
