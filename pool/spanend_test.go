package pool_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/pool"
)

// An item may end while another goroutine of it waits, with the slot lent: what its slot
// had claimed is run by others, also if they had nothing to do by then.
func TestItemThatEndsWithItsSlotLent(t *testing.T) {
	for _, how := range []string{"return", "panic", "goexit"} {
		for _, fixed := range []int{0, 10, 100} {
			for _, slots := range []int{1, 2} {
				for _, at := range []int{0, 1, 57, 99} {
					bubble(t, slots, func(t *testing.T, s *stage) {
						l := s.loop("", 100, fixed, nil)
						l.item = func(r *pool.Runner, i int) {
							if i != at {
								return
							}
							r.Lend(nil)
							r.Settle()
							switch how {
							case "panic":
								panic(i)
							case "goexit":
								runtime.Goexit()
							}
						}
						l.push(0)
						l.all(t)
						assert.True(t, s.Idle())
					})
				}
			}
		}
	}
	bubble(t, 1, func(t *testing.T, s *stage) { // by then nobody runs
		l := s.loop("", 100, 0, only(1))
		l.push(0)
		assert.Equal(t, []string{"1"}, s.said())
		l.tell(1, func(r *pool.Runner) { r.Lend(nil) })
		assert.Equal(t, 52, l.begun(), "all but what it has in its hands")
		l.tell(1, func(r *pool.Runner) { r.Settle() })
		l.end(1)
		l.all(t)
	})
}

// An item that waits has its slot lent, and goes on where it was.
func TestItemsThatLend(t *testing.T) {
	for _, fixed := range []int{0, 1, 20} {
		for _, slots := range []int{1, 2} {
			bubble(t, slots, func(t *testing.T, s *stage) {
				l := s.loop("", 100, fixed, nil)
				l.item = func(r *pool.Runner, i int) {
					if i%5 == 0 {
						r.Lend(nil)
						w := make(waker, 1)
						r.Resume(w)
						<-w
					}
				}
				l.push(0)
				l.all(t)
				assert.Zero(t, s.Lending())
			})
		}
	}
}

// Stop drops what was not begun: claimed or not, taken into a slot's hands or not, and
// whoever says it from wherever.
func TestStop(t *testing.T) {
	stoppers := map[string]func(s *stage, l *loop, at int){
		"the item itself": func(_ *stage, l *loop, at int) {
			l.tell(at, func(*pool.Runner) { l.span.Stop() })
			l.end(at)
		},
		"somebody else": func(_ *stage, l *loop, at int) {
			l.span.Stop()
			l.end(at)
		},
		"an item that panics": func(_ *stage, l *loop, at int) {
			l.tell(at, func(*pool.Runner) { l.span.Stop(); panic(at) })
		},
		"an item that leaves": func(_ *stage, l *loop, at int) {
			l.tell(at, func(*pool.Runner) { l.span.Stop(); runtime.Goexit() })
		},
		"somebody, while the item waits": func(s *stage, l *loop, at int) {
			other := s.actor("other")
			l.tell(at, func(r *pool.Runner) { r.Lend(other) }) // so that nobody takes over
			l.span.Stop()
			if other.begun.Load() { // unless the slot went, where there are too many
				other.end()
			} else {
				s.find("x").end()
			}
			l.tell(at, func(r *pool.Runner) {
				w := make(waker, 1)
				r.Resume(w)
				<-w
			})
			l.end(at)
		},
		"an item that ends with its slot lent": func(_ *stage, l *loop, at int) {
			l.tell(at, func(r *pool.Runner) {
				r.Lend(l.s.actor("other"))
				r.Settle()
				l.span.Stop()
			})
			l.end(at)
		},
	}
	for name, stop := range stoppers {
		for _, fixed := range []int{0, 1, 10, 100} {
			for _, signalled := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", ", fixed, ", ", signalled), func(t *testing.T) {
					slots := 1
					if signalled { // the other slot wants something, so that slots look up
						slots = 2
					}
					bubble(t, slots, func(t *testing.T, s *stage) {
						const at = 5
						l := s.loop("", 1000, fixed, only(at))
						var late atomic.Int32
						stopped := false
						l.item = func(_ *pool.Runner, i int) {
							if stopped {
								late.Add(1)
							}
						}
						if signalled {
							s.push(0, "x")
						}
						l.push(0)
						require.Equal(t, []int{at}, l.running())
						begun := l.begun()
						if signalled {
							s.Resize(1)
						}
						stopped = true
						l.enough.Store(true)
						stop(s, l, at)
						assert.Zero(t, late.Load(), "items began after that")
						assert.Equal(t, begun, l.begun())
						assert.Equal(t, 1, l.drained)
						for i := range l.told {
							require.Equal(t, l.ran[i], l.told[i], "what was run was reported")
						}
						l.span.Stop()
						assert.Equal(t, 1, l.drained)
					})
				})
			}
		}
	}
}

