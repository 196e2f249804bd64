package cell

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// TaskContext is the ctx that a task's function receives.
type TaskContext interface {
	context.Context
	// Lend gives the task's slot away for as long as one of its goroutines
	// waits, to c first if that is queued. It is false if there is nothing to
	// lend: then the waiter is woken directly.
	Lend(c *Core) bool
	// Resume asks for the slot back and wakes wt when its goroutine may go on.
	Resume(wt *Waiter)
	// OwnScope is the scope of what the task submits.
	OwnScope() *Scope
	// Needs reports whether c is an input of the task, so that its value is
	// the task's to read although it was released.
	Needs(c *Core) bool
}

type taskKey struct{}

// TaskKey is the key under which a TaskContext answers with itself.
var TaskKey any = taskKey{}

// TaskOf returns the task that ctx descends from, or nil.
func TaskOf(ctx context.Context) TaskContext {
	if t, ok := ctx.(TaskContext); ok {
		return t
	}
	t, _ := ctx.Value(TaskKey).(TaskContext)
	return t
}

// A Waiter is one blocked goroutine.
type Waiter struct {
	hook Hook
	also Hook  // at a gate; see WaitEither
	own  Watch // in the scope of the task that waits
	wake chan struct{}
	by   atomic.Uint32 // who ended the wait: the first of those below
	lent TaskContext   // whose slot is lent for the wait, if any
	next *Waiter       // of a waiterList
}

// A waiterList is some waiters that nobody uses. A recursion of tasks has one at work
// for each level; more than a few are left to the garbage collector.
type waiterList struct {
	mu    sync.Mutex
	first *Waiter
	n     int
}

func (l *waiterList) get() *Waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	wt := l.first
	if wt != nil {
		l.first, wt.next = wt.next, nil
		l.n--
	}
	return wt
}

func (l *waiterList) put(wt *Waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n < 64 {
		wt.next, l.first = l.first, wt
		l.n++
	}
}

const (
	byHook = 1 + iota
	byScope
	byGate
	bySelf
)

// waiter returns a waiter. It may have been used before, but only for the same
// scope, or one that is under the same ctx from outside, since a channel made in a
// testing/synctest bubble must stay there.
func (s *Scope) waiter() *Waiter {
	if s != nil {
		if s.top != nil {
			s = s.top
		}
		if wt := s.spare.Swap(nil); wt != nil {
			return wt
		}
		if wt := s.spares.get(); wt != nil {
			return wt
		}
	}
	wt := &Waiter{wake: make(chan struct{}, 1)}
	wt.hook.Do, wt.also.Do, wt.own.On = wt, wt, wt
	return wt
}

// putWaiter takes back a waiter that nobody else holds.
func (s *Scope) putWaiter(wt *Waiter) {
	if s != nil {
		wt.by.Store(0)
		wt.hook.fired = false
		if wt.hook.core != nil {
			wt.hook.core = nil // s may outlive the core by far
		}
		if wt.lent != nil {
			wt.lent = nil
		}
		if wt.own.scope != nil {
			wt.own.scope = nil
		}
		if s.top != nil {
			s = s.top
		}
		if !s.spare.CompareAndSwap(nil, wt) {
			s.spares.put(wt)
		}
	}
}

// Fire wakes the waiter: what it waited for has settled.
func (wt *Waiter) Fire(h *Hook, _ *Wave) {
	if h == &wt.hook {
		wt.rouse(byHook)
	} else {
		wt.rouse(byGate)
	}
}

// ScopeEnded wakes the waiter: the task that waits was cancelled.
func (wt *Waiter) ScopeEnded(*Scope, *Wave) { wt.rouse(byScope) }

func (wt *Waiter) rouse(by uint32) {
	if !wt.by.CompareAndSwap(0, by) {
		return
	}
	if wt.lent != nil {
		wt.lent.Resume(wt)
	} else {
		wt.Wake()
	}
}

// Wake lets the goroutine go on. Called once a wait.
func (wt *Waiter) Wake() { wt.wake <- struct{}{} }

