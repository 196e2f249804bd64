package pool_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/pool"
)

func TestOneSlotKeepsTheOrder(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b", "c")
		as[0].end()
		as[1].end()
		assert.Equal(t, []string{"a", "b", "c"}, s.said())
	})
}

func TestSlotsBoundWhatRuns(t *testing.T) {
	for _, slots := range []int{1, 2, 3, 17} {
		bubble(t, slots, func(t *testing.T, s *stage) {
			assert.Equal(t, slots, s.Slots())
			const n = 40
			for i := range n {
				s.push(0, fmt.Sprint(i))
			}
			for left := n; left > 0; left-- {
				running := s.running()
				assert.Len(t, running, min(slots, left))
				assert.ElementsMatch(t, names(s.Running()), running)
				s.find(running[0]).end()
			}
			assert.True(t, s.Idle())
		})
	}
}

func TestHigherPrioritiesStartFirst(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		first := s.push(0, "first")[0]
		s.push(-1, "low")
		s.push(0, "a", "b")
		s.push(7, "high", "high2")
		s.push(1, "one")
		s.push(0, "c")
		first.end()
		for _, a := range []int{4, 5, 6, 2, 3, 7, 1} {
			s.actors[a].end()
		}
		assert.Equal(t, []string{"first", "high", "high2", "one", "a", "b", "c", "low"}, s.said())
	})
}

// A slot takes tasks ahead, 16 at most, and gives them back when a higher one comes.
func TestTakenAheadGoesBackForAHigherOne(t *testing.T) {
	for _, prio := range []int{0, -3} {
		bubble(t, 2, func(t *testing.T, s *stage) {
			blockers := s.push(prio, "x", "y")
			var queued []*actor
			for i := range 60 {
				queued = append(queued, s.push(prio, fmt.Sprint(i))...)
			}
			s.said()
			blockers[0].end() // and takes 16
			blockers[1].end()
			assert.Equal(t, []string{"0", "16"}, s.said(), "each slot takes what it may")
			s.push(prio+1, "urgent")
			queued[0].end()
			assert.Equal(t, []string{"urgent"}, s.said())
			s.actors[len(s.actors)-1].end()
			assert.Equal(t, []string{"1"}, s.said(), "what was taken first comes first again")
			for i := 1; i < 60; i++ {
				if i != 16 {
					queued[i].end()
				}
			}
			want := []string{}
			for i := 2; i < 60; i++ {
				if i != 16 {
					want = append(want, fmt.Sprint(i))
				}
			}
			assert.Equal(t, want, s.said())
		})
	}
}

// So it does when the tasks were stolen from another slot's batch.
func TestStolenGoesBackInOrder(t *testing.T) {
	bubble(t, 3, func(t *testing.T, s *stage) {
		blockers := s.push(0, "x", "y", "z")
		var queued []*actor
		for i := range 12 {
			queued = append(queued, s.push(0, fmt.Sprint(i))...)
		}
		blockers[0].end() // takes 4
		blockers[1].end() // takes 2
		blockers[2].end() // takes 2
		s.said()
		for s.said(); len(s.Queued()) > 5; s.said() {
			s.find(s.running()[1]).end() // the first stays, and is stolen from
		}
		var left []string
		for _, a := range queued {
			if !a.begun.Load() {
				left = append(left, a.name)
			}
		}
		urgent := s.push(1, "urgent")[0]
		running := s.running()
		require.Len(t, running, 3)
		s.said()
		s.find(running[2]).end()
		urgent.end()
		for _, name := range left {
			s.find(name).end()
		}
		assert.Equal(t, append([]string{"urgent"}, left...), s.said())
	})
}

