package pool_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/pool"
)

// A loop is the body of a span. Its items run freely, or each until it is told to end.
type loop struct {
	s    *stage
	name string
	span *pool.Span
	held func(i int) bool // which items wait to be told; nil: none
	do   []chan func(r *pool.Runner)
	item func(r *pool.Runner, i int) // what else an item does

	enough atomic.Bool // Do is to come to an end, since the span was stopped

	mu      sync.Mutex
	ran     []int // how often each item was run
	told    []int // and reported
	broken  []int // items that broke
	stuck   map[int]bool
	in      map[*pool.Runner]bool
	drained int
	late    int // that began after Drained
}

// loop makes a span of n items in claims of fixed.
func (s *stage) loop(name string, n, fixed int, held func(i int) bool) *loop {
	l := newLoop(s.Pool, n, fixed)
	l.s, l.name, l.held = s, name, held
	for i := range l.do {
		l.do[i] = make(chan func(*pool.Runner))
	}
	s.loops = append(s.loops, l)
	return l
}

func newLoop(p *pool.Pool, n, fixed int) *loop {
	l := &loop{ran: make([]int, n), told: make([]int, n), do: make([]chan func(*pool.Runner), n), in: map[*pool.Runner]bool{}, stuck: map[int]bool{}}
	l.span = p.NewSpan(l, n, fixed)
	return l
}

func (l *loop) push(prio int) {
	l.s.t.Helper()
	require.True(l.s.t, l.s.PushSpan(l.span, prio, len(l.ran)))
	synctest.Wait()
}

func (l *loop) Do(r *pool.Runner, lo, hi int) int {
	l.mu.Lock()
	l.in[r] = true
	l.mu.Unlock()
	for i := lo; i < hi; i++ {
		r.At = i
		l.mu.Lock()
		l.ran[i]++
		l.late += l.drained
		l.mu.Unlock()
		if l.item != nil {
			l.item(r, i)
		}
		if l.held != nil && l.held(i) {
			l.wait(r, i)
		}
		if r.Signal().Load() != 0 || r.Homeless() || l.enough.Load() {
			return i + 1
		}
	}
	return hi
}

// wait has an item wait for what it is told.
func (l *loop) wait(r *pool.Runner, i int) {
	l.s.say("%s%d", l.name, i)
	stuck := func(yes bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.stuck[i] = true; !yes {
			delete(l.stuck, i)
		}
	}
	stuck(true)
	defer stuck(false)
	for f := range l.do[i] {
		if f == nil {
			break
		}
		f(r)
	}
}

func (l *loop) Broke(_ *pool.Runner, at int, _ any, _ []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, at)
}

func (l *loop) Ran(_ *pool.Runner, lo, hi int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := lo; i < hi; i++ {
		l.told[i]++
	}
}

func (l *loop) Left(r *pool.Runner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.in, r)
}

func (l *loop) Drained() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drained++
	if len(l.in) > 0 {
		l.drained += 100 // somebody is in it
	}
}

// tell has an item that waits do something.
func (l *loop) tell(i int, f func(r *pool.Runner)) {
	l.do[i] <- f
	synctest.Wait()
}

func (l *loop) end(i int) { l.tell(i, nil) }

// running are the items that have begun and wait to be told.
func (l *loop) running() []int {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.stuck))
}

// all checks that every item was run and reported once, and that all is over.
func (l *loop) all(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ran {
		require.Equal(t, 1, l.ran[i], "item %d ran", i)
		require.Equal(t, 1, l.told[i], "item %d was reported", i)
	}
	assert.Equal(t, 1, l.drained, "drained")
	assert.True(t, l.span.Dead())
}

// begun is how many items have begun.
func (l *loop) begun() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.ran {
		n += min(1, k)
	}
	return n
}

func each(int) bool { return true }

func from(k int) func(int) bool { return func(i int) bool { return i >= k } }

func only(k int) func(int) bool { return func(i int) bool { return i == k } }

func TestSpanRunsEveryItemOnce(t *testing.T) {
	for _, slots := range []int{1, 2, 5} {
		for _, n := range []int{1, 2, 3, 100, 20_000} {
			for _, fixed := range []int{0, 1, 7, 30_000} {
				bubble(t, slots, func(t *testing.T, s *stage) {
					l := s.loop("", n, fixed, nil)
					l.push(0)
					l.all(t)
					assert.Zero(t, l.late)
					assert.True(t, s.Idle())
					assert.EqualValues(t, n, s.Fresh())
					claims, _, items := l.span.Costs()
					assert.Equal(t, n, items)
					if fixed != 0 {
						assert.Equal(t, (n+fixed-1)/fixed, claims)
					}
				})
			}
		}
	}
}

// Claims that are fixed are run by one slot from their first item to their last.
func TestFixedClaimsStayWhole(t *testing.T) {
	bubble(t, 4, func(t *testing.T, s *stage) {
		l := s.loop("", 100, 25, nil)
		by := make([]*pool.Runner, 100)
		l.item = func(r *pool.Runner, i int) { by[i] = r }
		l.held = only(0)
		l.push(0)
		assert.Equal(t, 76, l.begun(), "three slots idle, but a claim is a claim")
		l.end(0)
		l.all(t)
		for i := range by {
			assert.Same(t, by[i/25*25], by[i])
		}
	})
}

