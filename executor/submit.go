package executor

import (
	"context"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
)

// Submit has ex call fn(ctx, arg), and returns the future of the result at once; or,
// if ex bounds what is pending and is full, when there is room. ctx is the parent of
// the ctx that fn receives: when it ends, the task is cancelled.
//
// It returns a future whatever is wrong: one that was cancelled if ctx has ended, and
// else one that failed, with ErrClosed, ErrConfig for a wrong option, ErrNotRegistered
// or ErrNotEncodable where fn or arg would have to travel, or ErrFull. arg belongs to
// the task until it is done, and must not be changed by anybody.
//
// If arg holds futures, in exported fields, pointers, slices, arrays or map values, the
// task starts when they are done; one that failed ends it with the same error.
func Submit[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), arg A, opts ...Option) *futures.Future[R] {
	if fn == nil {
		panic("executor: Submit of a nil function")
	}
	b := ex.Backend().Base()
	if len(opts) == 0 && b.plainer != nil {
		if f := submitPlain(ctx, ex, b, fn, arg); f != nil {
			return f
		}
	}
	t := &task[A, R]{fn: fn, arg: arg}
	c := t.core()
	c.Owner, c.Scope = t, b.scopeOf(ctx, ex)
	if len(opts) == 0 && b.plain(reflect.TypeFor[A]()) {
		b.enqueue(c)
		return &t.Future
	}
	return launch(ctx, t, t, "Submit", opts, references(b, &t.arg))
}

// Go is Submit of a closure, for functions that never leave this process. On an
// executor that is far, or strict, the future fails with ErrNotRegistered.
func Go[R any](ctx context.Context, ex Executor, fn func(context.Context) (R, error), opts ...Option) *futures.Future[R] {
	if fn == nil {
		panic("executor: Go of a nil function")
	}
	return Submit(ctx, ex, callClosure[R], closure[R]{fn}, opts...)
}

// A closure is the argument of a task that is one. It is no type that could travel.
type closure[R any] struct {
	fn func(context.Context) (R, error)
}

func callClosure[R any](ctx context.Context, c closure[R]) (R, error) { return c.fn(ctx) }

// Then is Submit of a function whose argument is the value of in: it starts when in
// is done, where in's value is. If in failed or was cancelled, the future ends with
// the same error. Cancelling it leaves in alone.
func Then[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), in *futures.Future[A], opts ...Option) *futures.Future[R] {
	if fn == nil {
		panic("executor: Then of a nil function")
	}
	if in == nil {
		panic("executor: Then of a nil future")
	}
	t := &thenTask[A, R]{task: task[A, R]{fn: fn}, in: futures.CellOf(in)}
	attach(ctx, ex, t.core(), t)
	return launch(ctx, &t.task, t, "Then", opts, []cell.Value{t.in})
}

// A thenTask takes its argument from a future when it runs.
type thenTask[A, R any] struct {
	task[A, R]
	in *cell.Cell[A]
}

func (t *thenTask[A, R]) invoke(ctx context.Context) error {
	if err := t.in.Bring(ctx); err != nil {
		return err
	}
	t.arg, _ = t.in.GetPinned()
	return t.task.invoke(ctx)
}

func (t *thenTask[A, R]) forget() {
	t.in = nil
	t.task.forget()
}

// attach says whose task c is, and under which ctx and executor.
func attach(ctx context.Context, ex Executor, c *cell.Core, owner cell.Owner) *Base {
	b := ex.Backend().Base()
	c.Owner = owner
	c.Scope = b.scopeOf(ctx, ex)
	return b
}

// plain reports whether a task without options, with an argument of type arg, needs
// nothing but to be run.
func (b *Base) plain(arg reflect.Type) bool {
	if b.fussy {
		return false
	}
	p := b.plans.Load()
	if p == nil || !cell.Same(&p.of, &arg) {
		p = b.look(arg)
	}
	return !p.references
}

// enqueue queues a plain task.
func (b *Base) enqueue(c *cell.Core) {
	switch {
	case c.Ended():
		b.submitted.Add(1)
	case b.closed.Load():
		b.submitted.Add(1)
		fail(c, ErrClosed)
	default:
		b.backend.Enqueue((*Call)(c))
	}
}

// launch submits a task that is not plain. w is t, or what t is part of.
func launch[A, R any](ctx context.Context, t *task[A, R], w work, what string, opts []Option, inputs []cell.Value) *futures.Future[R] {
	m := t.special()
	b := m.base
	o, err := gather(opts, what, forSubmit)
	if o != nil {
		m.opts = o
	}
	if err == nil && o.key != "" {
		return submitKeyed(ctx, b, t, w, m, inputs)
	}
	b.submit(ctx, w, m, err, inputs)
	return &t.Future
}

// submit submits a task that is not plain: a wrong option is err.
func (b *Base) submit(ctx context.Context, w work, m *more, err error, inputs []cell.Value) {
	c := m.core
	if !m.hidden {
		b.submitted.Add(1)
	}
	b.observe(eventSubmitted, m, nil)
	switch {
	case c.Ended():
		m.settled()
		return
	case b.closed.Load():
		err = ErrClosed
	case err == nil && b.travels():
		err = w.pack(m)
	}
	if _, foreign := w.(*Foreign); err == nil && m.run == nil && !foreign { // of a task, which never blocks
		err = b.enterRoom(ctx, m)
	}
	if err != nil {
		if fail(c, err) {
			m.settled()
		}
		return
	}
	// From here on others may settle it. Whoever does cleans up.
	m.watch.On = m
	if !c.Scope.Watch(&m.watch) {
		c.Ended()
		return
	}
	m.await(inputs)
}

// ScopeEnded cancels the task: the ctx of its submit has ended.
func (m *more) ScopeEnded(s *cell.Scope, w *cell.Wave) {
	cause := s.Cause()
	m.core.Cancel(cell.CancelError(cause), cause, w)
}
