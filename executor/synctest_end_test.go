package executor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestShutdownLetsTasksFinish(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		f := Submit(s.t.Context(), s.ex, sleepDeaf, 3*time.Second)
		then := Then(s.t.Context(), s.ex, sleepDeaf, f)
		require.NoError(s.t, s.ex.Shutdown(deadline(s.t, time.Minute)))
		s.requireAt(6 * time.Second)
		require.Equal(s.t, futures.Finished, then.State(), "with %v", then.Err())
		require.ErrorIs(s.t, Submit(s.t.Context(), s.ex, sleepDeaf, 0).Err(), ErrClosed)
	})
}

func TestShutdownPastItsDeadlineCancels(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		f := Submit(s.t.Context(), s.ex, sleepHeedful, time.Hour)
		queued := Submit(s.t.Context(), s.ex, sleepHeedful, time.Hour)
		held := Then(s.t.Context(), s.ex, sleepHeedful, futures.Value(time.Hour))
		promise, _ := futures.New[time.Duration]()
		never := Then(s.t.Context(), s.ex, sleepHeedful, promise)
		err := s.ex.Shutdown(deadline(s.t, time.Second))
		s.requireAt(time.Second)
		require.ErrorIs(s.t, err, context.DeadlineExceeded)
		for _, f := range []*futures.Future[time.Duration]{f, queued, held, never} {
			require.Equal(s.t, futures.Cancelled, f.State())
			require.ErrorIs(s.t, f.Err(), ErrClosed)
		}
		require.Zero(s.t, s.ex.Stats().Abandoned)
	})
}

// TestShutdownWaitsCloseGrace: and says how many functions still run after that.
func TestShutdownWaitsCloseGrace(t *testing.T) {
	inBubble(t, Config{Threads: 3, CloseGrace: 4 * time.Second}, func(s *scene) {
		for range 2 {
			Submit(s.t.Context(), s.ex, sleepDeaf, time.Hour)
		}
		f := Submit(s.t.Context(), s.ex, sleepDeaf, 3*time.Second)
		err := s.ex.Shutdown(deadline(s.t, time.Second))
		s.requireAt(5 * time.Second)
		require.ErrorIs(s.t, err, context.DeadlineExceeded)
		require.ErrorContains(s.t, err, "2 functions still run")
		require.Equal(s.t, futures.Cancelled, f.State())

		require.NoError(s.t, s.ex.Close())
		s.requireAt(time.Hour)
	})
}

func TestShutdownReturnsWithTheLastFunctionWithinCloseGrace(t *testing.T) {
	inBubble(t, Config{Threads: 1, CloseGrace: 4 * time.Second}, func(s *scene) {
		Submit(s.t.Context(), s.ex, sleepDeaf, 3*time.Second)
		err := s.ex.Shutdown(deadline(s.t, time.Second))
		s.requireAt(3 * time.Second)
		require.ErrorIs(s.t, err, context.DeadlineExceeded)
		require.NotContains(s.t, err.Error(), "still run")
	})
}

// TestCloseWaitsForFunctions: however long they take, since near they cannot be killed.
func TestCloseWaitsForFunctions(t *testing.T) {
	inBubble(t, Config{Threads: 1, CloseGrace: time.Second}, func(s *scene) {
		f := Submit(s.t.Context(), s.ex, sleepDeaf, time.Hour)
		s.requireState(futures.Running, f)
		require.NoError(s.t, s.ex.Close())
		s.requireAt(time.Hour)
		require.ErrorIs(s.t, f.Err(), ErrClosed)
	})
}

// TestCloseEndsShutdown: who waits in Shutdown is not kept waiting.
func TestCloseEndsShutdown(t *testing.T) {
	inBubble(t, Config{Threads: 1}, func(s *scene) {
		Submit(s.t.Context(), s.ex, sleepHeedful, time.Hour)
		promise, _ := futures.New[time.Duration]()
		Then(s.t.Context(), s.ex, sleepHeedful, promise)
		down := make(chan error, 1)
		go func() { down <- s.ex.Shutdown(context.Background()) }()
		synctest.Wait()
		require.NoError(s.t, s.ex.Close())
		require.NoError(s.t, <-down)
		s.requireAt(0)
	})
}
