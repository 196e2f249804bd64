package executor

import (
	"context"
	"runtime/trace"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// A task is a call that was submitted: its future, its function and its argument in
// one allocation, of 80 bytes for an int that becomes an int. Whatever only some
// tasks need is in more.
type task[A, R any] struct {
	futures.Future[R]
	rest atomic.Pointer[more]
	fn   func(context.Context, A) (R, error)
	arg  A
}

// work is a task of any type.
type work interface {
	cell.Owner
	// more is what only some tasks have, made when it is first asked for.
	more() *more
	// peek is more if it was made, else nil.
	peek() *more
	// invoke runs the function with ctx and keeps its value.
	invoke(ctx context.Context) error
	// pack checks that the task may travel, and encodes its argument into m.
	pack(m *more) error
	// finish publishes the value that invoke or deliver kept.
	finish(r *pool.Runner)
	// sources are where the argument is, and the values of the futures in it.
	sources(m *more) (arg Source, refs []Source, err error)
	// deliver keeps a value that was computed elsewhere.
	deliver(m *more, data []byte, refs []Source) error
	// function describes the function.
	function() *function
	// broke is called when the function panicked, or left by Goexit.
	broke(r *pool.Runner, recovered any, stack []byte)
	// forget drops the argument, which has done its duty. The function stays: a
	// goroutine that it left behind may still use its ctx, and that its name.
	forget()
}

func (t *task[A, R]) cell() *cell.Cell[R] { return futures.CellOf(&t.Future) }
func (t *task[A, R]) core() *cell.Core    { return &t.cell().Core }

func (t *task[A, R]) more() *more {
	if m := t.rest.Load(); m != nil {
		return m
	}
	m := newMore(t.core(), t.function())
	if !t.rest.CompareAndSwap(nil, m) {
		return t.rest.Load()
	}
	m.catchUp()
	return m
}

// special makes the more of a task that nobody else can see yet, and that is not plain.
func (t *task[A, R]) special() *more {
	c := t.core()
	m := newMore(c, t.function())
	m.special = true
	c.Mark()
	t.rest.Store(m)
	return m
}

func (t *task[A, R]) peek() *more { return t.rest.Load() }

// Run runs the task on a slot: here where it has no options, which is to be fast,
// else in runAttempt.
func (t *task[A, R]) Run(slot any) {
	r, _ := slot.(*pool.Runner)
	c := t.cell()
	if !c.Runnable() {
		return
	}
	if m := t.rest.Load(); m != nil && m.special {
		runAttempt(c.Owner.(work), &c.Core, m, r)
		return
	}
	if !c.Start(r.SlotID()) {
		return
	}
	if code := codeOf(t.fn); r.Tag != code {
		tag(r, code, func() string { return functionOf(t.fn).name() })
	}
	v, err := t.call((*callContext)(&c.Core))
	m := t.rest.Load()
	if m != nil {
		m.first.returned(r)
	}
	t.forget()
	won := false
	switch {
	case err != nil:
		won = fail(&c.Core, err)
	case c.Ended():
	default:
		c.Set(v)
		r.Add(countFinished, 1) // before anybody can see that it has
		var fire bool
		if won, fire = c.Finish(); !won {
			r.Add(countFinished, -1)
		}
		if fire {
			c.Fire()
		}
		c.Finished()
	}
	if m == nil {
		// A goroutine that the function left behind may have used its ctx since.
		if m = t.rest.Load(); m != nil {
			m.first.returned(r)
		}
	}
	if !won {
		abandoned(&c.Core)
	}
}

// call calls the function.
func (t *task[A, R]) call(ctx context.Context) (R, error) {
	if trace.IsEnabled() {
		return traced(ctx, functionOf(t.fn).name(), t.fn, t.arg)
	}
	return t.fn(ctx, t.arg)
}

// finish publishes the value of a task that is not plain.
func (t *task[A, R]) finish(r *pool.Runner) {
	c, m := t.cell(), t.peek()
	if !m.hidden {
		m.base.count(r, 1)
	}
	won, fire := c.Finish()
	if !won && !m.hidden {
		m.base.count(r, -1)
	}
	if fire {
		c.Fire()
	}
	if !won {
		if m.base.remote {
			c.Outcome() // which another is about to write
			(*Call)(&c.Core).returned(m)
		} else {
			m.base.abandoned.Add(-1)
			m.release()
		}
		return
	}
	m.settled()
	c.Finished()
}

// fail settles c with an error that its function gave, or that its ctx did.
func fail(c *cell.Core, err error) bool {
	err = plainError(err)
	if c.Ended() {
		return false
	}
	var w cell.Wave
	ok := c.Fail(err, &w)
	w.Run()
	return ok
}

func (t *task[A, R]) invoke(ctx context.Context) error {
	m := t.peek()
	var v R
	var err error
	if m.base.cfg.Strict {
		v, err = strictCall(ctx, m.base, m.fn, t.fn, &t.arg, m.arg)
	} else {
		v, err = t.call(ctx)
	}
	if err == nil {
		t.cell().Set(v)
	}
	return err
}

func (t *task[A, R]) forget() {
	var zero A
	t.arg = zero
}

func (t *task[A, R]) needs(c *cell.Core) bool { return t.more().needs(c) }

func (t *task[A, R]) function() *function { return functionOf(t.fn) }

// broke is called when the function panicked or left by Goexit: as attemptDone would
// be, with that as the error.
func (t *task[A, R]) broke(r *pool.Runner, recovered any, stack []byte) {
	c, err := t.core(), panicError(recovered, stack)
	m := t.rest.Load()
	if m != nil && m.special {
		if m.base.cfg.Strict {
			err = strictError(m.base, err)
		}
		m.mu.Lock()
		a := m.current
		m.mu.Unlock()
		attemptDone(c.Owner.(work), c, m, a, r, err)
		return
	}
	if m != nil {
		m.first.returned(r)
	}
	t.forget()
	fail(c, err)
	if m == nil {
		if m = t.rest.Load(); m != nil {
			m.first.returned(r)
		}
	}
	abandoned(c)
}

// abandoned is the end of a plain task's function: if the task was cancelled, its slot
// is free only now.
func abandoned(c *cell.Core) {
	if c.Outcome() == cell.Cancelled {
		hostOf(c.Scope).base.abandoned.Add(-1)
	}
}

// Settling counts the outcome, before it can be seen.
func (t *task[A, R]) Settling(from, to cell.State) {
	c := t.core()
	b := hostOf(c.Scope).base
	if m := t.peek(); m != nil && m.hidden {
		if m.run != nil {
			m.run.forget()
		}
	} else if to == cell.Failed {
		b.failed.Add(1)
	} else {
		b.cancelled.Add(1)
	}
	if to == cell.Cancelled && from == cell.Running {
		if !b.remote || t.peek().gone.CompareAndSwap(false, true) {
			b.abandoned.Add(1)
		}
	}
}

// Cancelled ends the ctx of the function, if it runs, and what waits for the task.
func (t *task[A, R]) Cancelled(from cell.State, cause error, w *cell.Wave) {
	c := t.core()
	if m := t.peek(); m != nil {
		m.mu.Lock()
		a := m.current
		m.mu.Unlock()
		if a == nil {
			a = &m.first
		}
		a.end(cause, w)
		if m.special {
			m.settled()
		}
	}
	hostOf(c.Scope).base.backend.Cancelled((*Call)(c))
}

// Key is that of WithKey.
func (t *task[A, R]) Key() string {
	if m := t.peek(); m != nil {
		return m.opts.key
	}
	return ""
}

// Why says what the task waits for.
func (t *task[A, R]) Why() string { return why(t.core(), t.peek()) }

// Released tells the backend.
func (t *task[A, R]) Released() {
	c := t.core()
	hostOf(c.Scope).base.backend.Release((*Call)(c))
}
