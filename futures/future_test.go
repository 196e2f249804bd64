package futures_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

// A way is a way to end a promise, and how it stands after that.
type way struct {
	end   func(f *futures.Future[int], resolve func(int, error) bool) bool
	state futures.State
	value int
	err   error
	text  string
}

var ways = map[string]way{
	"value": {func(_ *futures.Future[int], resolve func(int, error) bool) bool { return resolve(7, nil) },
		futures.Finished, 7, nil, "finished"},
	"error": {func(_ *futures.Future[int], resolve func(int, error) bool) bool { return resolve(7, errBoom) },
		futures.Failed, 0, errBoom, "failed: boom"},
	"cancel": {func(f *futures.Future[int], _ func(int, error) bool) bool { return f.Cancel(errStop) },
		futures.Cancelled, 0, &futures.CancelError{Cause: errStop}, "cancelled: futures: cancelled: stop"},
}

func TestPromise(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			watch(t)
			f, resolve := futures.New[int]()
			assert.Equal(t, futures.Pending, f.State())
			assert.NoError(t, f.Err())
			assert.Equal(t, "pending", f.String())
			assert.Empty(t, f.Key())
			done := f.Done()
			assert.False(t, isClosed(done))

			require.True(t, way.end(f, resolve))
			for _, again := range ways { // whatever follows changes nothing
				v, err := f.Result(t.Context())
				assert.Equal(t, way.value, v)
				assert.Equal(t, way.err, err)
				assert.Equal(t, way.err, f.Wait(t.Context()))
				assert.Equal(t, way.err, f.Err())
				assert.Equal(t, way.state, f.State())
				assert.Equal(t, way.text, f.String())
				assert.True(t, isClosed(done))
				assert.True(t, isClosed(f.Done()))
				assert.False(t, again.end(f, resolve))
			}
		})
	}
}

func TestValueAndError(t *testing.T) {
	v, err := futures.Value("v").Result(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "v", v)
	assert.Equal(t, futures.Finished, futures.Value("v").State())

	f := futures.Error[string](errBoom)
	v, err = f.Result(t.Context())
	assert.Empty(t, v)
	assert.Equal(t, errBoom, err)
	assert.Equal(t, futures.Failed, f.State())
	assert.False(t, f.Cancel(nil))
	assert.ErrorContains(t, futures.Error[int](nil).Err(), "use Value")
}

func TestZeroFutureNeverFinishes(t *testing.T) {
	var f futures.Future[int]
	assert.Equal(t, futures.Pending, f.State())
	assert.ErrorIs(t, f.Wait(ended()), context.Canceled)
	assert.True(t, f.Cancel(nil), "but it may be cancelled")
	assert.Equal(t, futures.Cancelled, f.State())
}

func TestStates(t *testing.T) {
	names := []string{"pending", "running", "finished", "failed", "cancelled"}
	for i, name := range names {
		s := futures.State(i)
		assert.Equal(t, name, s.String())
		assert.Equal(t, s == futures.Finished || s == futures.Failed || s == futures.Cancelled, s.Done(), name)
	}
	assert.Equal(t, "futures.State(9)", futures.State(9).String())
}

// Of all who would resolve a future, or cancel it, one does, and everybody sees the
// same outcome.
func TestResolvedOnceUnderRace(t *testing.T) {
	watch(t)
	for range 2000 {
		f, resolve := futures.New[int]()
		var won, called atomic.Int32
		var winner atomic.Int32
		var ran sync.WaitGroup
		ran.Add(1)
		f.OnDone(func(*futures.Future[int]) {
			called.Add(1)
			ran.Done()
		})
		var wg sync.WaitGroup
		for i, end := range []func() bool{
			func() bool { return resolve(1, nil) },
			func() bool { return resolve(2, nil) },
			func() bool { return resolve(0, errBoom) },
			func() bool { return f.Cancel(errStop) },
		} {
			wg.Go(func() {
				if end() {
					won.Add(1)
					winner.Store(int32(i))
				}
			})
		}
		type seen struct {
			v     int
			err   error
			state futures.State
		}
		saw := make([]seen, 3)
		for i := range saw {
			wg.Go(func() {
				if i == 0 {
					<-f.Done()
				}
				v, err := f.Result(context.Background())
				saw[i] = seen{v, err, f.State()}
			})
		}
		wg.Wait()
		ran.Wait()
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, 1, called.Load())
		want := []seen{
			{1, nil, futures.Finished}, {2, nil, futures.Finished}, {0, errBoom, futures.Failed},
			{0, f.Err(), futures.Cancelled},
		}[winner.Load()]
		for _, s := range saw {
			require.Equal(t, want, s)
		}
	}
}

