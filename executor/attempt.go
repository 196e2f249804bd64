package executor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// An Attempt is one run of a task, or one chunk of a Map, and the ctx that the
// function receives. A task that never asks anything of its ctx gets away with a
// callContext, which is nothing; what must be kept is kept here.
type Attempt struct {
	core   *cell.Core      // of the task, or of the batch
	parent context.Context // what the function's ctx descends from
	info   func() TaskInfo // nil for a plain task
	scope  scope           // of what the function submits

	used atomic.Uint32 // what became of it: used* bits. Of a Map's chunk, looked at after each item

	mu      sync.Mutex
	inner   context.Context // a genuine ctx, made when somebody asks for Done
	cancel  context.CancelCauseFunc
	over    bool  // the ctx has ended
	cause   error // why
	back    bool  // the function has returned
	waiting int   // goroutines of the task that wait with its slot lent
	lent    bool  // the slot was lent at least once
	late    bool  // it has taken longer than WithTimeout allows

	runner *pool.Runner // whose slot it is, once that matters. Local's
}

const (
	usedCtx       = 1 << iota // the function has asked it for something that must end
	usedStop                  // no further item is to start
	usedAbandoned             // cancelled while it ran
)

func (a *Attempt) use() {
	if a.used.Load()&usedCtx == 0 {
		a.used.Or(usedCtx)
	}
}

// init makes a the attempt of a task of the same executor as up.
func (a *Attempt) init(c *cell.Core, ctx context.Context, up *scope) {
	a.core, a.parent = c, up.ctx
	a.scope.ctx, a.scope.ex, a.scope.base = ctx, up.ex, up.base
	a.scope.InitTask(ctx, &a.scope, c)
}

// Call is the task.
func (a *Attempt) Call() *Call { return (*Call)(a.core) }

// Deadline is that of the ctx of the submit, or of WithTimeout.
func (a *Attempt) Deadline() (time.Time, bool) {
	a.mu.Lock()
	inner := a.inner
	a.mu.Unlock()
	if inner != nil {
		return inner.Deadline()
	}
	return a.parent.Deadline()
}

// Done is closed when the function has returned, or the task was cancelled, or the
// attempt has run for too long.
func (a *Attempt) Done() <-chan struct{} { return a.genuine().Done() }

// Err is nil until then.
func (a *Attempt) Err() error {
	a.mu.Lock()
	inner, over := a.inner, a.over
	a.mu.Unlock()
	switch {
	case inner != nil && inner.Err() != nil:
		return inner.Err()
	case over:
		return context.Canceled
	case a.core.Scope.Err() != nil:
		if err := a.parent.Err(); err != nil {
			return err
		}
		return context.Canceled
	}
	return nil
}

// Value is that of the ctx of the submit.
func (a *Attempt) Value(key any) any {
	if key == cell.TaskKey {
		a.use()
		return a
	}
	a.mu.Lock()
	inner, over := a.inner, a.over
	a.mu.Unlock()
	if inner == nil && over {
		inner = a.genuine() // it knows the cause, which context.Cause asks for by a key of its own
	}
	if inner != nil {
		return inner.Value(key)
	}
	return a.parent.Value(key)
}

// genuine makes a ctx of the standard library's own, so that what is derived from
// the task's ctx needs no goroutine.
func (a *Attempt) genuine() context.Context {
	a.use()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inner == nil {
		a.inner, a.cancel = context.WithCancelCause(a.parent)
		if a.over {
			a.cancel(a.cause)
		}
	}
	return a.inner
}

// end ends the ctx and what was submitted under it. The scope comes first: who has
// seen the ctx end, and returns its error, is to be found cancelled.
func (a *Attempt) end(cause error, w *cell.Wave) {
	a.scope.End(cause, w)
	a.mu.Lock()
	if !a.over {
		a.over, a.cause = true, cause
		if a.cancel != nil {
			a.cancel(cause)
		}
	}
	a.mu.Unlock()
}

// returned ends the attempt: its function has returned.
func (a *Attempt) returned(r *pool.Runner) {
	a.mu.Lock()
	settle := a.lent && !a.back
	a.back = true
	a.mu.Unlock()
	if settle && r != nil {
		r.Settle()
	}
	cause := error(context.Canceled)
	if a.core.Scope.Err() != nil { // whoever ended that may not have come here yet
		cause = a.core.Scope.Cause()
	}
	var w cell.Wave
	a.end(cause, &w)
	w.Run()
}

// OwnScope is the scope of what the function submits.
func (a *Attempt) OwnScope() *cell.Scope {
	a.use()
	return &a.scope.Scope
}

// Lend lends the slot, unless another goroutine of the task has, to c if c is
// queued at the same executor.
func (a *Attempt) Lend(c *cell.Core) bool {
	a.use()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.back {
		return false
	}
	if a.waiting++; a.waiting > 1 {
		return true
	}
	a.lent = true
	b := a.scope.base
	var to *Call
	if s := c.Scope; s != nil && hostOf(s).base == b && c.Startable() {
		to = (*Call)(c)
	}
	b.backend.Lend(a, to)
	return true
}

// Resume asks for the slot back when the last goroutine of the task goes on.
func (a *Attempt) Resume(w *cell.Waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting--; a.waiting > 0 || a.back {
		w.Wake()
		return
	}
	a.scope.base.backend.Resume(a, w)
}

// Needs reports whether c is an input of the task.
func (a *Attempt) Needs(c *cell.Core) bool {
	return a.core.Owner.(interface{ needs(*cell.Core) bool }).needs(c)
}

// A callContext is the ctx of a task that has asked nothing of it yet: the task's
// own memory, seen as a ctx. It becomes an Attempt when somebody does ask.
type callContext cell.Core

func (c *callContext) core() *cell.Core { return (*cell.Core)(c) }

func (c *callContext) attempt() *Attempt { return &c.Owner.(work).more().first }

// asked is the Attempt if there is one.
func (c *callContext) asked() *Attempt {
	if m := c.Owner.(work).peek(); m != nil {
		return &m.first
	}
	return nil
}

func (c *callContext) Deadline() (time.Time, bool) { return c.Scope.Context().Deadline() }

func (c *callContext) Done() <-chan struct{} { return c.attempt().Done() }

func (c *callContext) Err() error {
	if a := c.asked(); a != nil {
		return a.Err()
	}
	if c.core().State().Done() { // which looks at the ctx above as well
		if err := c.Scope.Context().Err(); err != nil {
			return err
		}
		return context.Canceled
	}
	return nil
}

func (c *callContext) Value(key any) any {
	switch {
	case key == cell.TaskKey:
		return c
	case c.asked() == nil && !c.core().State().Done():
		return c.Scope.Context().Value(key)
	}
	return c.attempt().Value(key)
}

func (c *callContext) OwnScope() *cell.Scope    { return c.attempt().OwnScope() }
func (c *callContext) Lend(on *cell.Core) bool  { return c.attempt().Lend(on) }
func (c *callContext) Resume(w *cell.Waiter)    { c.attempt().Resume(w) }
func (c *callContext) Needs(on *cell.Core) bool { return c.attempt().Needs(on) }
