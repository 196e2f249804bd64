package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stage starts processes that are none, in a bubble.
type stage struct {
	began time.Time

	mu     sync.Mutex
	log    []string
	fails  map[string]error // by slot/incarnation
	slow   map[string]bool  // starts that wait for their ctx
	late   bool             // and succeed all the same
	actors map[string]*actor
}

// An actor is a process that ends when it is told to.
type actor struct {
	*Process
	once     sync.Once
	stubborn bool // minds no lifeline
}

func (a *actor) Close() error {
	if !a.stubborn {
		a.finish(0)
	}
	return nil
}

func (a *actor) finish(code int) { a.once.Do(func() { a.end(&ExitError{Code: code}) }) }

func newStage() *stage {
	return &stage{began: time.Now(), fails: map[string]error{}, slow: map[string]bool{}, actors: map[string]*actor{}}
}

func (s *stage) start(ctx context.Context, cfg Config) (*Process, error) {
	if s.slow[cfg.Path] {
		<-ctx.Done()
		if !s.late {
			return nil, context.Cause(ctx)
		}
	}
	if err := s.fails[cfg.Path]; err != nil {
		return nil, err
	}
	a := &actor{Process: &Process{done: make(chan struct{})}}
	a.lifeline = a
	a.signal = func(sig os.Signal) error {
		if sig == os.Kill {
			a.finish(-9)
		}
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors[cfg.Path] = a
	return a.Process, nil
}

func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf("%v ", time.Since(s.began))+fmt.Sprintf(format, args...))
}

// said is what happened since it was asked last.
func (s *stage) said() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *stage) actor(slot, incarnation int) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[fmt.Sprintf("%d/%d", slot, incarnation)]
}

func (s *stage) keep(ctx context.Context, n int) (*Keeper, error) {
	return keep(ctx, n, Events{
		Config: func(slot, incarnation int) Config { return Config{Path: fmt.Sprintf("%d/%d", slot, incarnation)} },
		Up:     func(slot, incarnation int, _ *Process) { s.say("up %d/%d", slot, incarnation) },
		Down: func(slot, incarnation int, exit error) {
			if e, ok := errors.AsType[*ExitError](exit); ok {
				exit = fmt.Errorf("code %d", e.Code)
			}
			s.say("down %d/%d: %v", slot, incarnation, exit)
		},
	}, s.start)
}

// at waits until a time of the stage.
func (s *stage) at(d time.Duration) { time.Sleep(d - time.Since(s.began)) }

func TestRestartsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		k, err := s.keep(t.Context(), 1)
		require.NoError(t, err)
		assert.Equal(t, []string{"0s up 0/1"}, s.said())

		var waits []time.Duration
		for i := 1; i <= 10; i++ {
			began := time.Now()
			s.actor(0, i).finish(1)
			for len(s.said()) < 2 && s.actor(0, i+1) == nil {
				time.Sleep(time.Millisecond)
			}
			waits = append(waits, time.Since(began))
		}
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms}, waits)

		time.Sleep(10*time.Second - ms) // not yet enough
		began := time.Now()
		s.actor(0, 11).finish(1)
		for s.actor(0, 12) == nil {
			time.Sleep(ms)
			synctest.Wait()
		}
		assert.Equal(t, 5*time.Second, time.Since(began))

		time.Sleep(10 * time.Second)
		s.actor(0, 12).finish(1)
		synctest.Wait()
		assert.NotNil(t, s.actor(0, 13), "at once, after a life of 10 s")
		s.actor(0, 13).finish(1)
		time.Sleep(100 * ms)
		synctest.Wait()
		assert.NotNil(t, s.actor(0, 14))
		k.Close(0)
	})
}

func TestRestartsThatFailBackOffToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		for i := 2; i <= 4; i++ {
			s.fails[fmt.Sprintf("0/%d", i)] = errors.New("no memory")
		}
		k, err := s.keep(t.Context(), 2)
		require.NoError(t, err)
		s.said()
		s.at(time.Second)
		k.Kill(0, 1)
		s.at(20 * time.Second)
		assert.Equal(t, []string{
			"1s down 0/1: code -9",
			"1s down 0/2: no memory",
			"1.1s down 0/3: no memory",
			"1.3s down 0/4: no memory",
			"1.7s up 0/5",
		}, s.said())
		k.Close(0)
		assert.ElementsMatch(t, []string{"20s down 0/5: code 0", "20s down 1/1: code 0"}, s.said())
	})
}

func TestKillIsOfOneIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		k, err := s.keep(t.Context(), 2)
		require.NoError(t, err)
		k.Kill(0, 1)
		assert.Subset(t, s.said(), []string{"0s down 0/1: code -9", "0s up 0/2"})
		for _, other := range [][2]int{{0, 1}, {0, 0}, {0, 3}, {-1, 1}, {2, 1}} {
			k.Kill(other[0], other[1])
		}
		assert.Empty(t, s.said())
		k.Kill(0, 2) // and nobody is there for 0.1 s
		assert.Equal(t, []string{"0s down 0/2: code -9"}, s.said())
		k.Kill(0, 2)
		k.Kill(0, 3)
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, []string{"100ms up 0/3"}, s.said())
		k.Close(0)
		k.Kill(0, 3)
	})
}

func TestFirstStartThatFailsStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		broken := errors.New("no such program")
		s.fails["1/1"] = broken
		s.slow["2/1"] = true
		_, err := s.keep(t.Context(), 3)
		assert.Equal(t, broken, err)
		assert.ElementsMatch(t, []string{"0s up 0/1", "0s down 0/1: code 0"}, s.said())
	})
}

func TestKeepEndsWithItsCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.slow["1/1"] = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := s.keep(ctx, 2)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		assert.Equal(t, []string{"0s up 0/1", "1s down 0/1: code 0"}, s.said())

		ctx, cancel = context.WithCancel(t.Context())
		k, err := s.keep(ctx, 1)
		require.NoError(t, err)
		cancel()
		time.Sleep(time.Second)
		assert.Equal(t, []string{"1s up 0/1"}, s.said(), "it bounds the opening only")
		k.Kill(0, 1)
		assert.Len(t, s.said(), 2, "and restarts have another")
		k.Close(0)
	})
}

func TestCloseWhileNothingRuns(t *testing.T) {
	for name, slow := range map[string]bool{"in a pause": false, "in a start": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage()
				k, err := s.keep(t.Context(), 1)
				require.NoError(t, err)
				s.slow["0/3"] = slow
				k.Kill(0, 1)
				synctest.Wait()
				k.Kill(0, 2)
				if slow {
					time.Sleep(time.Second)
				}
				s.said()
				k.Close(time.Hour)
				assert.Empty(t, s.said())
				assert.Nil(t, s.actor(0, 3))
			})
		})
	}
}

func TestProcessThatIsReadyAfterCloseIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		k, err := s.keep(t.Context(), 1)
		require.NoError(t, err)
		s.slow["0/2"], s.late = true, true
		k.Kill(0, 1)
		s.said()
		k.Close(time.Hour)
		assert.Empty(t, s.said(), "nobody hears of it")
		assert.NotNil(t, s.actor(0, 2).Exit())
	})
}

func TestCloseWaitsItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		k, err := s.keep(t.Context(), 3)
		require.NoError(t, err)
		s.actor(0, 1).stubborn = true
		s.actor(1, 1).stubborn = true
		s.said()
		var both sync.WaitGroup
		both.Go(func() { k.Close(time.Minute) })
		time.Sleep(time.Second)
		assert.Equal(t, []string{"0s down 2/1: code 0"}, s.said())
		both.Go(func() { k.Close(10 * time.Second) })
		both.Wait()
		assert.ElementsMatch(t, []string{"11s down 0/1: code -9", "11s down 1/1: code -9"}, s.said())
		k.Close(0)
	})
}

func TestKeepOfNone(t *testing.T) {
	k, err := Keep(t.Context(), 0, Events{})
	require.NoError(t, err)
	k.Close(0)
	_, err = Keep(t.Context(), -1, Events{})
	assert.Error(t, err)
}