func TestAllWhoWaitAreWoken(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, resolve := futures.New[int]()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var woken atomic.Int32
				for range 2 {
					for _, wait := range []func(){
						func() {
							v, err := f.Result(ctx)
							assert.Equal(t, way.value, v)
							assert.Equal(t, way.err, err)
						},
						func() { assert.Equal(t, way.err, f.Wait(context.Background())) },
						func() { <-f.Done() },
					} {
						go func() {
							wait()
							woken.Add(1)
						}()
					}
					f.OnDone(func(got *futures.Future[int]) {
						assert.Same(t, f, got)
						woken.Add(1)
					})
				}
				synctest.Wait()
				assert.Zero(t, woken.Load())
				assert.True(t, way.end(f, resolve))
				synctest.Wait()
				assert.EqualValues(t, 8, woken.Load())
			})
		})
	}
}

// A waiter whose own ctx ends gets its error and its cause, and leaves the future alone.
func TestContextOfAWaiterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, resolve := futures.New[int]()
		ctx, end := context.WithCancelCause(t.Context())
		late, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := f.Result(ctx)
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, errStop)
				assert.EqualError(t, err, "context canceled: stop")
			})
			wg.Go(func() { assert.Equal(t, context.DeadlineExceeded, f.Wait(late)) })
		}
		synctest.Wait()
		end(errStop)
		wg.Wait()
		assert.ErrorIs(t, f.Wait(ctx), errStop, "a ctx that has ended before")
		assert.Equal(t, futures.Pending, f.State())

		assert.True(t, resolve(1, nil))
		v, err := f.Result(ctx)
		assert.NoError(t, err, "a finished future wins")
		assert.Equal(t, 1, v)
		assert.NoError(t, f.Wait(late))
	})
}

func TestOnDone(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			watch(t)
			f, resolve := futures.New[int]()
			ran, stopped := make(chan futures.State), false
			stopRan := f.OnDone(func(f *futures.Future[int]) { ran <- f.State() })
			stop := f.OnDone(func(*futures.Future[int]) { stopped = true })
			assert.True(t, stop())
			assert.False(t, stop(), "twice")

			way.end(f, resolve) // returns, though nobody receives yet
			assert.False(t, stopRan(), "too late")
			assert.Equal(t, way.state, <-ran)
			assert.False(t, stopRan())
			assert.False(t, stopped)

			stop = f.OnDone(func(f *futures.Future[int]) { ran <- f.State() })
			assert.False(t, stop(), "it was called at once")
			assert.Equal(t, way.state, <-ran)
		})
	}
}

// What stop says is what happens.
func TestOnDoneStoppedUnderRace(t *testing.T) {
	watch(t)
	for range 2000 {
		f, resolve := futures.New[int]()
		var kept bool
		ran := make(chan struct{}, 1)
		stop := f.OnDone(func(*futures.Future[int]) { ran <- struct{}{} })
		var wg sync.WaitGroup
		wg.Go(func() { kept = stop() })
		wg.Go(func() { resolve(1, nil) })
		wg.Wait()
		if kept {
			require.Empty(t, ran)
		} else {
			<-ran
		}
	}
}

func TestRelease(t *testing.T) {
	for name, way := range ways {
		for _, early := range []bool{false, true} {
			f, resolve := futures.New[int]()
			if early {
				f.Release()
				assert.Equal(t, "pending", f.String())
			}
			assert.True(t, way.end(f, resolve), name)
			f.Release()
			f.Release()
			v, err := f.Result(t.Context())
			assert.Zero(t, v)
			want, text := way.err, way.text
			if want == nil {
				want, text = futures.ErrReleased, "finished: released"
			}
			assert.Equal(t, want, err, name)
			assert.Equal(t, way.err, f.Wait(t.Context()), "there is no value to wait for, but an end")
			assert.Equal(t, way.err, f.Err(), name)
			assert.Equal(t, way.state, f.State(), name)
			assert.Equal(t, text, f.String())
		}
	}
}

func TestReleaseWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, resolve := futures.New[int]()
		var wg sync.WaitGroup
		var over atomic.Bool
		wg.Go(func() {
			_, err := f.Result(t.Context())
			assert.Equal(t, futures.ErrReleased, err)
			over.Store(true)
		})
		synctest.Wait()
		f.Release()
		synctest.Wait()
		assert.False(t, over.Load())
		resolve(1, nil)
		wg.Wait()
	})
}