func TestStopOfWhatHasNotBegun(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		x := s.push(0, "x")[0]
		l := s.loop("", 100, 0, nil)
		l.push(0)
		l.span.Stop()
		assert.Equal(t, 1, l.drained)
		assert.True(t, l.span.Dead())
		x.end()
		assert.Zero(t, l.begun())
		assert.True(t, s.Idle())

		never := s.loop("", 100, 0, nil)
		never.span.Stop()
		never.push(0)
		assert.Zero(t, never.begun())
		assert.Equal(t, 1, never.drained)
	})
}

// Items start as they are admitted.
func TestAdmit(t *testing.T) {
	for _, fixed := range []int{0, 4} {
		bubble(t, 2, func(t *testing.T, s *stage) {
			l := s.loop("", 20, fixed, nil)
			l.span.Limit(0)
			l.push(0)
			assert.Zero(t, l.begun())
			assert.True(t, s.Idle())
			for n := range 5 {
				l.span.Admit(n)
				synctest.Wait()
				assert.Equal(t, n*(n+1)/2, l.begun())
			}
			assert.Zero(t, l.drained)
			l.span.Admit(100)
			synctest.Wait()
			l.all(t)
		})
	}
	bubble(t, 1, func(t *testing.T, s *stage) {
		l := s.loop("", 20, 0, only(4))
		l.span.Limit(5)
		l.push(0)
		l.span.Admit(2)
		l.span.Stop()
		l.span.Admit(2)
		l.end(4)
		assert.Equal(t, 5, l.begun())
		assert.Equal(t, 1, l.drained)
	})
}

// What is admitted before the span is pushed starts when it is.
func TestAdmitBeforePush(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		l := s.loop("", 20, 0, nil)
		l.span.Limit(0)
		l.span.Admit(7)
		synctest.Wait()
		assert.Zero(t, l.begun())
		l.push(0)
		assert.Equal(t, 7, l.begun())
		l.span.Admit(13)
		synctest.Wait()
		l.all(t)
	})
}

// Close gives a span back that is queued, or waits for room, so that somebody ends it.
func TestCloseGivesSpansBack(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		x := s.push(0, "x")[0]
		queued := s.loop("", 5, 0, nil)
		queued.push(0)
		limited := s.loop("", 5, 0, nil)
		limited.span.Limit(2)
		limited.push(0)
		assert.ElementsMatch(t, []pool.Task{queued.span, limited.span}, s.Close())
		queued.span.Stop()
		limited.span.Stop()
		assert.Equal(t, 2, queued.drained+limited.drained)
		x.end()
		assert.Zero(t, queued.begun()+limited.begun())
		late := s.loop("", 5, 0, nil)
		assert.False(t, s.PushSpan(late.span, 0, 5))
	})
	bubble(t, 1, func(t *testing.T, s *stage) {
		waits := s.loop("", 5, 0, nil)
		waits.span.Limit(2)
		waits.push(0)
		assert.Equal(t, 2, waits.begun())
		admitted := s.loop("", 5, 0, nil)
		admitted.span.Limit(2)
		admitted.push(0)
		admitted.span.Admit(3)
		stopped := s.loop("", 5, 0, nil)
		stopped.span.Limit(2)
		stopped.push(0)
		stopped.span.Stop()
		synctest.Wait()
		assert.Equal(t, []pool.Task{waits.span}, s.Close(), "the others are over")
		waits.span.Admit(3)
		synctest.Wait()
		assert.Equal(t, 2, waits.begun(), "it is not the pool's any more")
		waits.span.Stop()
		assert.Equal(t, 1, waits.drained)
	})
}

