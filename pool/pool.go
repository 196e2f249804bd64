package pool

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// A Task is an entry of the queue.
type Task interface {
	// Run runs the task. It is called once, or again by the queue after a Lend
	// named it, on a slot, and may panic or leave by runtime.Goexit.
	Run(r *Runner)
	// Broke is called when Run did: with what recover gave and the stack of
	// the panic, or with a nil stack after a Goexit.
	Broke(r *Runner, recovered any, stack []byte)
	// Dead reports whether Run would do nothing, since the task was cancelled
	// or has run as what a Lend named. Called with the pool locked.
	Dead() bool
}

// Config is the configuration of a Pool. The zero value works.
type Config struct {
	// Slots is the number of tasks that run at a time. Defaults to GOMAXPROCS.
	Slots int
	// Host starts goroutines. Defaults to a pool of ants.
	Host Host
}

// A Pool runs tasks on slots.
type Pool struct {
	host   Host
	signal atomic.Uint32 // why running slots should look up at the next item: signal* bits

	mu      sync.Mutex
	queue   queue
	want    int       // slots that there should be
	slots   []*Runner // by slot: who holds it, nil if it is free or gone
	live    int       // slots that there are
	free    []int     // slots without work; none while there is work, but for a moment
	parked  []*Runner // goroutines without a slot, waiting for one
	resume  []resumer // who wants a slot back, in order
	lending map[*Runner]struct{}
	all     map[*Runner]struct{}
	partial map[*Span]struct{} // that wait for Admit, queued or not
	closed  bool
	ended   chan struct{} // closed with the last goroutine, after Close
	idle    func()        // see OnIdle
	batches int64         // places in the batches ever taken ahead: a clock; see Runner.taken
	fresh   int64         // tasks, and items of spans, that were pushed as new
	dead    int           // entries that may be dead, at most
	leveled bool          // some task had a priority other than 0
	counts  Counts        // of runners that have ended
}

// Reasons to look up.
const (
	signalResume = 1 << iota // a waiter wants its slot back
	signalHungry             // a slot has nothing to do
	signalUrgent             // something of a higher priority came
	signalShrink             // there are more slots than there should be
)

type resumer struct {
	r  *Runner
	wk Waker
}

// A Waker is a goroutine that waits for its slot.
type Waker interface{ Wake() }

// New makes a pool. It starts no goroutine until there is a task.
func New(cfg Config) *Pool {
	if cfg.Slots <= 0 {
		cfg.Slots = runtime.GOMAXPROCS(0)
	}
	if cfg.Host == nil {
		cfg.Host = newAntsHost()
	}
	p := &Pool{host: cfg.Host, lending: map[*Runner]struct{}{}, all: map[*Runner]struct{}{}, partial: map[*Span]struct{}{}, ended: make(chan struct{})}
	p.want = cfg.Slots
	p.growLocked()
	return p
}

// Slots is the number of tasks that may run at a time.
func (p *Pool) Slots() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want
}

// Push queues t behind what has the same priority, and before what has a lower
// one. It is false, and nothing is queued, once the pool is closed. fresh is what
// it adds to Fresh: 1, or 0 for a task that comes again.
func (p *Pool) Push(t Task, prio, fresh int) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	p.fresh += int64(fresh)
	if len(p.free) > 0 {
		r := p.startLocked(p.popFree(), t)
		r.prio = prio
		p.mu.Unlock()
		r.begin()
		return true
	}
	p.queue.of(prio).pushBack(t)
	if prio != 0 || p.leveled {
		p.urgentLocked(prio)
	}
	p.mu.Unlock()
	return true
}

// PushAll is Push of many, in order, none of them fresh.
func (p *Pool) PushAll(ts []Task, prio int) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	var begin []*Runner
	for len(p.free) > 0 && len(ts) > 0 {
		r := p.startLocked(p.popFree(), ts[0])
		r.prio = prio
		begin = append(begin, r)
		ts = ts[1:]
	}
	if len(ts) > 0 {
		q := p.queue.of(prio)
		for _, t := range ts {
			q.pushBack(t)
		}
		if prio != 0 || p.leveled {
			p.urgentLocked(prio)
		}
	}
	p.mu.Unlock()
	for _, r := range begin {
		r.begin()
	}
	return true
}

func (p *Pool) popFree() int {
	last := len(p.free) - 1
	id := p.free[last]
	p.free = p.free[:last]
	if last == 0 {
		p.signalLocked(signalHungry, false)
	}
	return id
}

// signalLocked sets or clears a reason to look up.
func (p *Pool) signalLocked(bit uint32, on bool) {
	old := p.signal.Load()
	set := old &^ bit
	if on {
		set |= bit
	}
	if set != old {
		p.signal.Store(set)
	}
}

