// Package cell is the inside of a future: one result, its state, and who waits
// for it. It knows no executor; futures gives it its public face, executor its
// owner.
package cell

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A State is futures.State, number for number, and two more that last for the
// few instructions in which an outcome is written.
type State uint32

// The states, and who may leave them:
//
//	from                to          by
//	Pending             Running     Start, once: the slot that runs it
//	Pending             Finished    FinishPending, after the value was written
//	Pending             claimed     Claim: a promise about to be kept, Fail, Cancel
//	Running             Pending     Again: another attempt
//	Running             Finished    Finish, after the value was written
//	Running             claimedRun  Fail, Cancel
//	claimed, claimedRun Finished    a promise, after the value was written
//	claimed, claimedRun Failed      Fail
//	claimed, claimedRun Cancelled   Cancel
//
// Whoever makes the move into a final state, or into claimed on the way there,
// has won; everybody else's move fails and changes nothing.
const (
	Pending State = iota
	Running
	Finished
	Failed
	Cancelled
	claimed    // was Pending, its outcome is being written
	claimedRun // was Running, its outcome is being written
)

const (
	stateMask = 7
	hooked    = 1 << 3 // hooks may be listed: whoever settles takes them
	away      = 1 << 4 // Finished, and the value is not here: the Owner is its Keeper
	held      = 1 << 5 // Pending, and not to be started yet
	marked    = 1 << 6 // the owner's own
	slotShift = 16     // the slot that it runs on, while Running
)

// MaxSlots is how many slots there may be: as many as a Core has room to name.
const MaxSlots = 1 << 16

// Done reports whether the state is final.
func (s State) Done() bool { return s >= Finished && s <= Cancelled }

// An Owner is the task behind a future. A promise has none.
type Owner interface {
	// Run runs the task on a slot, a *pool.Runner.
	Run(slot any)
	// Settling is called by the winner before an error or a cancellation is
	// published, so that counters are right when the first waiter wakes.
	Settling(from, to State)
	// Cancelled is called after a cancellation was published. If the
	// function was running, its ctx ends here.
	Cancelled(from State, cause error, w *Wave)
	// Key is the task's key, or "".
	Key() string
	// Why says what an unfinished task waits for.
	Why() string
	// Released is called once, by the first Release.
	Released()
}

// A Core is what every future has, whatever its type: 40 bytes.
type Core struct {
	state atomic.Uint32
	pins  atomic.Uint32 // readers of the value, and who still needs it; see Cell
	hooks *Hook         // guarded by lock(); once Failed or Cancelled, &Hook{err} for good
	Scope *Scope        // what it was submitted under; nil for a promise; set before it is shared
	Owner Owner         // set before it is shared
}

// locks guard the hook lists of all cores, chosen by address: a lock in each
// core would cost 8 bytes a future, and only waiting takes one. Cores within 512
// bytes share one, so that who waits for one after the other finds it in the cache.
// No goroutine ever holds two of them.
var locks [256]struct {
	sync.Mutex
	_ [56]byte
}

func (c *Core) lock() *sync.Mutex {
	const golden = 0x9E3779B97F4A7C15
	return &locks[uint64(uintptr(unsafe.Pointer(c)))>>9*golden>>56].Mutex
}

func (c *Core) load() State { return State(c.state.Load() & stateMask) }

// State is the state as seen from outside. If the ctx that c was submitted
// under has ended, this is where that is noticed at the latest.
func (c *Core) State() State {
	s := c.load()
	if s.Done() || s == Finished {
		return s
	}
	if c.Scope != nil && c.Scope.Err() != nil {
		c.cancelByScope()
		s = c.load()
	}
	switch s {
	case claimed:
		return Pending
	case claimedRun:
		return Running
	}
	return s
}

// Outcome is State once nobody is writing an outcome, which takes a few instructions.
func (c *Core) Outcome() State {
	for {
		if s := c.load(); s != claimed && s != claimedRun {
			return c.State()
		}
		runtime.Gosched()
	}
}

// Over reports whether the state is final, without a look at c's ctx.
func (c *Core) Over() bool { return c.load().Done() }

// Settled reports whether the state is final, after a look at c's ctx.
func (c *Core) Settled() bool { return c.State().Done() }

// Home reports whether c is Finished with its value in the cell.
func (c *Core) home() bool { return c.state.Load()&(stateMask|away) == uint32(Finished) }

// Away reports whether c is Finished with its value elsewhere.
func (c *Core) Away() bool { return c.state.Load()&(stateMask|away) == uint32(Finished)|away }

// move changes the state from from to to, keeping the flags. It returns the
// flags' word and whether it was this call that did it.
func (c *Core) move(from, to State, set uint32) (old uint32, ok bool) {
	for {
		old = c.state.Load()
		if State(old&stateMask) != from {
			return old, false
		}
		if c.state.CompareAndSwap(old, old&^stateMask|uint32(to)|set) {
			return old, true
		}
	}
}

// Start moves Pending to Running: true for the one caller that may run it.
func (c *Core) Start(slot int) bool {
	_, ok := c.move(Pending, Running, uint32(slot)<<slotShift)
	return ok
}

// Slot is the slot that c was started on.
func (c *Core) Slot() int { return int(c.state.Load() >> slotShift) }

// Again moves Running back to Pending, for another attempt.
func (c *Core) Again() bool {
	for {
		old := c.state.Load()
		if State(old&stateMask) != Running {
			return false
		}
		if c.state.CompareAndSwap(old, old&(hooked|held|marked)|uint32(Pending)) {
			return true
		}
	}
}

// Claim reserves the outcome of a Pending core: true for the one caller that
// may write the value and Finish it.
func (c *Core) Claim() bool {
	_, ok := c.move(Pending, claimed, 0)
	return ok
}