func TestSpanKeepsItsPlaceInTheQueue(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		x := s.push(0, "x")[0]
		s.push(0, "before")
		l := s.loop("item ", 2, 0, each)
		l.push(0)
		s.push(0, "after")
		low := s.loop("low ", 1, 0, each)
		low.push(-1)
		high := s.loop("high ", 1, 0, each)
		high.push(1)
		x.end()
		high.end(0)
		s.find("before").end()
		l.end(0)
		l.end(1)
		s.find("after").end()
		low.end(0)
		assert.Equal(t, []string{"x", "high 0", "before", "item 0", "item 1", "after", "low 0"}, s.said())
	})
}

func TestBrokenItems(t *testing.T) {
	for _, fixed := range []int{0, 1, 10} {
		for _, slots := range []int{1, 3} {
			bubble(t, slots, func(t *testing.T, s *stage) {
				l := s.loop("", 1000, fixed, nil)
				l.item = breakSome
				l.push(0)
				l.all(t)
				assert.Len(t, l.broken, 143)
				assert.LessOrEqual(t, s.host.live.Load(), int64(slots+1))
			})
		}
	}
}

// A span that is waited for gets the lent slot, and yields to what comes before it as if
// the slot had come to it by itself.
func TestLendToASpan(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		a := s.push(0, "a")[0]
		s.push(5, "urgent")
		l := s.loop("item ", 10, 0, each)
		l.push(-1)
		a.lend(l.span)
		assert.Equal(t, []string{"a", "item 0"}, s.said())
		s.push(0, "b")
		l.end(0)
		assert.Equal(t, []string{"urgent"}, s.said())
		s.find("urgent").end()
		assert.Equal(t, []string{"b"}, s.said())
		s.find("b").end()
		assert.Equal(t, []string{"item 1"}, s.said())
		s.push(0, "c")
		l.end(1)
		assert.Equal(t, []string{"c"}, s.said())
	})
	bubble(t, 1, func(t *testing.T, s *stage) { // nothing but a lower one of its own
		a := s.push(0, "a")[0]
		l := s.loop("item ", 10, 0, each)
		l.push(-1)
		a.lend(l.span)
		s.push(0, "b")
		l.end(0)
		assert.Equal(t, []string{"a", "item 0", "b"}, s.said())
	})
	bubble(t, 1, func(t *testing.T, s *stage) { // nothing left in it
		a := s.push(0, "a")[0]
		l := s.loop("item ", 1, 0, each)
		l.push(0)
		a.lend(nil)
		b := s.push(0, "b")[0]
		l.end(0)
		b.lend(l.span)
		assert.Equal(t, []string{"a", "item 0", "b"}, s.said())
	})
}

// Between two items, or two claims if those are fixed, the slot goes to what comes first.
func TestSpanYields(t *testing.T) {
	for _, fixed := range []int{0, 1, 3} {
		next := max(1, fixed) // the item that would be next when the claim is over
		wanted := map[string]func(s *stage) (then func(), want string){
			"a waiter": func(s *stage) (func(), string) {
				s.find("a").resume()
				return nil, "a resumes"
			},
			"a higher priority": func(s *stage) (func(), string) {
				s.push(1, "urgent")
				return nil, "urgent"
			},
			"fewer slots": func(s *stage) (func(), string) {
				s.Resize(1)
				return func() { s.find("x").end() }, fmt.Sprint("item ", next)
			},
		}
		for name, want := range wanted {
			t.Run(fmt.Sprint(name, ", ", fixed), func(t *testing.T) {
				slots := 1
				if name == "fewer slots" {
					slots = 2
				}
				bubble(t, slots, func(t *testing.T, s *stage) {
					if slots == 2 {
						s.push(0, "x")
					}
					a := s.push(0, "a")[0]
					a.lend(nil)
					l := s.loop("item ", 50, fixed, each)
					l.push(0)
					s.said()
					then, what := want(s)
					assert.Empty(t, s.said())
					for i := range next {
						if i > 0 {
							assert.Equal(t, []string{fmt.Sprint("item ", i)}, s.said(), "a claim that is fixed goes on")
						}
						l.end(i)
					}
					if then != nil {
						assert.Empty(t, s.said())
						then()
					}
					assert.Equal(t, []string{what}, s.said())
				})
			})
		}
	}
}

// Every slot in a span learns of something urgent, not only the first to look up.
func TestUrgentReachesEverySlot(t *testing.T) {
	bubble(t, 2, func(t *testing.T, s *stage) {
		high := s.loop("high ", 1000, 0, from(1))
		a := s.push(0, "a")[0]
		high.span.Limit(2)
		high.push(5) // item 1 waits on slot 1
		low := s.loop("low ", 100, 0, from(1))
		low.push(0)
		a.end() // low 1 waits on slot 0, with others in its hands
		assert.Equal(t, []string{"a", "high 1", "low 1"}, s.said())
		s.push(3, "urgent")
		high.span.Admit(1)
		synctest.Wait()
		high.end(1) // it looks up first: nothing for this one
		assert.Equal(t, []string{"high 2"}, s.said())
		low.end(1)
		assert.Equal(t, []string{"urgent"}, s.said())
	})
}

func TestReadersAreToldEarly(t *testing.T) {
	bubble(t, 1, func(t *testing.T, s *stage) {
		var readers atomic.Int32
		l := s.loop("", 30_000, 0, only(25_000))
		l.span.Readers(&readers)
		readers.Add(1)
		l.push(0)
		told := 0
		for _, k := range l.told {
			told += k
		}
		assert.Greater(t, told, 13_000, "of a claim that is not over")
		l.end(25_000)
		l.all(t)
	})
}
