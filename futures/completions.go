package futures

import (
	"context"
	"iter"
	"sync"

	"github.com/nearfar/nearfar/internal/cell"
)

// Completions is AsCompleted that may grow while it is read: what the loop's body
// submits in turn is added to it. Make one with NewCompletions, or use the zero
// value. Several loops may share one; each future goes to one of them.
type Completions[F Waiter] struct {
	mu     sync.Mutex
	ready  []F                        // resolved, not yielded; from head on
	head   int                        // of ready
	listed map[*cell.Core]*arrival[F] // not yielded
	gate   *cell.Core                 // opens when something is ready; nil if nobody waits
}

// An arrival is the hook of one future that is not resolved.
type arrival[F Waiter] struct {
	cell.Hook
	to *Completions[F]
	f  F
}

// NewCompletions makes a Completions of fs.
func NewCompletions[F Waiter](fs ...F) *Completions[F] {
	c := &Completions[F]{}
	c.Add(fs...)
	return c
}

// Add adds fs, less those that are in c and were not yielded yet.
func (c *Completions[F]) Add(fs ...F) {
	news := make([]arrival[F], 0, len(fs))
	c.mu.Lock()
	if c.listed == nil {
		c.listed = make(map[*cell.Core]*arrival[F], len(fs))
	}
	for _, f := range fs {
		if _, ok := c.listed[f.core()]; ok {
			continue
		}
		news = append(news, arrival[F]{to: c, f: f})
		c.listed[f.core()] = &news[len(news)-1]
	}
	c.mu.Unlock()
	for i := range news {
		a := &news[i]
		a.Do = a
		if !a.f.core().AddHook(&a.Hook) {
			var w cell.Wave
			a.Fire(nil, &w)
			w.Run()
		}
	}
}

// Fire makes the future ready.
func (a *arrival[F]) Fire(_ *cell.Hook, w *cell.Wave) {
	c := a.to
	c.mu.Lock()
	c.ready = append(c.ready, a.f)
	gate := c.gate
	c.gate = nil
	c.mu.Unlock()
	if gate != nil {
		gate.Open(w)
	}
}

// Len is how many were added and not yielded.
func (c *Completions[F]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.listed)
}

// All yields what was added, as it is resolved, until all of it was yielded or ctx
// has ended. What is left then may be had from another call.
func (c *Completions[F]) All(ctx context.Context) iter.Seq[F] {
	return func(yield func(F) bool) {
		for {
			f, ok := c.next(ctx)
			if !ok || !yield(f) {
				return
			}
		}
	}
}

func (c *Completions[F]) next(ctx context.Context) (f F, ok bool) {
	for {
		c.mu.Lock()
		if c.head < len(c.ready) {
			var none F
			f, c.ready[c.head] = c.ready[c.head], none
			if c.head++; c.head == len(c.ready) {
				c.ready, c.head = c.ready[:0], 0
			}
			delete(c.listed, f.core())
			c.mu.Unlock()
			return f, true
		}
		if len(c.listed) == 0 {
			c.mu.Unlock()
			return f, false
		}
		if c.gate == nil {
			c.gate = new(cell.Core)
		}
		gate := c.gate
		var some *cell.Core // a task's slot goes to one that it waits for
		for some = range c.listed {
			break
		}
		c.mu.Unlock()
		if some.Settled() { // its hook is about to fire
			some = gate
		}
		if some.WaitEither(ctx, gate) != nil {
			return f, false
		}
	}
}

// stop takes the hooks out of what was not yielded.
func (c *Completions[F]) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.listed {
		a.RemoveHook()
	}
}