// Finish publishes the value that the caller, who holds Running, has written. It
// is false if another outcome came first. If fire is true, somebody waits: the
// caller goes on with Fire.
func (c *Core) Finish() (won, fire bool) {
	old, won := c.move(Running, Finished, 0)
	return won, won && old&hooked != 0
}

// FinishPending is Finish of a core that was never started, for the only one who may
// write its value.
func (c *Core) FinishPending() (won, fire bool) {
	old, won := c.move(Pending, Finished, 0)
	return won, won && old&hooked != 0
}

// FinishAway is Finish for a value that the Owner keeps.
func (c *Core) FinishAway() (won, fire bool) {
	old, won := c.move(Running, Finished, away)
	return won, won && old&hooked != 0
}

// FinishClaimed is Finish for the caller that claimed c.
func (c *Core) FinishClaimed() (fire bool) {
	old, _ := c.move(claimed, Finished, 0)
	return old&hooked != 0
}

// Fire fires the hooks of a Finished core. It is apart from Finish so that a
// task that nobody waits for pays nothing, and one goroutine that waits, which
// is the commonest case, is woken without a wave, which would be an allocation.
func (c *Core) Fire() {
	list := c.detach(nil)
	if list == nil {
		return
	}
	if wt, ok := list.Do.(*Waiter); ok && list.next == list {
		list.next, list.prev = nil, nil
		list.watch.Stop()
		wt.Fire(list, nil)
		return
	}
	var w Wave
	w.push(list)
	w.Run()
}

// Open finishes a Pending core that w goes on with: a promise of no value, or of
// one that Set has written, where nobody else may.
func (c *Core) Open(w *Wave) bool {
	if !c.Claim() {
		return false
	}
	if c.FinishClaimed() {
		w.push(c.detach(nil))
	}
	return true
}

// Fail settles c with err, whether it was started or not.
func (c *Core) Fail(err error, w *Wave) bool {
	_, ok := c.settle(Failed, err, w)
	return ok
}

// FailClaimed settles c with err for the caller that claimed it.
func (c *Core) FailClaimed(err error, w *Wave) {
	c.publish(claimed, Pending, Failed, err, w)
}

// Cancel settles c as Cancelled with err, which wraps cause, and then ends the
// ctx of its function if that runs. It is false if c was settled before.
func (c *Core) Cancel(err, cause error, w *Wave) bool {
	from, ok := c.settle(Cancelled, err, w)
	if ok && c.Owner != nil {
		c.Owner.Cancelled(from, cause, w)
	}
	return ok
}

// CancelPending is Cancel of what has not started.
func (c *Core) CancelPending(err error, w *Wave) bool {
	if _, ok := c.move(Pending, claimed, 0); !ok {
		return false
	}
	c.publish(claimed, Pending, Cancelled, err, w)
	if c.Owner != nil {
		c.Owner.Cancelled(Pending, err, w)
	}
	return true
}

func (c *Core) settle(to State, err error, w *Wave) (from State, ok bool) {
	for {
		old := c.state.Load()
		var via State
		switch from = State(old & stateMask); from {
		case Pending:
			via = claimed
		case Running:
			via = claimedRun
		case claimed, claimedRun:
			runtime.Gosched() // the winner is a few instructions from the end
			continue
		default:
			return from, false
		}
		if c.state.CompareAndSwap(old, old&^stateMask|uint32(via)) {
			c.publish(via, from, to, err, w)
			return from, true
		}
	}
}

// publish writes err, then the final state, and hands the hooks to w. The
// caller holds via.
func (c *Core) publish(via, from, to State, err error, w *Wave) {
	if c.Owner != nil {
		c.Owner.Settling(from, to)
	}
	w.push(c.detach(&Hook{err: err}))
	c.move(via, to, 0)
}

// detach takes the ring of listed hooks out and leaves last in its place.
func (c *Core) detach(last *Hook) *Hook {
	mu := c.lock()
	mu.Lock()
	list := c.hooks
	c.hooks = last
	if list != nil {
		for h := list; ; {
			h.fired = true
			if h = h.next; h == list {
				break
			}
		}
	}
	mu.Unlock()
	return list
}

// Err is the error of a Failed or Cancelled core, nil for any other.
func (c *Core) Err() error {
	switch c.State() {
	case Failed, Cancelled:
		return c.hooks.err
	}
	return nil
}

// CancelError makes the public error of a cancellation. Package futures sets it.
var CancelError func(cause error) error

// Ended reports whether c's ctx has ended, and cancels c if so.
func (c *Core) Ended() bool {
	if c.Scope.Err() == nil {
		return false
	}
	c.cancelByScope()
	return true
}

// Runnable reports whether c could be started: it is Pending, not held, and its
// ctx has not ended.
func (c *Core) Runnable() bool { return c.Startable() && !c.Ended() }

// Startable is Runnable without the look at ctx.
func (c *Core) Startable() bool { return c.state.Load()&(stateMask|held) == uint32(Pending) }

// Mark sets a flag that means something to the owner.
func (c *Core) Mark()        { c.state.Or(marked) }
func (c *Core) Marked() bool { return c.state.Load()&marked != 0 }

// Hold keeps a Pending core from being started, until Unhold.
func (c *Core) Hold()   { c.state.Or(held) }
func (c *Core) Unhold() { c.state.And(^uint32(held)) }

// cancelByScope cancels c because the ctx it was submitted under has ended.
func (c *Core) cancelByScope() {
	var w Wave
	cause := c.Scope.Cause()
	c.Cancel(CancelError(cause), cause, &w)
	w.Run()
}
