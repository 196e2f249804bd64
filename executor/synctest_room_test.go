package executor

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

// full fills the executor's one slot for d, and its one place.
func (s *scene) full(d time.Duration) (running, pending *futures.Future[time.Duration]) {
	s.t.Helper()
	running = Submit(s.t.Context(), s.ex, sleepDeaf, d)
	s.requireState(futures.Running, running)
	pending = Submit(s.t.Context(), s.ex, sleepDeaf, time.Second)
	s.requireAt(0)
	s.requireState(futures.Pending, pending)
	f := Submit(s.t.Context(), s.ex, sleepDeaf, 0, WithNoWait())
	require.ErrorIs(s.t, f.Err(), ErrFull)
	require.Equal(s.t, futures.Failed, f.State())
	return running, pending
}

// An entry is a Submit in a goroutine of its own, and when it returned.
type entry struct {
	f  *futures.Future[time.Duration]
	at time.Time
	in chan struct{}
}

// enter submits, and returns when that has returned or blocks.
func (s *scene) enter(ctx context.Context, opts ...Option) *entry {
	e := &entry{in: make(chan struct{})}
	go func() { // ends when there is room, or none will come
		defer close(e.in)
		e.f = Submit(ctx, s.ex, sleepDeaf, time.Second, opts...)
		e.at = time.Now()
	}()
	synctest.Wait()
	return e
}

func (s *scene) requireBlocked(e *entry) {
	s.t.Helper()
	select {
	case <-e.in:
		require.Fail(s.t, "it did not block", "%v", e.f)
	default:
	}
}

// requireEntered waits for the submit, which was to return after d.
func (s *scene) requireEntered(e *entry, d time.Duration) {
	s.t.Helper()
	<-e.in
	require.Equal(s.t, d, e.at.Sub(s.began))
}

var oneOfEach = Config{Threads: 1, MaxPending: 1}

func TestSubmitBlocksUntilThereIsRoom(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		_, pending := s.full(10 * time.Second)
		e := s.enter(s.t.Context())
		s.requireBlocked(e)
		require.EqualValues(s.t, 4, s.ex.Stats().Submitted, "the one that was refused among them")
		s.requireEntered(e, 10*time.Second) // when the pending one has started
		s.requireState(futures.Running, pending)
		s.requireState(futures.Pending, e.f)
		require.NoError(s.t, e.f.Wait(s.t.Context()))
		s.requireAt(12 * time.Second)
	})
}

func TestCancelOfAPendingTaskMakesRoom(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		_, pending := s.full(10 * time.Second)
		e := s.enter(s.t.Context())
		s.requireBlocked(e)
		pending.Cancel(nil)
		s.requireEntered(e, 0)
	})
}

func TestBlockedSubmitsEnterInOrder(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		s.full(10 * time.Second)
		var entries []*entry
		for i := range 5 {
			entries = append(entries, s.enter(s.t.Context(), WithPriority(i))) // which is for starting
		}
		for i, e := range entries {
			s.requireEntered(e, time.Duration(10+i)*time.Second)
		}
	})
}

func TestCtxEndsWhileSubmitBlocks(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		s.full(10 * time.Second)
		ctx, cancel := context.WithTimeoutCause(s.t.Context(), time.Second, errCause)
		defer cancel()
		e, next := s.enter(ctx), s.enter(s.t.Context())
		s.requireEntered(e, time.Second)
		require.Equal(s.t, futures.Cancelled, e.f.State())
		require.ErrorIs(s.t, e.f.Err(), errCause)
		s.requireEntered(next, 10*time.Second) // and has not waited in vain behind it
		require.NoError(s.t, next.f.Wait(s.t.Context()))
	})
}

func TestEndWhileSubmitBlocks(t *testing.T) {
	for name, end := range map[string]func(*Local) error{
		"Close":    (*Local).Close,
		"Shutdown": func(l *Local) error { return l.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, oneOfEach, func(s *scene) {
				_, pending := s.full(10 * time.Second)
				entries := []*entry{s.enter(s.t.Context()), s.enter(s.t.Context(), WithKey("k")), s.enter(s.t.Context())}
				done := make(chan error, 1)
				go func() { done <- end(s.ex) }()
				for _, e := range entries {
					s.requireEntered(e, 0)
					require.Equal(s.t, futures.Failed, e.f.State())
					require.ErrorIs(s.t, e.f.Err(), ErrClosed)
				}
				require.NoError(s.t, <-done)
				require.True(s.t, pending.State().Done())
			})
		})
	}
}

func TestInputsThatAreAwaitedTakeRoom(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		in, resolve := futures.New[time.Duration]()
		then := Then(s.t.Context(), s.ex, sleepDeaf, in)
		require.ErrorIs(s.t, Submit(s.t.Context(), s.ex, sleepDeaf, 0, WithNoWait()).Err(), ErrFull)
		e := s.enter(s.t.Context())
		s.requireBlocked(e)
		resolve(time.Second, nil)
		s.requireEntered(e, 0)
		require.NoError(s.t, then.Wait(s.t.Context()))
		s.requireAt(time.Second)
	})
}

// TestTasksDoNotBlockOnRoom: else all slots might wait for room that only they can make.
func TestTasksDoNotBlockOnRoom(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		f := Go(s.t.Context(), s.ex, func(ctx context.Context) (time.Duration, error) {
			var fs []*futures.Future[time.Duration]
			for range 10 {
				fs = append(fs, Submit(ctx, s.ex, sleepDeaf, time.Second))
			}
			if at := time.Since(s.began); at != 0 {
				return 0, fmt.Errorf("it blocked for %v", at)
			}
			_, err := futures.Gather(ctx, fs...)
			return time.Since(s.began), err
		})
		v, err := f.Result(s.t.Context())
		require.NoError(s.t, err)
		require.Equal(s.t, 10*time.Second, v)
		require.NoError(s.t, Submit(s.t.Context(), s.ex, sleepDeaf, 0, WithNoWait()).Wait(s.t.Context()), "there is room again")
	})
}

// TestManyBlockItemByItem: SubmitAll and Map return when the last has found room.
func TestManyBlockItemByItem(t *testing.T) {
	costs := make([]time.Duration, 6)
	for i := range costs {
		costs[i] = time.Second
	}
	for name, submit := range map[string]func(context.Context, *Local) futures.Waiter{
		"SubmitAll": func(ctx context.Context, ex *Local) futures.Waiter {
			return futures.All(SubmitAll(ctx, ex, sleepDeaf, costs)...)
		},
		"Map": func(ctx context.Context, ex *Local) futures.Waiter { return Map(ctx, ex, sleepDeaf, costs) },
		"Map of tasks": func(ctx context.Context, ex *Local) futures.Waiter {
			return Map(ctx, ex, sleepDeaf, costs, WithRetries(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Threads: 1, MaxPending: 2}, func(s *scene) {
				w := submit(s.t.Context(), s.ex)
				s.requireAt(3 * time.Second) // the fourth has just started, and two are pending
				require.NoError(s.t, w.Wait(s.t.Context()))
				s.requireAt(6 * time.Second)
			})
		})
	}
}

func TestRetryTakesNoRoom(t *testing.T) {
	inBubble(t, oneOfEach, func(s *scene) {
		a := attempts{fail: 1}
		f := s.waiting(s.t.Context(), &a)
		s.full(time.Second)
		require.NoError(s.t, f.Wait(s.t.Context()))
	})
}
