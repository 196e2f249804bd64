package pool

import (
	"math"
	"runtime/debug"
	"sync/atomic"
)

// ahead is how many tasks a slot takes from the queue at a time. One at a time
// costs 25 ns more a task, 64 gain nothing over 16 (docs/near.md).
const ahead = 16

// A Runner is a goroutine that holds a slot, as its tasks see it.
type Runner struct {
	pool *Pool
	wake chan struct{}
	ran  bool // a goroutine has it: wake it rather than start one
	has  bool // buf[0] is to be run first. Owner's, once it was begun
	exit bool // the goroutine is to end. Written under pool.mu before it is woken

	slot  int   // guarded by pool.mu; -1 without one
	prio  int   // of what it has taken. Guarded by pool.mu
	taken int64 // the place of buf[0] among all that was ever taken. Guarded by pool.mu

	win   window      // of buf, or in a span of the items from base
	buf   [ahead]Task // written under pool.mu, read by the owner
	used  int         // of buf. Guarded by pool.mu
	span  *Span       // the one it is in. Written under pool.mu by the owner
	held  Task        // what runs on it, from Lend to Settle. Guarded by pool.mu
	base  int
	from  int // first item of the claim not reported
	At    int // in a span, the item that runs: for Broke
	block uint32

	// Tag is whatever the tasks want to leave to the next one on the goroutine.
	Tag uintptr

	goroutine uint64 // guarded by pool.mu

	// Scratch is memory for whatever runs on the goroutine to use again.
	Scratch []byte

	// Local is what a span's body wants to keep while r is in it.
	Local any

	homeless bool // owner's: the slot was lent and not given back when the task returned

	Counts
}

// Counts are counters of whoever uses the pool. Each runner has its own, that
// only its task adds to; their sum is Pool.Counts.
type Counts [4]atomic.Int64

// Add adds to a counter that nobody else adds to.
func (c *Counts) Add(i int, n int64) { c[i].Store(c[i].Load() + n) }

// Slot is the slot that r holds, or -1.
func (r *Runner) Slot() int {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return r.slot
}

// begin lets the goroutine run, which was given a slot.
func (r *Runner) begin() {
	if r.ran {
		r.wake <- struct{}{}
		return
	}
	r.ran = true
	r.pool.host.Go(r.loop)
}

// loop ends when there are goroutines enough waiting for a slot, when the pool
// is closed and has nothing left, or by a Goexit in a task, which takes the
// goroutine with it.
func (r *Runner) loop() {
	id := goroutineID()
	r.pool.mu.Lock()
	r.goroutine = id
	r.pool.mu.Unlock()
	normal := false
	defer func() {
		if !normal { // the goroutine ends here, but not the runner
			r.Tag = 0
			r.pool.host.Go(r.loop)
		}
	}()
	for r.drain() {
	}
	normal = true
}

// drain runs tasks until r is not needed any more. It is true if a task has
// panicked: what follows is to be run under a new recover.
func (r *Runner) drain() (again bool) {
	normal := false
	defer func() {
		if normal {
			return
		}
		v := recover()
		if v == nil {
			r.current().Broke(r, nil, nil)
			return
		}
		again = true // unless the task has panicked while it left by Goexit, which goes on
		r.current().Broke(r, v, debug.Stack())
	}()
	// Not next: what it was given to begin with may be a span, whose window is not of buf.
	for more := true; more; {
		var t Task
		switch t, more = r.find(); {
		case t != nil:
			for ; t != nil; t = r.next() {
				t.Run(r)
			}
		case more:
			<-r.wake // here: a return that follows a switch of goroutines is a dear one
		}
	}
	normal = true
	return false
}

// current is the task that runs.
func (r *Runner) current() Task {
	if r.span != nil {
		return r.span
	}
	lo, _ := r.win.load()
	return r.buf[lo-1]
}

// next is the next task from the window, or nil if find is to be asked.
func (r *Runner) next() Task {
	if !r.homeless && r.pool.signal.Load()&(signalResume|signalShrink) == 0 {
		if at, got := r.win.take(1); got != 0 {
			return r.buf[at]
		}
	}
	return nil
}

// find finds the next task of r's slot. If there is none, and more may come, r has given
// the slot up and is to find again when it was woken; else the goroutine is to end.
func (r *Runner) find() (t Task, more bool) {
	if r.has {
		r.has = false
		return r.buf[0], true
	}
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.exit {
		p.endLocked(r)
		return nil, false
	}
	if r.slot >= 0 && !r.homeless {
		if t := r.findLocked(); t != nil {
			return t, true
		}
	}
	r.homeless = false
	return nil, r.parkLocked()
}