// startLocked gives slot id to a goroutine, which begins with t, if there is
// one, when its begin is called.
func (p *Pool) startLocked(id int, t Task) *Runner {
	var r *Runner
	if last := len(p.parked) - 1; last >= 0 {
		r = p.parked[last]
		p.parked[last] = nil
		p.parked = p.parked[:last]
	} else {
		r = &Runner{pool: p, wake: make(chan struct{}, 1)}
		p.all[r] = struct{}{}
	}
	r.slot = id
	r.prio = 0
	p.slots[id] = r
	if t == nil {
		r.win.set(0, 0)
	} else {
		r.buf[0] = t
		r.win.set(1, 1) // as if it had been taken already
		r.used = max(r.used, 1)
		r.has = true
	}
	return r
}

// placeLocked finds a use for slot id, which its holder has given up: for a
// waiter that wants its slot back, else for t, else for what is queued. The
// runner returned, if any, is to begin after the lock is released.
func (p *Pool) placeLocked(id int, t Task) *Runner {
	p.slots[id] = nil
	if t == nil && p.grantLocked(id) {
		return nil
	}
	if p.live > p.want {
		p.retireLocked(id)
		return nil
	}
	if t == nil {
		if q, _ := p.queue.top(); q == nil && !p.stealableLocked(math.MinInt) {
			p.freeLocked(id)
			return nil
		}
	}
	s, ok := t.(*Span)
	if !ok {
		return p.startLocked(id, t)
	}
	r := p.startLocked(id, nil)
	if s.joinLocked(r) {
		r.buf[0], r.has = s, true
		r.used = max(r.used, 1)
		r.prio = s.prio
	}
	return r
}

// grantLocked gives slot id to the first waiter that wants one.
func (p *Pool) grantLocked(id int) bool {
	if len(p.resume) == 0 {
		return false
	}
	to := p.resume[0]
	p.resume[0] = resumer{}
	if p.resume = p.resume[1:]; len(p.resume) == 0 {
		p.resume = nil
		p.signalLocked(signalResume, false)
	}
	p.giveLocked(to, id)
	return true
}

func (p *Pool) giveLocked(to resumer, id int) {
	delete(p.lending, to.r)
	to.r.slot = id
	p.slots[id] = to.r
	if to.r.span != nil { // which nobody has told anything while its slot was lent
		if len(p.free) > 0 {
			p.signalLocked(signalHungry, true)
		}
		if q, top := p.queue.top(); q != nil && top > to.r.prio {
			p.signalLocked(signalUrgent, true)
		}
	}
	to.wk.Wake()
}

// freeLocked puts slot id aside: there is nothing to do.
func (p *Pool) freeLocked(id int) {
	p.slots[id] = nil
	p.free = append(p.free, id)
	if len(p.free) != p.live {
		for _, r := range p.slots {
			if r != nil && r.span != nil {
				p.signalLocked(signalHungry, true)
				break
			}
		}
		return
	}
	for len(p.parked) > p.want {
		last := len(p.parked) - 1
		r := p.parked[last]
		p.parked[last] = nil
		p.parked = p.parked[:last]
		r.exit = true
		r.wake <- struct{}{}
	}
	if p.idle != nil && p.idleLocked() {
		p.idle()
	}
}

// Resize changes the number of slots. More begin at once; fewer end as their
// tasks do.
func (p *Pool) Resize(slots int) {
	p.mu.Lock()
	p.want = max(1, slots)
	p.growLocked()
	for p.live > p.want && len(p.free) > 0 {
		p.retireLocked(p.popFree())
	}
	p.signalLocked(signalShrink, p.live > p.want)
	p.mu.Unlock()
	p.dispatch()
}

func (p *Pool) growLocked() {
	for id := 0; p.live < p.want; id++ {
		if id == len(p.slots) {
			p.slots = append(p.slots, nil)
		} else if p.slots[id] != nil || slices.Contains(p.free, id) {
			continue
		}
		p.free = append(p.free, id)
		p.live++
	}
	slices.SortFunc(p.free, func(a, b int) int { return b - a }) // slot 0 first
}

func (p *Pool) retireLocked(id int) {
	p.slots[id] = nil
	p.live--
	p.signalLocked(signalShrink, p.live > p.want)
}

// dispatch gives free slots to what is queued.
func (p *Pool) dispatch() {
	p.mu.Lock()
	var begin []*Runner
	for len(p.free) > 0 {
		id := p.popFree()
		r := p.placeLocked(id, nil)
		if r == nil {
			if p.slots[id] != nil {
				continue // a waiter has it
			}
			break
		}
		begin = append(begin, r)
	}
	p.mu.Unlock()
	for _, r := range begin {
		r.begin()
	}
}

// urgentLocked takes back what slots have taken ahead and not started, if it
// has a lower priority than prio.
func (p *Pool) urgentLocked(prio int) {
	p.leveled = true
	lower := make([]*Runner, 0, len(p.slots))
	for _, r := range p.slots {
		if r != nil && r.prio < prio {
			lower = append(lower, r)
		}
	}
	// The latest batch goes back first, so that the earliest ends up in front.
	slices.SortFunc(lower, func(a, b *Runner) int { return int(b.taken - a.taken) })
	for _, r := range lower {
		if r.span != nil {
			p.signalLocked(signalUrgent, true)
		} else {
			r.flushLocked()
		}
	}
}
