package executor

import (
	"context"
	"sync"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// A crew is the slots that run the items of a span, and the ctx that each gives to its
// items: one for as many as come, until an item makes use of it.
type crew struct {
	core *cell.Core // of the whole
	base *Base
	more *more // the whole's name

	mu      sync.Mutex
	claims  map[*Attempt]struct{} // slots in the span. Guarded by mu
	stopped bool                  // nothing more is to start. Guarded by mu
	gone    *cell.Core            // opens when the last slot leaves; nil if nobody waits. Guarded by mu
}

// join makes the ctx of the items that r will run.
func (c *crew) join(r *pool.Runner) *Attempt {
	tag(r, c.more.fn.id.code, c.more.name)
	a := &Attempt{runner: r, info: c.more.info}
	a.init(c.core, a, hostOf(c.core.Scope))
	if c.base.travels() {
		a.parent = detached{a.parent}
	}
	r.Local = a
	c.core.Start(0)
	c.mu.Lock()
	if c.claims == nil {
		c.claims = map[*Attempt]struct{}{}
	}
	c.claims[a] = struct{}{}
	if c.stopped {
		a.used.Or(usedStop)
	}
	c.mu.Unlock()
	if err := c.core.Err(); err != nil { // whoever cancelled may not have seen a
		var w cell.Wave
		a.end(err, &w)
		w.Run()
	}
	c.base.tell(eventStarted, c.event(0))
	return a
}

// part ends the ctx of the items that r has run.
func (c *crew) part(r *pool.Runner, a *Attempt) {
	a.returned(r)
	r.Local = nil
	c.mu.Lock()
	delete(c.claims, a)
	if a.used.Load()&usedAbandoned != 0 { // nobody can set it any more
		c.base.abandoned.Add(-1)
	}
	gone := c.gone
	if len(c.claims) > 0 {
		gone = nil
	} else {
		c.gone = nil
	}
	c.mu.Unlock()
	open(gone, nil)
}

// renew ends the ctx of an item that made use of it, and makes another for the next
// one; or is nil, if there is to be no next one here.
func (c *crew) renew(r *pool.Runner, a *Attempt) *Attempt {
	if a.used.Load()&usedStop != 0 {
		return nil
	}
	c.part(r, a)
	if r.Homeless() || c.core.Ended() {
		return nil
	}
	return c.join(r)
}

// Left ends r's part in it.
func (c *crew) Left(r *pool.Runner) {
	if a, ok := r.Local.(*Attempt); ok {
		c.part(r, a)
	}
}

// stopLocked keeps those that are in it from starting more. mu is held.
func (c *crew) stopLocked() {
	c.stopped = true
	for a := range c.claims {
		a.used.Or(usedStop)
	}
}

// end ends the contexts of what runs, which was cancelled.
func (c *crew) end(cause error, w *cell.Wave) {
	c.mu.Lock()
	running := make([]*Attempt, 0, len(c.claims))
	for a := range c.claims {
		if a.used.Or(usedAbandoned)&usedAbandoned == 0 {
			c.base.abandoned.Add(1)
			running = append(running, a)
		}
	}
	c.mu.Unlock()
	for _, a := range running {
		a.end(cause, w)
	}
}

// wait waits until nobody is in it.
func (c *crew) wait(ctx context.Context) {
	c.mu.Lock()
	if len(c.claims) == 0 {
		c.mu.Unlock()
		return
	}
	gone := new(cell.Core)
	c.gone = gone
	c.mu.Unlock()
	_ = gone.Wait(context.WithoutCancel(ctx)) // which does not end
}

// active is how many slots are in it.
func (c *crew) active() int {
	if c.core.Settled() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.claims)
}

// cancel is Close's.
func (c *crew) cancel(cause error) { cancelWith(c.core, cause) }

func (c *crew) event(items int) Event {
	if c.base.cfg.Observer == nil {
		return Event{}
	}
	info := c.more.info()
	return Event{ID: info.ID, Name: info.Name, Worker: info.Worker, Attempt: 1, Items: items}
}