// findLocked finds a task for r's slot, or gives the slot up.
func (r *Runner) findLocked() Task {
	p := r.pool
	if len(p.resume) > 0 {
		r.flushLocked()
		p.grantLocked(r.leaveLocked())
		return nil
	}
	if p.live > p.want {
		r.flushLocked()
		p.retireLocked(r.leaveLocked())
		return nil
	}
	if at, got := r.win.take(1); got != 0 {
		return r.buf[at]
	}
	if p.leveled {
		if q, top := p.queue.top(); q != nil && top < math.MaxInt {
			if t := r.stealLocked(top + 1); t != nil { // it comes first, wherever it is
				return t
			}
		}
	}
	if p.queue.any() {
		if t := r.refillLocked(); t != nil {
			return t
		}
	}
	if len(p.free)+1 < p.live { // others run
		if t := r.stealLocked(math.MinInt); t != nil {
			return t
		}
	}
	p.freeLocked(r.leaveLocked())
	return nil
}

// leaveLocked takes r's slot from it.
func (r *Runner) leaveLocked() (id int) {
	id = r.slot
	r.slot = -1
	r.pool.slots[id] = nil
	if r.used == 1 {
		r.buf[0] = nil // what has run is not kept alive
	} else {
		clear(r.buf[:r.used])
	}
	r.used = 0
	return id
}

// refillLocked takes a fair share of what is queued, at most ahead tasks.
func (r *Runner) refillLocked() Task {
	p := r.pool
	for {
		q, prio := p.queue.top()
		if q == nil {
			return nil
		}
		r.prio, r.taken = prio, p.batches
		p.batches += ahead
		if s, ok := q.front().(*Span); ok {
			if s.joinLocked(r) {
				return s
			}
			q.popFront()
			s.queued = false
			continue
		}
		n := min(ahead, max(1, q.n/p.live))
		got := 0
		for got < n {
			if _, ok := q.front().(*Span); ok {
				break
			}
			r.buf[got] = q.popFront()
			if got++; q.n == 0 {
				break
			}
		}
		r.win.set(1, uint32(got))
		r.used = max(r.used, got)
		return r.buf[0]
	}
}

// stealLocked takes half of what the slot that has most has taken ahead, of that
// priority at least.
func (r *Runner) stealLocked(prio int) Task {
	p := r.pool
	var victim *Runner
	var at, got uint32
	for got == 0 { // the owner may be faster; then there may be other victims
		victim = nil
		most := uint32(0)
		for _, v := range p.slots {
			if v != nil && v != r && v.prio >= prio && v.cuttable() {
				if lo, hi := v.win.load(); hi-lo > most {
					victim, most = v, hi-lo
				}
			}
		}
		if victim == nil {
			return nil
		}
		at, got = victim.win.cut(false)
	}
	r.prio, r.taken = victim.prio, victim.taken+int64(at)
	if s := victim.span; s != nil {
		s.returned = append(s.returned, items{victim.base + int(at), victim.base + int(at+got)})
		s.joinLocked(r)
		return s
	}
	copy(r.buf[:], victim.buf[at:at+got])
	r.win.set(1, got)
	r.used = max(r.used, int(got))
	return r.buf[0]
}

// stealableLocked reports whether a slot has taken ahead something of that priority at
// least, that others may take.
func (p *Pool) stealableLocked(prio int) bool {
	for _, v := range p.slots {
		if v != nil && v.prio >= prio && v.cuttable() {
			if lo, hi := v.win.load(); lo != hi {
				return true
			}
		}
	}
	return false
}

// cuttable reports whether others may take what r has taken ahead.
func (r *Runner) cuttable() bool {
	return r.span == nil || r.span.fixed == 0 && !r.span.stopped.Load()
}

// flushLocked puts what r has taken ahead back in front of the queue.
func (r *Runner) flushLocked() {
	if r.span != nil {
		r.span.takeBackLocked(r)
		return
	}
	at, got := r.win.cut(true)
	q := r.pool.queue.of(r.prio)
	for i := at + got; i > at; i-- {
		q.pushFront(r.buf[i-1])
	}
}

// parkLocked makes r wait for a slot. It is false if the goroutine is to end instead.
func (r *Runner) parkLocked() bool {
	p := r.pool
	if p.closed || len(p.parked) >= p.want+spare {
		p.endLocked(r)
		return false
	}
	p.parked = append(p.parked, r)
	return true
}

// spare is how many goroutines more than slots may wait for one. Recursion makes
// as many lend as it is deep; past this they end, and start anew with the next.
const spare = 64

// endLocked is the end of r.
func (p *Pool) endLocked(r *Runner) {
	for i := range r.Counts {
		p.counts[i].Add(r.Counts[i].Load())
		r.Counts[i].Store(0)
	}
	delete(p.all, r)
	if p.closed && len(p.all) == 0 {
		close(p.ended)
	}
}

// SlotID is the slot that r holds, for the task that runs on it.
func (r *Runner) SlotID() int { return r.slot }

// Holder is the runner that holds a slot.
func (p *Pool) Holder(slot int) *Runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots[slot]
}

// Signal is not 0 when the body of a span should return after the item it is at.
func (r *Runner) Signal() *atomic.Uint32 { return &r.pool.signal }

// Homeless reports whether r's slot is gone: then, too, it should return.
func (r *Runner) Homeless() bool { return r.homeless }