// What a slot has taken ahead is taken from it by one that has nothing to do: one that
// is stuck holds up nothing but what it is at.
func TestNothingWaitsBehindAStuckTask(t *testing.T) {
	for _, slots := range []int{2, 3, 5} {
		bubble(t, slots, func(t *testing.T, s *stage) {
			var blockers []*actor
			for i := range slots {
				blockers = append(blockers, s.push(0, fmt.Sprint("blocker ", i))...)
			}
			var as []*actor
			for i := range 100 {
				as = append(as, s.push(0, fmt.Sprint(i))...)
			}
			for _, b := range blockers {
				b.end()
			}
			stuck := slots - 1
			for ended := 0; ended < len(as)-stuck; ended++ {
				running := s.running()
				require.Len(t, running, min(slots, len(as)-ended), "a slot idles while tasks wait")
				s.find(running[len(running)-1]).end() // the first ones are stuck for good
			}
			assert.Empty(t, s.Queued())
		})
	}
}

func TestResize(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b", "c", "d", "e", "f", "g", "h")
		assert.Equal(t, []string{"a", "b"}, s.said())
		s.Resize(4)
		assert.ElementsMatch(t, []string{"c", "d"}, s.said(), "more begin at once")
		assert.Equal(t, 4, s.Slots())
		s.Resize(1)
		as[0].end()
		as[1].end()
		as[2].end()
		assert.Empty(t, s.said(), "fewer end as their tasks do")
		as[3].end()
		assert.Equal(t, []string{"e"}, s.said())
		s.Resize(0)
		assert.Equal(t, 1, s.Slots(), "one at least")
		s.Resize(3)
		assert.Len(t, s.said(), 2, "of what the one slot has taken ahead, too")
		for range 4 {
			s.find(s.running()[0]).end()
		}
		assert.Len(t, s.said(), 1)
		assert.True(t, s.Idle())
		s.Resize(1)
		s.push(0, "i", "j")
		assert.Equal(t, []string{"i"}, s.said())
	})
}

func TestBrokenTasksHarmNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b", "c", "d")
		as[0].panic()
		as[1].goexit()
		as[2].panic()
		assert.Equal(t, []string{"a", "b", "c", "d"}, s.said())
		assert.Equal(t, []string{"a panics", "goexit", "c panics", ""}, []string{as[0].broke, as[1].broke, as[2].broke, as[3].broke})
		assert.EqualValues(t, 1, s.host.live.Load(), "the goroutine that a Goexit took was replaced")
		as[3].end()
		assert.True(t, s.Idle())
		for _, a := range as {
			assert.Equal(t, 1, a.ends, a.name)
		}
	})
}

func TestCloseGivesBackWhatHasNotStarted(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		blockers := s.push(0, "x", "y")
		s.push(0, "a", "b", "c", "d", "e", "f")
		s.push(3, "high")
		s.push(-3, "low")
		blockers[0].end() // begins high
		blockers[1].end() // begins a, and takes some ahead
		begun := s.said()
		dropped := s.Close()
		assert.ElementsMatch(t, []string{"x", "y", "high", "a", "b", "c", "d", "e", "f", "low"}, append(begun, names(dropped)...))
		assert.Len(t, dropped, 6)
		assert.Nil(t, s.Close(), "a second time")
		assert.False(t, s.Push(s.actor("late"), 0, 1))
		assert.Empty(t, s.Queued())
		ctx, end := context.WithTimeout(t.Context(), time.Hour)
		defer end()
		assert.ErrorIs(t, s.Wait(ctx), context.DeadlineExceeded, "two still run")
		for _, name := range s.running() {
			s.find(name).end()
		}
		assert.NoError(t, s.Wait(ctx), "all is over, whatever ctx says")
		assert.Empty(t, s.said())
	})
}

func TestCloseOfAnIdlePool(t *testing.T) {
	bubble(t, 2, func(*testing.T, *stage) {})
	bubble(t, 2, func(t *testing.T, s *stage) {
		for _, a := range s.push(0, "a", "b") {
			a.end()
		}
		assert.Empty(t, s.Close())
		assert.NoError(t, s.Wait(t.Context()))
		assert.Zero(t, s.host.live.Load())
	})
	p := pool.New(pool.Config{}) // on ants
	assert.Equal(t, runtime.GOMAXPROCS(0), p.Slots())
	done := make(chan struct{})
	require.True(t, p.Push(&job{run: func(*pool.Runner) { close(done) }}, 0, 1))
	<-done
	assert.Empty(t, p.Close())
	assert.NoError(t, p.Wait(context.Background()))
	assert.NoError(t, p.Wait(context.Background()))
}

