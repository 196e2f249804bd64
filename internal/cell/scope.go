package cell

import (
	"context"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A Scope is the ctx that tasks were submitted under, shared by all that have it
// in common. A task of a scope that has ended is cancelled: at once if something
// waits for it or is told about it, else when it is next looked at, which is
// before it starts, after it returns, and at every question about it.
//
// So a task that nobody waits for costs its scope nothing, and a million tasks
// under one ctx register with it once. (context.AfterFunc a task: 525 ns.)
type Scope struct {
	ctx   context.Context
	host  Host
	task  *Core // whose function's ctx this is, or nil if ctx came from outside
	never bool  // ctx cannot end

	// What a waiter with the same ctx needs to know of it, if it came from outside.
	done   <-chan struct{}
	within TaskContext
	spare  atomic.Pointer[Waiter]
	spares waiterList // more of them, for all scopes below

	ended atomic.Bool
	cause error // written before ended

	mu    sync.Mutex
	list  *Watch        // a ring: who is told. Guarded by mu
	armed bool          // ctx, or the scope above, will call end. Guarded by mu
	stays atomic.Uint32 // whether it stays armed when nobody is listed: see Stay
	quiet atomic.Bool   // armed, under a task: unless ended says so, or top.ending, no task above has ended either
	top   *Scope        // the outermost above, whose ctx came from outside; nil for such a one
	// Of a top: how many scopes below have ended and not yet told those below them.
	ending atomic.Int32
	untold bool        // counts in top.ending. Guarded by mu
	stop   func() bool // of context.AfterFunc. Guarded by mu
	link   Watch       // in the list of the scope above

	nextEnd *Scope // of a wave
}

// A Host is the executor of a scope's tasks.
type Host any

// Init makes s the scope of a ctx that is not the own one of a task of the host.
func (s *Scope) Init(ctx context.Context, host Host) {
	done := ctx.Done()
	s.ctx, s.host, s.never, s.done, s.within = ctx, host, done == nil, done, TaskOf(ctx)
}

// A Scope that stays armed costs its waiters 40 ns, where a select on wake and ctx's
// Done costs 240 and arming it for each more than 500.
const (
	staysNot  = iota
	staysNext // from the second wait on: there may never be one
	staysNow
)

// Stay lets s, which nobody else knows yet, leave something with its ctx while nobody
// waits, until Leave. To be called for a ctx of the standard library's making, at which
// that is no goroutine.
func (s *Scope) Stay() {
	if s.done != nil && s.within == nil {
		s.stays.Store(staysNext)
	}
}

// Leave ends that.
func (s *Scope) Leave() {
	if s.stays.Swap(staysNot) != staysNow {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disarmLocked()
}

// disarmLocked takes back what was asked of ctx, once nobody is listed.
func (s *Scope) disarmLocked() {
	if s.list == nil && s.armed && s.stays.Load() != staysNow {
		s.armed = false
		s.stop()
	}
}

// is reports whether ctx is s's, and came from outside. It compares words, since
// == panics on a ctx of a type that cannot be compared; such a ctx is no scope's.
func (s *Scope) is(ctx context.Context) bool {
	return s != nil && s.task == nil && Same(&s.ctx, &ctx)
}

// Same reports whether two interface values hold the same pointer.
func Same[I any](a, b *I) bool {
	return *(*[2]uintptr)(unsafe.Pointer(a)) == *(*[2]uintptr)(unsafe.Pointer(b))
}

// InitTask makes s the scope of what the task c submits under its own ctx. It
// ends by End, when the function returns or the task is cancelled.
func (s *Scope) InitTask(ctx context.Context, host Host, c *Core) {
	s.ctx, s.host, s.task = ctx, host, c
	if up := c.Scope; up != nil {
		if s.top = up.top; up.task == nil {
			s.top = up
		}
	}
}

// Endless reports whether the ctx cannot end.
func (s *Scope) Endless() bool { return s.never }

// Context is the ctx.
func (s *Scope) Context() context.Context { return s.ctx }

// Err is nil as long as the ctx has not ended.
func (s *Scope) Err() error {
	switch {
	case s.never:
		return nil
	case s.ended.Load():
		return context.Canceled
	case s.task == nil:
		return s.ctx.Err()
	case s.quiet.Load():
		if s.top == nil {
			return nil
		}
		if s.top.ending.Load() == 0 {
			return s.top.Err() // its ctx ends a moment before anybody is told
		}
	}
	if up := s.task.Scope; up != nil {
		return up.Err()
	}
	return nil
}

// Cause is why it ended.
func (s *Scope) Cause() error {
	if s.ended.Load() {
		return s.cause
	}
	if s.task != nil && s.task.Scope != nil {
		return s.task.Scope.Cause()
	}
	return context.Cause(s.ctx)
}

// A Watch is told when its scope ends.
type Watch struct {
	On         Ender
	scope      *Scope // while listed
	next, prev *Watch // the scope's ring, guarded by scope.mu
	listed     bool   // guarded by scope.mu
}

// An Ender is what a Watch tells.
type Ender interface {
	ScopeEnded(s *Scope, w *Wave)
}

// Watch lists wt. It is false if s has ended: then wt.On is not told.
func (s *Scope) Watch(wt *Watch) bool {
	if s.never {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() {
		return false
	}
	if !s.armed && !s.armLocked() {
		return false
	}
	wt.scope, wt.listed = s, true
	if s.list == nil {
		wt.next, wt.prev = wt, wt
		s.list = wt
	} else {
		wt.next, wt.prev = s.list, s.list.prev
		s.list.prev.next, s.list.prev = wt, wt
	}
	return true
}

// armLocked asks to be told of the end. It is false if that has been.
func (s *Scope) armLocked() bool {
	if s.task == nil {
		if s.ctx.Err() != nil {
			return false
		}
		s.armed = true
		s.stop = context.AfterFunc(s.ctx, func() { // in a goroutine of its own, when ctx has ended
			var w Wave
			s.End(context.Cause(s.ctx), &w)
			w.Run()
		})
		return true
	}
	if up := s.task.Scope; up != nil {
		s.link.On = s
		if !up.Watch(&s.link) {
			return false
		}
	}
	s.armed = true
	s.quiet.Store(true)
	return true
}

// ScopeEnded passes the end of the scope above on to the task and, by way of
// its owner, to s.
func (s *Scope) ScopeEnded(up *Scope, w *Wave) {
	cause := up.Cause()
	s.task.Cancel(CancelError(cause), cause, w)
	s.End(cause, w)
}

// End ends the scope, once: Err is not nil from here on, and w tells everybody
// listed.
func (s *Scope) End(cause error, w *Wave) {
	s.mu.Lock()
	if s.ended.Load() {
		s.mu.Unlock()
		return
	}
	if s.list != nil && s.top != nil {
		s.untold = true
		s.top.ending.Add(1)
	}
	s.cause = cause
	s.ended.Store(true)
	s.mu.Unlock()
	s.nextEnd = w.scopes
	w.scopes = s
}

// tell tells everybody listed.
func (s *Scope) tell(w *Wave) {
	s.mu.Lock()
	list, untold := s.list, s.untold
	s.list, s.untold = nil, false
	if list != nil {
		for wt := list; ; {
			wt.listed = false
			if wt = wt.next; wt == list {
				break
			}
		}
		list.prev.next = nil
	}
	s.mu.Unlock()
	s.link.Stop()
	for wt := list; wt != nil; {
		next := wt.next
		wt.next, wt.prev = nil, nil
		wt.On.ScopeEnded(s, w)
		wt = next
	}
	if untold {
		s.top.ending.Add(-1)
	}
}

// Stop takes wt out: true means that it was not told and never will be.
func (wt *Watch) Stop() bool {
	s := wt.scope
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !wt.listed {
		return false
	}
	wt.listed = false
	if wt.next == wt {
		s.list = nil
	} else {
		wt.prev.next, wt.next.prev = wt.next, wt.prev
		if s.list == wt {
			s.list = wt.next
		}
	}
	wt.next, wt.prev = nil, nil
	// A task's scope stays armed, since it ends with the task. One of a ctx from
	// outside, which may live for ever, leaves nothing with it, but see Stay.
	if s.task == nil {
		s.disarmLocked()
	}
	return true
}

// Host is the executor of the scope's tasks.
func (s *Scope) Host() Host { return s.host }
