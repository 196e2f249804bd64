package executor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

// A plainHost has a goroutine for each of the pool's. ants keeps a ticker, by which the
// clock of a bubble would go on for ever.
type plainHost struct{}

func (plainHost) Go(f func()) { go f() } // ends with f
func (plainHost) Close()      {}

// A scene is an executor in a bubble, and the time since it was made: fake time, which
// goes on only when nothing else can.
type scene struct {
	t     *testing.T
	ex    *Local
	began time.Time
}

func inBubble(t *testing.T, cfg Config, body func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t, newLocal(cfg, plainHost{}), time.Now()}
		defer func() { require.NoError(t, s.ex.Close()) }()
		body(s)
	})
}

// requireAt checks what time it is.
func (s *scene) requireAt(d time.Duration) {
	s.t.Helper()
	require.Equal(s.t, d, time.Since(s.began))
}

// requireState checks what became of f when all is at rest.
func (s *scene) requireState(want futures.State, f futures.Waiter) {
	s.t.Helper()
	synctest.Wait()
	require.Equal(s.t, want, f.State(), "with %v", f.Err())
}

// sleepDeaf sleeps whatever becomes of its ctx.
func sleepDeaf(_ context.Context, d time.Duration) (time.Duration, error) {
	time.Sleep(d)
	return d, nil
}

// sleepHeedful sleeps until its ctx ends at the latest.
func sleepHeedful(ctx context.Context, d time.Duration) (time.Duration, error) {
	select {
	case <-time.After(d):
		return d, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

var (
	errScene = errors.New("scene: an error")
	errCause = errors.New("scene: a cause")
)

// attempts is a function that fails as often as it is told to, and keeps the times at
// which it was called.
type attempts struct {
	fail int
	mu   sync.Mutex
	at   []time.Time // guarded by mu
}

func (a *attempts) run(context.Context, int) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	if len(a.at) <= a.fail {
		return 0, errScene
	}
	return len(a.at), nil
}

func (a *attempts) calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

func TestTimeoutOfTheLastAttemptFailsAtOnce(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		f := Submit(s.t.Context(), s.ex, sleepDeaf, 10*time.Second, WithTimeout(time.Second))
		next := Submit(s.t.Context(), s.ex, sleepDeaf, 0)
		err := f.Wait(s.t.Context())
		s.requireAt(time.Second)
		require.ErrorIs(s.t, err, context.DeadlineExceeded)
		require.NotErrorIs(s.t, err, futures.ErrCancelled)
		s.requireState(futures.Failed, f)
		stats := s.ex.Stats()
		require.EqualValues(s.t, 1, stats.Abandoned, "its slot is taken")
		require.EqualValues(s.t, 1, stats.Pending)

		require.NoError(s.t, next.Wait(s.t.Context()))
		s.requireAt(10 * time.Second) // when the function has returned
		require.Zero(s.t, s.ex.Stats().Abandoned)
		require.Equal(s.t, err, f.Err(), "the value came too late")
	})
}

func TestTimeoutEndsTheCtxOfTheAttempt(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		var deadline time.Time
		var cause error
		f := Go(s.t.Context(), s.ex, func(ctx context.Context) (int, error) {
			deadline, _ = ctx.Deadline()
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, errScene
		}, WithTimeout(time.Second))
		require.ErrorIs(s.t, f.Wait(s.t.Context()), context.DeadlineExceeded)
		require.NotErrorIs(s.t, f.Err(), errScene)
		s.requireAt(time.Second)
		synctest.Wait()
		require.Equal(s.t, s.began.Add(time.Second), deadline)
		require.ErrorIs(s.t, cause, context.DeadlineExceeded)
	})
}

func TestTimeoutCountsFromTheStart(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		Submit(s.t.Context(), s.ex, sleepDeaf, time.Minute)
		f := Submit(s.t.Context(), s.ex, sleepHeedful, 2*time.Second, WithTimeout(3*time.Second))
		require.NoError(s.t, f.Wait(s.t.Context()))
		s.requireAt(time.Minute + 2*time.Second)
	})
}

