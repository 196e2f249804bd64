package cell

import (
	"runtime"
)

// A Hook waits for one core to settle. It is listed by AddHook, and then either
// fired, once, or taken out by RemoveHook. Its memory belongs to whoever listed
// it, so one allocation may hold many, or more than a hook.
type Hook struct {
	Do         Action
	core       *Core
	next, prev *Hook // the core's list, a ring, guarded by core.lock(); after that the wave's
	fired      bool  // guarded by core.lock()
	err        error // of a settled core; see Core.hooks
	watch      Watch // cancels core when its ctx ends, while the hook is listed
}

// An Action is what a Hook does. Fire must not block; what it settles in turn it
// settles with w, so that a chain of any length is walked, not recursed into.
type Action interface {
	Fire(h *Hook, w *Wave)
}

// Core is the core that h was listed at.
func (h *Hook) Core() *Core { return h.core }

// Listed reports whether h was ever listed.
func (h *Hook) Listed() bool { return h.core != nil }

// AddHook lists h, which must be new, and reports true; or false, if c has
// settled: then h will not fire. From here on the end of c's ctx cancels c at
// once, where it would otherwise be noticed when somebody looks.
func (c *Core) AddHook(h *Hook) bool {
	h.core = c
	if s := c.Scope; s != nil && !s.never {
		h.watch.On = h
		if !s.Watch(&h.watch) {
			h.fired = true // for RemoveHook, as in list
			c.cancelByScope()
			return false
		}
	}
	if c.list(h) {
		return true
	}
	h.watch.Stop()
	return false
}

// list is AddHook without the watch. h.core is c already: with a watch, others may be
// reading it.
func (c *Core) list(h *Hook) bool {
	mu := c.lock()
	for {
		mu.Lock()
		s := c.load()
		if s == claimed || s == claimedRun {
			mu.Unlock()
			runtime.Gosched() // as in settle
			continue
		}
		if s.Done() {
			h.fired = true // for RemoveHook: it is not in
			mu.Unlock()
			return false
		}
		break
	}
	first := c.hooks
	if first == nil {
		h.next, h.prev = h, h
		c.hooks = h
	} else {
		h.next, h.prev = first, first.prev
		first.prev.next, first.prev = h, h
	}
	// Finish takes no lock: if it came before the flag, nobody will fire h.
	if old := c.state.Or(hooked); State(old&stateMask) == Finished {
		c.unlist(h)
		mu.Unlock()
		return false
	}
	mu.Unlock()
	return true
}

// unlist takes h out of the ring. The lock is held.
func (c *Core) unlist(h *Hook) {
	if h.next == h {
		c.hooks = nil
	} else {
		h.prev.next, h.next.prev = h.next, h.prev
		if c.hooks == h {
			c.hooks = h.next
		}
	}
	h.next, h.prev = nil, nil
	h.fired = true
}

// RemoveHook takes h out: true means that it has not fired and never will,
// false that it has, is about to, or was never listed.
func (h *Hook) RemoveHook() bool {
	c := h.core
	if c == nil {
		return false
	}
	mu := c.lock()
	mu.Lock()
	if h.fired {
		mu.Unlock()
		return false
	}
	c.unlist(h)
	mu.Unlock()
	h.watch.Stop()
	return true
}

// ScopeEnded cancels the core: its ctx has ended.
func (h *Hook) ScopeEnded(s *Scope, w *Wave) {
	cause := s.Cause()
	h.core.Cancel(CancelError(cause), cause, w)
}

// A Wave is what remains to be done after something settled: hooks to fire and
// scopes to end. What those settle in turn joins the wave. The zero Wave is empty.
type Wave struct {
	first, last *Hook
	scopes      *Scope
}

// push adds a ring of fired hooks.
func (w *Wave) push(ring *Hook) {
	if ring == nil {
		return
	}
	last := ring.prev
	last.next = nil
	if w.first == nil {
		w.first = ring
	} else {
		w.last.next = ring
	}
	w.last = last
}

// Run goes on until nothing is left.
func (w *Wave) Run() {
	for {
		if h := w.first; h != nil {
			if w.first = h.next; w.first == nil {
				w.last = nil
			}
			h.next, h.prev = nil, nil
			h.watch.Stop()
			h.Do.Fire(h, w)
		} else if s := w.scopes; s != nil {
			w.scopes, s.nextEnd = s.nextEnd, nil
			s.tell(w)
		} else {
			return
		}
	}
}
