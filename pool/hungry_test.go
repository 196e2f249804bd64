package pool_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/pool"
)

// A part is a task, or an item of a loop, that has begun.
type part struct {
	a *actor
	l *loop
	i int
}

func (p part) do() chan func(*pool.Runner) {
	if p.a != nil {
		return p.a.do
	}
	return p.l.do[p.i]
}

// A crowd is a pool with tasks and loops of any shape, all told one by one.
type crowd struct {
	*stage
	slots int
	lent  map[part]bool // whose slot is lent: true if it asks for it
}

// push adds a task or a loop.
func (c *crowd) push(t *rapid.T) {
	prio := rapid.SampledFrom([]int{0, 0, 0, 1, -1}).Draw(t, "prio")
	n := rapid.IntRange(0, 30).Draw(t, "items")
	if n == 0 {
		c.stage.push(prio, fmt.Sprint("task ", len(c.actors)))
		return
	}
	l := c.loop("", n, rapid.IntRange(0, 1).Draw(t, "fixed"), each)
	// An item takes its time, so that none is taken along with another.
	l.item = func(*pool.Runner, int) { time.Sleep(time.Millisecond) }
	require.True(t, c.PushSpan(l.span, prio, n))
}

// look is what has a slot, and how many have not begun or wait for a slot.
func (c *crowd) look() (running []part, waiting int) {
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	see := func(p part) {
		switch asks, lent := c.lent[p]; {
		case asks:
			waiting++
		case !lent:
			running = append(running, p)
		}
	}
	for _, a := range c.actors {
		switch {
		case !a.begun.Load():
			waiting++
		case a.ends == 0:
			see(part{a: a})
		}
	}
	for _, l := range c.loops {
		for i := range l.ran {
			switch {
			case l.ran[i] == 0:
				waiting++
			case l.stuck[i]:
				see(part{l: l, i: i})
			}
		}
	}
	return running, waiting
}

// pick is one of those that have a slot, or have lent it and do not ask for it.
func (c *crowd) pick(t *rapid.T, lent bool) part {
	from, _ := c.look()
	if lent {
		from = nil
		for _, a := range c.actors {
			from = append(from, part{a: a})
		}
		for _, l := range c.loops {
			for i := range l.ran {
				from = append(from, part{l: l, i: i})
			}
		}
		from = slices.DeleteFunc(from, func(p part) bool {
			asks, lent := c.lent[p]
			return !lent || asks
		})
	}
	if len(from) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(from).Draw(t, "which")
}

// While items or tasks wait that have not started, no slot idles, whatever the shape of
// what there is to do, and whatever ends, breaks, waits, or goes on first.
func TestNoSlotIdles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			c := &crowd{stage: &stage{t: t, host: &goHost{}}, lent: map[part]bool{}}
			c.slots = rapid.IntRange(1, 4).Draw(rt, "slots")
			c.Pool = pool.New(pool.Config{Slots: c.slots, Host: c.host})
			defer c.over()
			c.push(rt)
			ends := []func(*pool.Runner){
				nil, nil, nil, func(*pool.Runner) { panic("broken") }, func(*pool.Runner) { runtime.Goexit() },
			}
			rt.Repeat(map[string]func(*rapid.T){
				"push": c.push,
				"end": func(rt *rapid.T) {
					c.pick(rt, false).do() <- rapid.SampledFrom(ends).Draw(rt, "how")
				},
				"lend": func(rt *rapid.T) {
					p := c.pick(rt, false)
					c.lent[p] = false
					p.do() <- func(r *pool.Runner) { r.Lend(nil) }
				},
				"resume": func(rt *rapid.T) {
					p := c.pick(rt, true)
					c.lent[p] = true
					p.do() <- func(r *pool.Runner) {
						w := make(waker, 1)
						r.Resume(w)
						<-w
						c.mu.Lock()
						defer c.mu.Unlock()
						delete(c.lent, p)
					}
				},
				"leave": func(rt *rapid.T) {
					p := c.pick(rt, true)
					p.do() <- func(r *pool.Runner) { r.Settle() }
					p.do() <- nil
					delete(c.lent, p)
				},
				"resize": func(rt *rapid.T) {
					c.slots = rapid.IntRange(c.slots, 5).Draw(rt, "slots")
					c.Resize(c.slots)
				},
				"": func(rt *rapid.T) {
					running, waiting := c.look()
					if waiting > 0 && len(running) != c.slots {
						rt.Fatalf("%d of %d slots have something to do, and %d wait", len(running), c.slots, waiting)
					}
					if len(running) > c.slots {
						rt.Fatalf("%d run on %d slots", len(running), c.slots)
					}
				},
			})
		})
	})
}