func TestTimedOutAttemptIsRetriedWhenItHasReturned(t *testing.T) {
	inBubble(t, Config{Threads: 2}, func(s *scene) {
		var starts []time.Duration
		f := Go(s.t.Context(), s.ex, func(ctx context.Context) (int, error) {
			starts = append(starts, time.Since(s.began))
			if info, _ := TaskFromContext(ctx); info.Attempt < 3 {
				time.Sleep(5 * time.Second)
				return 0, nil // too late to count
			}
			return 7, nil
		}, WithRetries(2), WithTimeout(time.Second))
		time.Sleep(2 * time.Second)
		s.requireState(futures.Running, f)
		require.Zero(s.t, s.ex.Stats().Retried)
		v, err := f.Result(s.t.Context())
		require.NoError(s.t, err)
		require.Equal(s.t, 7, v)
		require.Equal(s.t, []time.Duration{0, 5 * time.Second, 10 * time.Second}, starts)
		require.EqualValues(s.t, 2, s.ex.Stats().Retried)
	})
}

func TestDeadlineOfCtxAndTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		ctx, timeout time.Duration
		want         futures.State
		at           time.Duration
	}{
		"the ctx ends first":     {time.Second, 5 * time.Second, futures.Cancelled, time.Second},
		"the timeout ends first": {5 * time.Second, time.Second, futures.Failed, time.Second},
		"the ctx has no end":     {0, time.Second, futures.Failed, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Threads: 1}, func(s *scene) {
				ctx, cancel := context.WithCancel(s.t.Context())
				if c.ctx != 0 {
					ctx, cancel = context.WithTimeout(ctx, c.ctx)
				}
				defer cancel()
				f := Submit(ctx, s.ex, sleepHeedful, time.Minute, WithTimeout(c.timeout))
				err := f.Wait(s.t.Context())
				s.requireAt(c.at)
				require.ErrorIs(s.t, err, context.DeadlineExceeded)
				require.Equal(s.t, c.want, f.State())
				require.Equal(s.t, c.want == futures.Cancelled, errors.Is(err, futures.ErrCancelled))
				require.NotErrorIs(s.t, err, context.Canceled)
			})
		})
	}
}

// TestCtxEndsRetries: a deadline of ctx is a cancellation, and is not retried.
func TestCtxEndsRetries(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		calls := 0
		f := Go(ctx, s.ex, func(ctx context.Context) (int, error) {
			calls++
			<-ctx.Done()
			return 0, ctx.Err()
		}, WithRetries(5), WithTimeout(time.Hour))
		require.ErrorIs(s.t, f.Wait(s.t.Context()), futures.ErrCancelled)
		s.requireAt(time.Second)
		synctest.Wait()
		require.Equal(s.t, 1, calls)
		require.Zero(s.t, s.ex.Stats().Retried)
	})
}

// TestBackoff: the wait before retry k lies between 0 and base x 2^k, anywhere.
func TestBackoff(t *testing.T) {
	const base, retries, tasks = 100 * time.Millisecond, 4, 200
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		all := make([]attempts, tasks)
		fs := make([]*futures.Future[int], tasks)
		for i := range all {
			all[i].fail = retries
			fs[i] = Submit(s.t.Context(), s.ex, all[i].run, i, WithRetries(retries), WithBackoff(base))
		}
		for i, f := range fs {
			v, err := f.Result(s.t.Context())
			require.NoError(s.t, err)
			require.Equal(s.t, retries+1, v, "task %d", i)
		}
		for k := range retries {
			limit := base << k
			var least, most time.Duration = limit, 0
			for i := range all {
				wait := all[i].at[k+1].Sub(all[i].at[k])
				require.GreaterOrEqual(s.t, wait, time.Duration(0))
				require.Less(s.t, wait, limit, "retry %d", k)
				least, most = min(least, wait), max(most, wait)
			}
			// 200 of them all in one half: 1 in 2^199.
			require.Less(s.t, least, limit/2, "retry %d", k)
			require.Greater(s.t, most, limit/2, "retry %d", k)
		}
		require.EqualValues(s.t, tasks*retries, s.ex.Stats().Retried)
	})
}

func TestWithoutBackoffRetriesFollowAtOnce(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		a := attempts{fail: 100}
		require.NoError(s.t, Submit(s.t.Context(), s.ex, a.run, 0, WithRetries(100)).Wait(s.t.Context()))
		s.requireAt(0)
		require.Equal(s.t, 101, a.calls())
	})
}

// waiting submits a task that has failed once, and waits for its next attempt.
func (s *scene) waiting(ctx context.Context, a *attempts, opts ...Option) *futures.Future[int] {
	s.t.Helper()
	f := Submit(ctx, s.ex, a.run, 0, append(opts, WithRetries(3), WithBackoff(1000*time.Hour))...)
	s.requireState(futures.Pending, f)
	require.Equal(s.t, 1, a.calls())
	require.Equal(s.t, "pending: for attempt 2", f.String())
	return f
}