func TestIdle(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		calls := 0
		s.OnIdle(func() { calls++ })
		assert.Equal(t, 1, calls, "it is idle")
		as := s.push(0, "a", "b")
		assert.False(t, s.Idle())
		as[0].end()
		assert.False(t, s.Idle())
		assert.Equal(t, 1, calls)
		as[1].end()
		assert.True(t, s.Idle())
		assert.Equal(t, 2, calls)

		lender := s.push(0, "lender")[0]
		lender.lend(nil)
		assert.False(t, s.Idle(), "a task that waits runs")
		assert.Equal(t, 2, calls)
		lender.leave()
		assert.True(t, s.Idle())
		assert.Equal(t, 3, calls)
	})
}

func TestBuryTakesTheDeadOut(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		s.push(0, "blocker")
		for i := range 300 {
			a := s.push(i%3, fmt.Sprint(i))[0]
			a.dead.Store(i%4 != 0)
		}
		s.Bury(10)
		assert.Len(t, s.Queued(), 300, "not worth it")
		s.Bury(215)
		assert.Len(t, s.Queued(), 75)
		dropped := s.Close()
		assert.Len(t, dropped, 75)
		for i, a := range dropped[:len(dropped)-1] {
			assert.GreaterOrEqual(t, a.(*actor).prio, dropped[i+1].(*actor).prio, "they keep their order")
		}
	})
}

func TestCountersOutliveRunners(t *testing.T) {
	bubble(t, 3, func(t *testing.T, s *stage) {
		for range 10 {
			for _, a := range s.push(0, "a", "b", "c") {
				a.tell(func(r *pool.Runner) { r.Add(1, 2); r.Add(2, -1) })
				a.goexit()
			}
		}
		assert.EqualValues(t, 60, s.Count(1))
		s.Close()
		require.NoError(t, s.Wait(t.Context()))
		assert.EqualValues(t, 60, s.Count(1))
		assert.EqualValues(t, -30, s.Count(2))
		assert.Zero(t, s.Count(0))
		assert.EqualValues(t, 30, s.Fresh())
	})
}

func TestInside(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		assert.False(t, s.Inside())
		a.tell(func(*pool.Runner) {
			assert.True(t, s.Inside())
			other := make(chan bool)
			go func() { other <- s.Inside() }()
			assert.False(t, <-other, "a goroutine of the task's own")
		})
		a.panic()
		b := s.push(0, "b")[0]
		b.tell(func(*pool.Runner) { assert.True(t, s.Inside()) })
		b.goexit()
		c := s.push(0, "c")[0]
		c.tell(func(*pool.Runner) { assert.True(t, s.Inside(), "on the goroutine that replaced it") })
	})
}

func TestSlotsAndHolders(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b")
		for want, a := range as {
			a.tell(func(r *pool.Runner) {
				assert.Equal(t, want, r.SlotID())
				assert.Equal(t, want, r.Slot())
				assert.Same(t, r, s.Holder(want))
			})
		}
		as[1].lend(nil)
		as[1].tell(func(r *pool.Runner) { assert.Equal(t, -1, r.Slot()) })
		assert.Nil(t, s.Holder(1))
	})
}

// What has run is nobody's any more, once its slot has nothing to do.
func TestPoolKeepsNothing(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		var gone []weak.Pointer[job]
		for range 100 {
			j := &job{run: func(*pool.Runner) {}}
			gone = append(gone, weak.Make(j))
			require.True(t, s.Push(j, 0, 1))
		}
		synctest.Wait()
		require.True(t, s.Idle())
		for range 5 {
			runtime.GC()
		}
		for i := range gone {
			assert.Nil(t, gone[i].Value(), i)
		}
	})
}
