package pool

import (
	"math"
	"sync/atomic"
	"time"
)

// A Span is n items of one loop, that any number of slots run together. It
// stays in front of the queue until all its items are claimed.
//
// A slot claims a run of items that should last for ClaimTime, from what an item
// took so far, but not more than its share of half of what is left. It can be
// wrong without harm: a slot that finds nothing to do cuts half off the largest
// claim, and what the owner has already taken into its own hands, a block of
// blockTime, it gives back at the next item.
type Span struct {
	pool  *Pool
	body  Body
	n     int
	fixed int // items a claim, neither cut nor taken back; 0: the span decides

	readers *atomic.Int32
	stopped atomic.Bool  // by Stop. Set under pool.mu
	drained atomic.Bool  // set under pool.mu
	limit   atomic.Int64 // items that may be claimed
	dry     atomic.Bool  // a slot found none that it might: Extend is to look. Set under pool.mu

	// All below are guarded by pool.mu.
	next     int     // first item not claimed
	returned []items // claimed and given back
	runners  int     // slots in it, lent ones too
	cost     float64 // of an item, in ns; 0 as long as it is not known
	pushed   bool
	queued   bool
	prio     int
	claims   int
}

type items struct{ lo, hi int }

// A Body is what a Span does. One whose items are Tasks in their own right may have a
// method Item(i int) Task, so that Running and Lenders can say which one waits.
type Body interface {
	// Do runs items lo to hi-1 in order, setting r.At to each before it
	// starts, and returns after the first for which r.Signal is not 0, or all.
	// It gives back the first item not run.
	Do(r *Runner, lo, hi int) (next int)
	// Broke is called when item at panicked or left by Goexit, as for a Task.
	Broke(r *Runner, at int, recovered any, stack []byte)
	// Ran is told that items lo to hi-1 were run, by r.
	Ran(r *Runner, lo, hi int)
	// Left is called when r leaves the span; it may come back.
	Left(r *Runner)
	// Drained is called once, when nothing is left and no slot is in it.
	Drained()
}

// Endless is the number of items of a span that Extend makes grow.
const Endless = math.MaxInt

// What a claim is meant to last, and what it costs: under one part in a hundred.
const (
	ClaimTime = 32 * time.Microsecond
	ClaimCost = 150 * time.Nanosecond
)

const blockTime = 1000 // ns. A block costs about 5

// NewSpan makes a span of n items, one at least, for p, in claims of fixed each if that
// is not 0. All of them may be claimed, unless Limit says otherwise before it is pushed.
func (p *Pool) NewSpan(body Body, n, fixed int) *Span {
	s := &Span{pool: p, body: body, n: n, fixed: fixed}
	s.limit.Store(int64(n))
	return s
}

// Readers sets a counter that says how many wait for items while claims run: then the
// span reports more often. To be called before it is pushed.
func (s *Span) Readers(n *atomic.Int32) { s.readers = n }

// Limit sets how many items may be claimed before Admit allows more.
func (s *Span) Limit(n int) { s.limit.Store(int64(n)) }

// Admit allows n more items to be claimed. It changes nothing once the pool is closed,
// which has given the span back.
func (s *Span) Admit(n int) {
	p := s.pool
	p.mu.Lock()
	limit := min(s.n, int(s.limit.Load())+n)
	s.limit.Store(int64(limit))
	if limit == s.n {
		delete(p.partial, s)
	}
	s.wakeLocked()
	p.mu.Unlock()
	p.dispatch()
}

// Extend is Limit for a span that was pushed, by the one goroutine that calls it and
// no Admit. It takes no lock while slots are busy with the span.
func (s *Span) Extend(n int) {
	s.limit.Store(int64(n))
	if !s.dry.Load() {
		return // whoever runs dry looks at the limit after it has said so
	}
	p := s.pool
	p.mu.Lock()
	s.wakeLocked()
	p.mu.Unlock()
	p.dispatch()
}

// wakeLocked queues the span if there is something to claim.
func (s *Span) wakeLocked() {
	if s.pushed && int64(s.next) < s.limit.Load() && !s.pool.closed && !s.stopped.Load() {
		s.dry.Store(false)
		s.queueLocked(true)
	}
}

// Costs are the claims made so far, the cost of an item as last measured, or 0, and
// how many items were claimed.
func (s *Span) Costs() (claims int, item time.Duration, items int) {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.claims, time.Duration(s.cost), s.next
}

