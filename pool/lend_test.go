package pool_test

import (
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

func TestLentSlotGoesFirstToWhatIsNamed(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		s.push(9, "urgent")
		s.push(0, "b")
		named := s.push(-5, "named")[0]
		a.lend(named)
		assert.Equal(t, []string{"a", "named"}, s.said())
		assert.Equal(t, 1, s.Lending())
		assert.ElementsMatch(t, []string{"a", "named"}, names(s.Running()))
		named.end()
		assert.Equal(t, []string{"urgent"}, s.said(), "then it goes on with the queue")
		s.find("urgent").end()
		s.find("b").end()
		assert.True(t, named.Dead(), "its place in the queue was skipped")
		assert.Equal(t, []string{"b"}, s.said())
		a.resume()
		assert.Equal(t, []string{"a resumes"}, s.said())
	})
}

func TestLentSlotGoesToTheQueueOrToNobody(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		a.lend(nil)
		assert.Equal(t, []string{"a"}, s.said())
		b := s.push(0, "b")[0]
		assert.Equal(t, []string{"b"}, s.said(), "the slot was free")
		b.end()
		a.resume()
		assert.Equal(t, []string{"a resumes"}, s.said(), "at once")
		s.push(0, "c")
		a.lend(nil)
		assert.Equal(t, []string{"c"}, s.said())
	})
}

// What a lender had taken ahead is not held up by it.
func TestLenderGivesBackWhatItHasTaken(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		blockers := s.push(0, "x", "y")
		for i := range 10 {
			s.push(0, fmt.Sprint(i))
		}
		blockers[0].end() // takes 0 to 4
		s.said()
		s.find("0").lend(blockers[1]) // which runs: naming it is no harm
		for i := range 9 {
			assert.Equal(t, []string{fmt.Sprint(i + 1)}, s.said())
			s.find(fmt.Sprint(i + 1)).end()
		}
	})
}

// A waiter that wakes goes on before anything new starts, at the latest when one of
// those that run has ended.
func TestWaitersResumeBeforeNewTasksStart(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		a.lend(nil)
		b := s.push(0, "b")[0]
		b.lend(nil)
		c := s.push(0, "c")[0]
		for i := range 20 {
			s.push(i, fmt.Sprint(i))
		}
		s.said()
		b.resume()
		a.resume()
		assert.Empty(t, s.said(), "c has the slot")
		c.end() // which had taken some ahead, in the meantime or not
		assert.Equal(t, []string{"b resumes"}, s.said())
		b.end()
		assert.Equal(t, []string{"a resumes"}, s.said(), "in the order in which they asked")
		a.end()
		assert.Equal(t, []string{"19"}, s.said())
	})
	bubble(t, 1, func(t *testing.T, s *stage) { // past what a slot has taken ahead
		a := s.push(0, "a")[0]
		a.lend(nil)
		b := s.push(0, "b")[0]
		for i := range 20 {
			s.push(0, fmt.Sprint(i))
		}
		b.end()
		s.said()
		a.resume()
		s.find("0").end()
		assert.Equal(t, []string{"a resumes"}, s.said())
		a.end()
		assert.Equal(t, []string{"1"}, s.said(), "and they keep their order")
	})
}

// A task that returns with its slot lent ends without one, and takes nobody's.
func TestReturnWithTheSlotLent(t *testing.T) {
	for _, how := range []string{"return", "panic", "goexit", "wanting it back"} {
		bubble(t, 1, func(t *testing.T, s *stage) {
			a := s.push(0, "a")[0]
			a.lend(nil)
			b := s.push(0, "b")[0]
			s.push(0, "c")
			woken := make(waker, 1)
			switch how {
			case "return":
				a.leave()
			case "panic":
				a.tell(func(r *pool.Runner) { r.Settle() })
				a.panic()
			case "goexit":
				a.tell(func(r *pool.Runner) { r.Settle() })
				a.goexit()
			case "wanting it back":
				a.tell(func(r *pool.Runner) { r.Resume(woken) })
				assert.Empty(t, woken)
				a.leave()
				assert.Len(t, woken, 1, "the wait is over, slot or not")
			}
			assert.Equal(t, []string{"a", "b"}, s.said(), "b has the slot still")
			assert.Zero(t, s.Lending())
			assert.Equal(t, []string{"b"}, names(s.Running()))
			b.end()
			assert.Equal(t, []string{"c"}, s.said())
			s.find("c").end()
			assert.True(t, s.Idle())
			s.push(0, "d")
			assert.Equal(t, []string{"d"}, s.said(), "the slot is as good as new")
		})
	}
}

func TestSettleOfATaskThatHasItsSlot(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		a.lend(nil)
		a.resume()
		a.leave()
		s.push(0, "b")
		assert.Equal(t, []string{"a", "a resumes", "b"}, s.said())
	})
}

func TestResizeWhileSlotsAreLent(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b", "c", "d", "e")
		as[0].lend(nil)
		as[1].lend(nil)
		s.said()
		s.Resize(1)
		as[0].resume()
		as[1].resume()
		as[2].end()
		assert.Equal(t, []string{"a resumes"}, s.said(), "waiters first, then fewer slots")
		as[3].end()
		assert.Equal(t, []string{"b resumes"}, s.said())
		as[0].end()
		assert.Empty(t, s.said())
		as[1].end()
		assert.Equal(t, []string{"e"}, s.said())
	})
	bubble(t, 2, func(t *testing.T, s *stage) {
		as := s.push(0, "a", "b", "c")
		as[0].lend(nil)
		s.said()
		s.Resize(1)
		as[1].lend(nil)
		assert.Empty(t, s.said(), "the slot that is lent is the one that goes")
		as[2].end()
		as[0].resume()
		as[1].resume()
		assert.Equal(t, []string{"a resumes"}, s.said())
	})
}