func TestBackoffHoldsNoSlot(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		a := attempts{fail: 1}
		f := s.waiting(s.t.Context(), &a)
		require.NoError(s.t, Submit(s.t.Context(), s.ex, sleepDeaf, 0).Wait(s.t.Context()))
		s.requireAt(0)
		stats := s.ex.Stats()
		require.EqualValues(s.t, 1, stats.Pending)
		require.Zero(s.t, stats.Running+stats.Waiting)
		require.EqualValues(s.t, 1, stats.Retried)
		require.NoError(s.t, f.Wait(s.t.Context()))
	})
}

func TestEndDuringBackoff(t *testing.T) {
	for name, end := range map[string]func(s *scene, f *futures.Future[int], end context.CancelCauseFunc) error{
		"Cancel": func(_ *scene, f *futures.Future[int], _ context.CancelCauseFunc) error {
			f.Cancel(errCause)
			return errCause
		},
		"ctx": func(_ *scene, _ *futures.Future[int], end context.CancelCauseFunc) error {
			end(errCause)
			return errCause
		},
		"Close": func(s *scene, _ *futures.Future[int], _ context.CancelCauseFunc) error {
			require.NoError(s.t, s.ex.Close())
			return ErrClosed
		},
		"Shutdown past its ctx": func(s *scene, _ *futures.Future[int], _ context.CancelCauseFunc) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.ErrorIs(s.t, s.ex.Shutdown(ctx), context.Canceled)
			return ErrClosed
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Threads: 1}, func(s *scene) {
				ctx, cancel := context.WithCancelCause(s.t.Context())
				defer cancel(nil)
				a := attempts{fail: 1}
				f := s.waiting(ctx, &a)
				then := Then(s.t.Context(), s.ex, a.run, f)
				cause := end(s, f, cancel)
				s.requireState(futures.Cancelled, f)
				s.requireState(futures.Cancelled, then)
				require.ErrorIs(s.t, f.Err(), cause)
				require.ErrorIs(s.t, then.Err(), cause)
				s.requireAt(0)
				time.Sleep(2000 * time.Hour)
				require.Equal(s.t, 1, a.calls())
			})
		})
	}
}

// TestShutdownWaitsForBackoff: a task between two attempts is not finished.
func TestShutdownWaitsForBackoff(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		a := attempts{fail: 1}
		f := s.waiting(s.t.Context(), &a)
		require.NoError(s.t, s.ex.Shutdown(context.Background()))
		require.Equal(s.t, futures.Finished, f.State(), "with %v", f.Err())
	})
}

// TestBackoffDoublesUpToALimit: doubling does not run over.
func TestBackoffDoublesUpToALimit(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		a := attempts{fail: 200}
		f := Submit(s.t.Context(), s.ex, a.run, 0, WithRetries(200), WithBackoff(time.Nanosecond))
		require.NoError(s.t, f.Wait(s.t.Context()))
		for i := range a.at[1:] {
			require.Less(s.t, a.at[i+1].Sub(a.at[i]), time.Duration(1)<<min(i, 62))
		}
		for _, base := range []time.Duration{1<<62 - 1, 1 << 62, 1<<63 - 1} {
			a := attempts{fail: 3}
			f := Submit(s.t.Context(), s.ex, a.run, 0, WithRetries(3), WithBackoff(base))
			s.requireState(futures.Pending, f) // after the first; no time passes
			require.True(s.t, f.Cancel(nil))
		}
	})
}

// TestBackoffOverflow: the second wait of one that cannot be doubled is no panic.
func TestBackoffOverflow(t *testing.T) {
	for range 20 {
		inBubble(t, Config{Threads: 1}, func(s *scene) {
			a := attempts{fail: 2}
			f := Submit(s.t.Context(), s.ex, a.run, 0, WithRetries(2), WithBackoff(time.Duration(1)<<62-1))
			for a.calls() < 2 { // up to 146 years each
				time.Sleep(10 * 365 * 24 * time.Hour)
			}
			synctest.Wait()
			require.NoError(s.t, f.Err())
			require.EqualValues(s.t, 2, s.ex.Stats().Retried)
			f.Cancel(nil)
		})
	}
}