// Wait blocks until c has settled, and returns nil, or until ctx has ended, and
// returns its error. A settled core wins over an ended ctx. A task that waits
// with its own ctx, or one made from it, lends its slot meanwhile.
func (c *Core) Wait(ctx context.Context) error {
	s := c.Scope
	if !s.is(ctx) || s.within != nil {
		return c.WaitEither(ctx, nil)
	}
	// The commonest wait is of whoever submitted, outside all tasks. It is apart, and
	// flat: a return that follows a switch of goroutines costs more than most of this.
	if c.Over() {
		return nil
	}
	wt := s.waiter()
	if c.list(&wt.hook) {
		switch {
		case s.done == nil:
			<-wt.wake
		case s.stays.Load() == staysNow && s.Watch(&wt.own):
			<-wt.wake
			if !wt.own.Stop() { // s has ended, and wt is told, or about to be
				c.cancelByScope()
				return nil
			}
		default:
			select {
			case <-wt.wake:
			case <-s.done:
				c.cancelByScope()
				<-wt.wake
			}
			s.stays.CompareAndSwap(staysNext, staysNow)
		}
	}
	s.putWaiter(wt)
	return nil
}

// WaitEither is Wait that returns nil, too, when gate has settled.
func (c *Core) WaitEither(ctx context.Context, gate *Core) error {
	if c.Settled() {
		return nil
	}
	wt := c.Scope.waiter()
	if c.wait(ctx, wt, gate) {
		c.Scope.putWaiter(wt)
	}
	if c.Settled() || gate != nil && gate.Settled() {
		return nil
	}
	return ContextError(ctx)
}

// wait returns when c or gate has settled or ctx has ended. It reports whether
// nobody holds on to wt any more.
func (c *Core) wait(ctx context.Context, wt *Waiter, gate *Core) (clean bool) {
	var done, scopeDone <-chan struct{}
	var task TaskContext
	var own *Scope
	isOwn := false
	if c.Scope.is(ctx) {
		done, task = c.Scope.done, c.Scope.within
	} else if task, isOwn = ctx.(TaskContext); isOwn {
		if own = task.OwnScope(); own.Err() != nil {
			return true
		}
	} else {
		done = ctx.Done()
		task, _ = ctx.Value(TaskKey).(TaskContext)
	}
	if task != nil && task.Lend(c) {
		wt.lent = task
	}
	// Not before: whoever rouses wt must see what is lent.
	if isOwn && !own.Watch(&wt.own) {
		wt.resume()
		return true
	}

	// The end of the ctx that c was submitted under wakes the waiter too: by
	// the same channel, by a channel of its own, or through the hook.
	wt.hook.core = c
	listed, watched := false, false
	switch s := c.Scope; {
	case s == nil || s.never || isOwn && s == own:
		listed = c.list(&wt.hook)
	case s.task == nil:
		if !s.is(ctx) {
			scopeDone = s.done
		}
		listed = c.list(&wt.hook)
	default:
		watched = true
		listed = c.AddHook(&wt.hook)
	}
	if gate != nil {
		watched = true
		wt.also.core = gate
		if !gate.list(&wt.also) {
			wt.rouse(byGate)
		}
	}

	switch {
	case !listed:
		wt.resume()
	case done == nil && scopeDone == nil:
		<-wt.wake
	default:
		select {
		case <-wt.wake:
		case <-done:
			wt.resume()
		case <-scopeDone:
			c.cancelByScope()
			<-wt.wake
		}
	}
	by := wt.by.Load()
	gone := !listed || by == byHook || wt.hook.RemoveHook()
	if gate != nil {
		wt.also.RemoveHook()
	}
	clean = gone && !watched
	if isOwn && !wt.own.Stop() && by != byScope {
		clean = false
	}
	return clean
}

// resume ends a wait from the waiting side: it returns when the goroutine may go on.
func (wt *Waiter) resume() {
	switch {
	case !wt.by.CompareAndSwap(0, bySelf):
		<-wt.wake
	case wt.lent != nil:
		wt.lent.Resume(wt)
		<-wt.wake
	}
}

// ContextError is the error of an ended ctx: ctx.Err() and its cause.
func ContextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return &endedError{err, cause}
}

type endedError struct{ err, cause error }

func (e *endedError) Error() string   { return e.err.Error() + ": " + e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.err, e.cause} }