// Once the pool is closed, what Close has given back does not run, whoever names it.
func TestLendOfADroppedTask(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		b := s.push(0, "b")[0]
		assert.Equal(t, []string{"b"}, names(s.Close()))
		a.lend(b)
		assert.Equal(t, []string{"a"}, s.said())
		a.resume()
		assert.Equal(t, []string{"a resumes"}, s.said())
	})
}

func TestLendersAndClose(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		a.lend(nil)
		b := s.push(0, "b")[0]
		b.lend(nil)
		s.Close()
		a.resume()
		b.resume()
		assert.Equal(t, []string{"a", "b", "a resumes"}, s.said())
		a.end()
		assert.Equal(t, []string{"b resumes"}, s.said())
		b.lend(nil)
		b.leave()
		require.NoError(t, s.Wait(t.Context()))
		assert.Zero(t, s.host.live.Load())
	})
}

// A tree is a recursion by tasks: each pushes two and waits for both.
type tree struct {
	p       *pool.Pool
	tasks   atomic.Int64
	lending atomic.Int64 // the most
}

type node struct {
	job
	mu     sync.Mutex
	over   bool
	waiter func() // asks for the slot of the one that waits
}

func (tr *tree) push(depth int) *node {
	n := &node{}
	n.run = func(r *pool.Runner) {
		tr.tasks.Add(1)
		raise(&tr.lending, int64(tr.p.Lending()))
		if depth > 0 {
			for _, child := range []*node{tr.push(depth - 1), tr.push(depth - 1)} {
				child.wait(r)
			}
		}
		n.finish()
	}
	if !tr.p.Push(n, 0, 1) {
		panic("closed")
	}
	return n
}

// finish wakes who waits, before the slot looks for something else.
func (n *node) finish() {
	n.mu.Lock()
	n.over = true
	waiter := n.waiter
	n.mu.Unlock()
	if waiter != nil {
		waiter()
	}
}

// wait waits with the slot lent to n, if it has not begun.
func (n *node) wait(r *pool.Runner) {
	w := make(waker, 1)
	var to pool.Task
	if !n.Dead() {
		to = n
	}
	r.Lend(to)
	n.await(func() { r.Resume(w) })
	<-w
}

// await has f called when n is over.
func (n *node) await(f func()) {
	n.mu.Lock()
	n.waiter = f
	over := n.over
	n.mu.Unlock()
	if over {
		f()
	}
}

// Depth and not width bounds what waits, and so how many goroutines there are.
func TestDepthBoundsGoroutines(t *testing.T) {
	watch(t)
	for _, slots := range []int{1, 2, 4} {
		const depth = 12 // 8191 tasks
		h := &goHost{}
		tr := &tree{p: pool.New(pool.Config{Slots: slots, Host: h})}
		done := make(chan struct{})
		root := tr.push(depth)
		root.await(func() { close(done) })
		<-done
		assert.EqualValues(t, 1<<(depth+1)-1, tr.tasks.Load())
		// The way from the root to what runs, for each slot; and sometimes another way, where
		// a child ended before its parent had begun to wait.
		assert.LessOrEqual(t, tr.lending.Load(), int64(slots*(depth+1)*4))
		assert.LessOrEqual(t, h.most.Load(), tr.lending.Load()+int64(2*slots+64), "lenders, slots, and some spare")
		tr.p.Close()
		require.NoError(t, tr.p.Wait(t.Context()))
		h.wg.Wait()
	}
}

// However deep it was, what is left when it is over is about a goroutine a slot.
func TestGoroutinesEndAfterARecursion(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		var as []*actor
		for i := range 200 {
			a := s.push(0, fmt.Sprint(i))[0]
			a.lend(nil)
			as = append(as, a)
		}
		assert.EqualValues(t, 200, s.Lending())
		for _, a := range as {
			a.resume()
			a.end()
		}
		assert.True(t, s.Idle())
		assert.LessOrEqual(t, s.host.live.Load(), int64(3), "and the last one to find nothing to do")
	})
}

// Lending and resuming from many tasks at once: never more than the slots run.
func TestLendersShareTheSlots(t *testing.T) {
	watch(t)
	for _, slots := range []int{1, 2, 3} {
		h := &goHost{}
		p := pool.New(pool.Config{Slots: slots, Host: h})
		var running, most atomic.Int64
		var wg sync.WaitGroup
		for range 200 {
			wg.Add(1)
			require.True(t, p.Push(&job{run: func(r *pool.Runner) {
				defer wg.Done()
				raise(&most, running.Add(1))
				for range 20 {
					running.Add(-1)
					r.Lend(nil)
					runtime.Gosched()
					w := make(waker, 1)
					go r.Resume(w)
					<-w
					raise(&most, running.Add(1))
				}
				running.Add(-1)
			}}, 0, 1))
		}
		wg.Wait()
		assert.LessOrEqual(t, most.Load(), int64(slots))
		assert.Zero(t, p.Lending())
		p.Close()
		require.NoError(t, p.Wait(t.Context()))
		h.wg.Wait()
	}
}

// A slot that is lent stays with whoever has it, also when a goroutine was replaced.
func TestGoexitOfALender(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		b := s.push(0, "b")[0]
		a.lend(b)
		b.goexit()
		a.resume()
		a.goexit()
		s.push(0, "c")
		synctest.Wait()
		assert.Equal(t, []string{"a", "b", "a resumes", "c"}, s.said())
		assert.Equal(t, "goexit", a.broke)
	})
}
