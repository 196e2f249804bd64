package futures

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearfar/nearfar/internal/cell"
)

// A Future is the result of a task, now or later: a reference to it, not the data.
// Copying the pointer copies the reference; a Future itself must not be copied.
//
// Futures come from package executor, or from New, Value and Error. The zero
// Future is a valid one that never finishes.
type Future[T any] struct{ cell cell.Cell[T] }

// New makes a promise: a future, and the function that resolves it, with a value
// if the error is nil. resolve is true if this call did it, and false, without any
// effect, if the future was resolved or cancelled before.
func New[T any]() (f *Future[T], resolve func(T, error) bool) {
	f = new(Future[T])
	return f, f.resolve
}

func (f *Future[T]) resolve(v T, err error) bool {
	c := &f.cell
	if !c.Claim() {
		return false
	}
	if err != nil {
		var w cell.Wave
		c.FailClaimed(err, &w)
		w.Run()
		return true
	}
	c.Set(v)
	if c.FinishClaimed() {
		c.Fire()
	}
	c.Finished()
	return true
}

// Value makes a finished future.
func Value[T any](v T) *Future[T] {
	f := new(Future[T])
	f.resolve(v, nil)
	return f
}

// Error makes a failed future. err must not be nil.
func Error[T any](err error) *Future[T] {
	if err == nil {
		err = errors.New("futures: Error was called with a nil error; use Value for a value")
	}
	f := new(Future[T])
	var zero T
	f.resolve(zero, err)
	return f
}

// Result waits until the future is resolved, brings the value home if it is
// elsewhere, and returns it, or the future's error. If ctx ends before that,
// Result returns an error that is ctx.Err() and its cause, and the future goes on.
// The value is shared by all who ask for it.
//
// A task that calls Result with its own ctx lends its slot while it waits.
func (f *Future[T]) Result(ctx context.Context) (T, error) {
	if v, ok := f.cell.Get(); ok {
		return v, nil
	}
	if err := f.cell.Wait(ctx); err != nil {
		var zero T
		return zero, err
	}
	if v, ok := f.cell.Get(); ok {
		return v, nil
	}
	return f.result(ctx)
}

// result is Result of a future that is resolved, where it is not simply a value that
// is here.
func (f *Future[T]) result(ctx context.Context) (v T, err error) {
	if err := f.cell.Err(); err != nil {
		return v, err
	}
	if !f.cell.Pin() {
		// A task gets what it was submitted with, released or not.
		if task := cell.TaskOf(ctx); task == nil || !task.Needs(&f.cell.Core) {
			return v, ErrReleased
		}
	} else {
		defer f.cell.Unpin()
	}
	if err := f.cell.Bring(ctx); err != nil {
		return v, err
	}
	v, _ = f.cell.GetPinned()
	return v, nil
}

// Wait is Result without the value: it moves no data.
func (f *Future[T]) Wait(ctx context.Context) error {
	if err := f.cell.Wait(ctx); err != nil {
		return err
	}
	return f.cell.Err()
}

// Done returns a channel that is closed when the future is resolved. A task that
// receives from it keeps its slot.
func (f *Future[T]) Done() <-chan struct{} { return f.cell.Done() }

// State is where the future stands.
func (f *Future[T]) State() State { return State(f.cell.State()) }

// Err is at once: the future's error if it Failed or was Cancelled, else nil.
func (f *Future[T]) Err() error { return f.cell.Err() }

// Cancel resolves the future with a *CancelError around cause, which may be nil,
// and reports true; or false, without any effect, if it was resolved before. A
// pending task does not start; a running one finds its ctx ended, with cause, and
// holds its slot until its function returns. What depends on the future is
// cancelled with it, what it depends on is not.
func (f *Future[T]) Cancel(cause error) bool { return cancel(&f.cell.Core, cause) }

func cancel(c *cell.Core, cause error) bool {
	if c.Settled() {
		return false
	}
	var w cell.Wave
	if cause == nil {
		cause = context.Canceled
	}
	ok := c.Cancel(newCancelError(cause), cause, &w)
	w.Run()
	return ok
}

// OnDone has fn called, in a goroutine of its own and never on a slot, when the
// future is resolved, or now if it is. stop keeps that from happening, and reports
// whether it did, as with context.AfterFunc.
func (f *Future[T]) OnDone(fn func(*Future[T])) (stop func() bool) {
	return onDone(&f.cell.Core, func() { fn(f) })
}

// Key is the key that the task was submitted with, or "".
func (f *Future[T]) Key() string {
	if o := f.cell.Owner; o != nil {
		return o.Key()
	}
	return ""
}

// Release drops the value, wherever it is, or will drop it when it comes; Result
// then gives ErrReleased. Tasks that were submitted with the future as an input
// still get it. State and Err are unaffected. A future that is garbage collected
// is released thereby.
func (f *Future[T]) Release() { f.cell.Release() }

// String says how the future stands, and what it waits for: "pending: behind 12",
// "pending: for 3 inputs", "running", "finished", "failed: unexpected EOF".
func (f *Future[T]) String() string { return describe(&f.cell.Core) }

func describe(c *cell.Core) string {
	s := c.State()
	switch {
	case s == cell.Failed || s == cell.Cancelled:
		return fmt.Sprintf("%v: %v", State(s), c.Err())
	case s == cell.Finished && c.Released():
		return "finished: released"
	case !s.Done() && c.Owner != nil:
		if why := c.Owner.Why(); why != "" {
			return State(s).String() + ": " + why
		}
	}
	return State(s).String()
}