// Cheap items are taken into a slot's hands by the hundred. When they turn out dear, the
// other slots have something to do as soon as one of them has ended.
func TestCheapThenDear(t *testing.T) {
	for _, slots := range []int{2, 3, 4, 7} {
		for _, k := range []int{1, 50, 999, 1000} {
			bubble(t, slots, func(t *testing.T, s *stage) {
				l := s.loop("", 2000, 0, from(k))
				l.push(0)
				now := l.running()
				for _, i := range now {
					l.end(i)
				}
				assert.Len(t, l.running(), slots)
			})
		}
	}
}

// A slot that has gone idle while an item waited is remembered when the item goes on.
func TestIdleSlotIsRememberedByAWaiter(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		l := s.loop("", 200, 0, func(i int) bool { return i >= 1 && i <= 20 })
		l.span.Limit(41)
		l.push(0)
		require.Equal(t, []int{1}, l.running(), "with 2 to 10 in its hands")
		l.tell(1, func(r *pool.Runner) { r.Lend(nil) })
		for i := 11; i <= 20; i++ { // the rest is for the slot that it lent
			l.end(i)
		}
		a.end()
		require.Equal(t, 32, l.begun())
		l.tell(1, func(r *pool.Runner) {
			w := make(waker, 1)
			r.Resume(w)
			<-w
		})
		l.end(1)
		now := l.running()
		assert.Len(t, now, 2, "the other slot has part of it: %v", now)
	})
}

// Of something urgent, too.
func TestUrgentIsRememberedByAWaiter(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		l := s.loop("item ", 200, 0, from(1))
		l.push(0)
		l.tell(1, func(r *pool.Runner) { r.Lend(nil) })
		s.said()
		s.push(2, "urgent")
		l.tell(1, func(r *pool.Runner) {
			w := make(waker, 1)
			r.Resume(w)
			<-w
		})
		other := l.running()
		l.end(other[len(other)-1])
		l.end(1)
		assert.Equal(t, []string{"urgent"}, s.said())
	})
}

// Any slot that has nothing to do takes what another has taken ahead; one that is beaten
// to it by the owner looks further. In each round some tasks wait until all the others
// have run.
func TestHungrySlotsFindEverything(t *testing.T) {
	watch(t)
	for _, slots := range []int{3, 4} {
		h := &goHost{}
		p := pool.New(pool.Config{Slots: slots, Host: h})
		for round := range 400 {
			const n = 60
			var others, all sync.WaitGroup
			var order atomic.Int64
			stuck := map[int]bool{}
			for k := range slots - 1 {
				stuck[(round*7+k*13)%n] = true
			}
			others.Add(n - len(stuck))
			all.Add(n)
			for i := range n {
				run := func(*pool.Runner) {
					order.Add(1)
					others.Done()
					all.Done()
				}
				if stuck[i] {
					run = func(*pool.Runner) {
						others.Wait()
						all.Done()
					}
				}
				require.True(t, p.Push(&job{run: run}, 0, 1))
			}
			all.Wait()
			require.EqualValues(t, n-len(stuck), order.Load())
		}
		p.Close()
		require.NoError(t, p.Wait(t.Context()))
		h.wg.Wait()
	}
}

// The same with items, of which none is so short that a slot takes two.
func TestHungrySlotsFindEveryItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, slots := range []int{2, 3, 4} {
			for _, at := range [][]int{{0}, {29}, {58, 59}, {0, 1}, {30, 31}, {29, 30, 31}, {57, 58, 59}} {
				at = at[:min(len(at), slots-1)]
				h := &goHost{}
				p := pool.New(pool.Config{Slots: slots, Host: h})
				const n = 60
				l := newLoop(p, n, 0)
				var others sync.WaitGroup
				others.Add(n - len(at))
				l.item = func(_ *pool.Runner, i int) {
					time.Sleep(time.Microsecond)
					if slices.Contains(at, i) {
						others.Wait()
					} else {
						others.Done()
					}
				}
				require.True(t, p.PushSpan(l.span, 0, n))
				others.Wait()
				p.Close()
				require.NoError(t, p.Wait(t.Context()))
				h.wg.Wait()
				l.all(t)
			}
		}
	})
}