// Body is what the span does.
func (s *Span) Body() Body { return s.body }

// Dead reports whether nothing is left, so that the queue need not keep it.
func (s *Span) Dead() bool { return s.drained.Load() }

// PushSpan queues a span of p's as Push does a task.
func (p *Pool) PushSpan(s *Span, prio, fresh int) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	s.prio, s.pushed = prio, true
	if s.limit.Load() < int64(s.n) {
		p.partial[s] = struct{}{}
	}
	p.fresh += int64(fresh)
	s.queueLocked(false)
	if prio != 0 || p.leveled {
		p.urgentLocked(prio)
	}
	p.mu.Unlock()
	p.dispatch()
	return true
}

func (s *Span) queueLocked(front bool) {
	if s.queued {
		return
	}
	s.queued = true
	if q := s.pool.queue.of(s.prio); front {
		q.pushFront(s)
	} else {
		q.pushBack(s)
	}
}

// joinLocked makes a claim for r, which is not in the span yet.
func (s *Span) joinLocked(r *Runner) bool {
	if !s.claimLocked(r) {
		return false
	}
	r.span = s
	s.runners++
	return true
}

// claimLocked gives r a run of items.
func (s *Span) claimLocked(r *Runner) bool {
	var c items
	if last := len(s.returned) - 1; last >= 0 {
		c = s.returned[last]
		s.returned = s.returned[:last]
	} else if left := s.leftLocked(); left > 0 {
		size := s.fixed
		if size == 0 {
			size = 1
			if s.cost > 0 {
				share := 2 * s.pool.live
				if s.n == Endless {
					share = 1 // there will be more; who finds none cuts off half
				}
				size = max(1, min(int(float64(ClaimTime)/s.cost), left/share))
			}
		}
		c = items{s.next, s.next + min(size, left)}
		s.next = c.hi
	} else {
		return false
	}
	s.claims++
	r.base, r.from, r.At = c.lo, c.lo, c.lo-1
	r.win.set(0, uint32(c.hi-c.lo))
	r.block = 1
	if s.cost > 0 {
		r.block = uint32(max(1, blockTime/s.cost))
	}
	return true
}

// leftLocked is how many items may be claimed. If there are none it is said in dry.
func (s *Span) leftLocked() int {
	left := int(s.limit.Load()) - s.next
	if left == 0 && s.next < s.n {
		s.dry.Store(true)
		if left = int(s.limit.Load()) - s.next; left > 0 {
			s.dry.Store(false)
		}
	}
	return left
}

// takeBackLocked gives what r has claimed and not begun to others.
func (s *Span) takeBackLocked(r *Runner) {
	if s.fixed == 0 {
		s.giveBackLocked(r)
	}
}

// giveBackLocked is takeBackLocked from a runner that will not come to it.
func (s *Span) giveBackLocked(r *Runner) {
	if at, got := r.win.cut(true); got != 0 && !s.stopped.Load() {
		s.returned = append(s.returned, items{r.base + int(at), r.base + int(at+got)})
		s.queueLocked(true)
	}
}

// putBack gives back what r has taken into its own hands from item next on. In a span
// that was stopped there is nothing to go on with: what comes after those items may not
// be run either, or they would be reported with it.
func (s *Span) putBack(r *Runner, next int) {
	if !s.stopped.Load() {
		r.win.untake(uint32(next - r.base))
	}
	if s.stopped.Load() { // and Stop may not have seen it
		r.win.take(math.MaxUint32)
	}
}

// Run runs claims until there are none, or the slot is wanted for something else.
func (s *Span) Run(r *Runner) {
	p := s.pool
	began := time.Now()
	for more := true; more; {
		more = s.runClaim(r)
		now := time.Now()
		d := now.Sub(began)
		began = now
		if r.from <= r.At {
			s.body.Ran(r, r.from, r.At+1)
		}
		p.mu.Lock()
		if ran := r.At + 1 - r.base; ran > 0 {
			s.cost = max(1, float64(d)/float64(ran))
		}
		if more = more && !r.wantedLocked() && s.claimLocked(r); more {
			p.mu.Unlock()
			continue
		}
		p.mu.Unlock()
		s.body.Left(r)
		p.mu.Lock()
		drained := s.leaveLocked(r)
		p.mu.Unlock()
		if drained {
			s.body.Drained()
		}
	}
}