// Slots that are in a span when the pool is closed go on with it, and take nothing of it
// with them when they lend.
func TestSlotsInASpanOutliveClose(t *testing.T) {
	for _, queued := range []bool{false, true} {
		bubble(t, 2, func(t *testing.T, s *stage) {
			n := 3
			if queued {
				n = 500
			}
			l := s.loop("", n, 0, nil)
			l.item = func(r *pool.Runner, i int) {
				if i == 2 || i == 100 {
					r.Lend(nil)
					w := make(waker, 1)
					r.Resume(w)
					<-w
				}
			}
			l.held = func(i int) bool { return i < 2 }
			l.push(0)
			assert.Equal(t, []int{0, 1}, l.running())
			assert.Equal(t, []string{"*pool.Span"}, names(s.Close()))
			l.end(0)
			l.end(1)
			require.NoError(t, s.Wait(t.Context()))
			l.all(t)
		})
	}
}

// Drained is called once, when all is over, whatever happens to a span at once.
func TestDrainedOnce(t *testing.T) {
	watch(t)
	for round := range 300 {
		h := &goHost{}
		p := pool.New(pool.Config{Slots: 1 + round%4, Host: h})
		const n = 300
		l := newLoop(p, n, []int{0, 0, 7}[round%3])
		drained := make(chan struct{})
		b := &drain{loop: l, c: drained}
		l.span = p.NewSpan(b, n, []int{0, 0, 7}[round%3])
		l.item = func(r *pool.Runner, i int) {
			switch (i + round) % 40 {
			case 1:
				panic(i)
			case 2:
				runtime.Goexit()
			case 3:
				r.Lend(nil)
				w := make(waker, 1)
				go r.Resume(w)
				<-w
			case 4:
				r.Lend(nil)
				r.Settle()
			}
		}
		bounded := round%5 == 0
		if bounded {
			l.span.Limit(0)
		}
		require.True(t, p.PushSpan(l.span, 0, n))
		var wg sync.WaitGroup
		if bounded {
			wg.Go(func() {
				for range n / 10 {
					l.span.Admit(10)
				}
			})
		}
		if round%2 == 0 {
			wg.Go(func() {
				for range round % 50 {
					runtime.Gosched()
				}
				l.span.Stop()
			})
		}
		wg.Go(func() {
			for i := range 10 {
				p.Resize(1 + (i+round)%5)
				p.Queued()
				l.span.Dead()
			}
		})
		<-drained
		wg.Wait()
		p.Close()
		require.NoError(t, p.Wait(context.Background()))
		h.wg.Wait()
		require.Equal(t, 1, l.drained)
		require.Zero(t, l.late)
		for i := range l.ran {
			require.LessOrEqual(t, l.ran[i], 1, "item %d", i)
			require.Equal(t, l.ran[i], l.told[i], "item %d", i)
			if round%2 != 0 {
				require.Equal(t, 1, l.ran[i], "item %d", i)
			}
		}
	}
}

// A drain is a loop that says when it is over.
type drain struct {
	*loop
	c chan struct{}
}

func (d *drain) Drained() {
	d.loop.Drained()
	close(d.c)
}