// runClaim runs r's claim. It is false if the slot is wanted for something else.
func (s *Span) runClaim(r *Runner) (more bool) {
	for {
		at, got := r.win.take(r.block)
		if got == 0 {
			return true
		}
		lo := r.base + int(at)
		hi := lo + int(got)
		next := s.body.Do(r, lo, hi)
		if next < hi {
			s.putBack(r, next)
		}
		if s.readers != nil && s.readers.Load() > 0 {
			if every := int(r.block-1) * 20; next-r.from > every { // about 10 us, or an item
				s.body.Ran(r, r.from, next)
				r.from = next
			}
		}
		if r.homeless {
			s.pool.mu.Lock()
			s.giveBackLocked(r)
			s.pool.mu.Unlock()
			s.pool.dispatch() // r has no slot to go on with it
			return false
		}
		if sig := r.pool.signal.Load(); sig != 0 && !s.heed(r, sig) {
			return false
		}
	}
}

// heed answers a signal between two items. It is false if r is to leave the span.
func (s *Span) heed(r *Runner, sig uint32) (stay bool) {
	if s.fixed != 0 {
		return true
	}
	lo, hi := r.win.load()
	if sig == signalHungry && lo == hi {
		return true
	}
	p := s.pool
	p.mu.Lock()
	if r.wantedLocked() {
		s.takeBackLocked(r)
		p.mu.Unlock()
		return false
	}
	if sig&signalUrgent != 0 && !p.outrankedLocked() {
		p.signalLocked(signalUrgent, false)
	}
	for range p.free { // something for each, or one of them would wait for another's item
		if at, got := r.win.cut(false); got != 0 {
			s.returned = append(s.returned, items{r.base + int(at), r.base + int(at+got)})
			s.queueLocked(true)
		}
	}
	p.mu.Unlock()
	p.dispatch()
	return true
}

// wantedLocked reports whether r's slot is wanted for what comes before the span: a
// waiter, fewer slots, or something of a higher priority.
func (r *Runner) wantedLocked() bool {
	p := r.pool
	if len(p.resume) > 0 || p.live > p.want {
		return true
	}
	if q, top := p.queue.top(); q != nil && top > r.prio {
		return true
	}
	return p.leveled && r.prio < math.MaxInt && p.stealableLocked(r.prio+1)
}

// outrankedLocked reports whether some slot in a span has yet to see that something of
// a higher priority is queued.
func (p *Pool) outrankedLocked() bool {
	q, top := p.queue.top()
	if q == nil {
		return false
	}
	for _, r := range p.slots {
		if r != nil && r.span != nil && r.prio < top {
			return true
		}
	}
	return false
}

// leaveLocked takes r out. It is true if it was the last and nothing is left.
func (s *Span) leaveLocked(r *Runner) (drained bool) {
	r.span = nil
	r.win.set(0, 0)
	s.runners--
	if s.runners == 0 && s.next == s.n && len(s.returned) == 0 {
		return s.drained.CompareAndSwap(false, true)
	}
	return false
}

// Broke reports the item that broke, and gives the rest of the claim back.
func (s *Span) Broke(r *Runner, recovered any, stack []byte) {
	s.body.Broke(r, r.At, recovered, stack)
	s.body.Ran(r, r.from, r.At+1)
	s.body.Left(r)
	p := s.pool
	p.mu.Lock()
	s.putBack(r, r.At+1)
	s.giveBackLocked(r)
	drained := s.leaveLocked(r)
	p.mu.Unlock()
	if drained {
		s.body.Drained()
	}
	p.dispatch() // r may have no slot to go on with it
}

// Stop drops the items that were not begun. Those that a Do was given it may still run,
// or leave: no other will.
func (s *Span) Stop() {
	p := s.pool
	p.mu.Lock()
	s.next = s.n
	s.limit.Store(int64(s.n))
	s.returned = nil
	s.stopped.Store(true)
	delete(p.partial, s)
	for r := range p.all { // those without a slot, too
		if r.span == s {
			r.win.cut(true)
		}
	}
	drained := s.runners == 0 && s.drained.CompareAndSwap(false, true)
	p.mu.Unlock()
	if drained {
		s.body.Drained()
	}
}
