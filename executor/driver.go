package executor

import (
	"context"
	"errors"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// A Store is a backend that can have values elsewhere.
type Store interface {
	// Fetch brings the encoding of a value. It blocks.
	Fetch(ctx context.Context, stored any) ([]byte, error)
	// Drop is told that nobody needs a value any more. It does not block.
	Drop(stored any)
}

// Priority is the call's.
func (c *Call) Priority() int {
	if m := c.work().peek(); m != nil {
		return m.opts.priority
	}
	return 0
}

// Over reports whether the call has its outcome, whatever that is.
func (c *Call) Over() bool { return c.core().Settled() }

// Cancelled reports whether the call was cancelled.
func (c *Call) Cancelled() bool { return c.core().State() == cell.Cancelled }

// Err is the call's error, or nil.
func (c *Call) Err() error { return c.core().Err() }

// Tag is what SetTag has set, for the backend's own use; at first nil.
func (c *Call) Tag() any {
	w, ok := c.Owner.(work)
	if !ok {
		return nil // a batch, or a share of a run
	}
	m := w.peek()
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tag
}

// SetTag sets the Tag.
func (c *Call) SetTag(tag any) {
	m := c.work().more()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tag = tag
}

// Begin is told that the function has started, on a worker. It is false if the call
// was over before, and counts as abandoned then, until its Deliver.
func (c *Call) Begin(worker string) bool {
	m := c.work().more()
	m.where.Store(&worker)
	if m.run != nil {
		m.run.look()
	}
	if !c.core().Start(0) {
		if c.core().State() != cell.Running && m.gone.CompareAndSwap(false, true) {
			m.base.abandoned.Add(1)
		}
		return false
	}
	m.base.leaveRoom(m)
	m.attempt.Add(1)
	m.base.observe(eventStarted, m, nil)
	if m.run != nil {
		m.run.started()
	}
	if f, ok := c.Owner.(*Foreign); ok {
		f.begun(f)
	}
	return true
}

// begun is Begin for an outcome that comes without one.
func (c *Call) begun(worker string) {
	if c.core().Startable() {
		c.Begin(worker)
	}
}

// Deliver ends the call with its value, encoded, and the values of the futures in it.
func (c *Call) Deliver(worker string, data []byte, refs []Source) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		return
	}
	if err := w.deliver(m, data, refs); err != nil {
		c.ended(w, m, err)
		return
	}
	w.finish(nil)
}

// DeliverStored ends the call with a value that stays where it is.
func (c *Call) DeliverStored(worker string, stored any) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		m.base.backend.(Store).Drop(stored)
		return
	}
	m.stored = stored
	m.base.count(nil, 1)
	won, fire := c.core().FinishAway()
	if !won {
		m.base.count(nil, -1)
		m.base.backend.(Store).Drop(stored)
		c.core().Outcome() // which another is about to write
		c.returned(m)
		return
	}
	if fire {
		c.core().Fire()
	}
	m.settled()
	w.(interface{ finished() }).finished()
}

// DeliverError ends the attempt with an error. The call is enqueued again if it has
// attempts left, unless the error is said to be the last.
func (c *Call) DeliverError(worker string, err error, last bool) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		return
	}
	if last {
		err = &permanentError{err}
	}
	c.ended(w, m, err)
}

// Late ends a call whose last attempt took longer than its timeout, while its function
// still runs. It is false if there will be another attempt.
func (c *Call) Late(worker string, err error) bool {
	c.begun(worker)
	m := c.work().more()
	if int(m.attempt.Load()) <= m.opts.retries {
		return false
	}
	var wave cell.Wave
	if c.core().Fail(err, &wave) {
		if m.gone.CompareAndSwap(false, true) {
			m.base.abandoned.Add(1)
		}
		m.settled()
	}
	wave.Run()
	return true
}

// Lost enqueues a call again that was lost with its worker. It is false if the call is
// over.
func (c *Call) Lost() bool {
	m := c.work().more()
	m.base.lost.Add(1)
	if c.returned(m) {
		return false
	}
	core := c.core()
	if core.State() == cell.Running {
		core.Again()
		m.base.retried.Add(1)
	}
	if core.Settled() {
		return false
	}
	return true
}

// Sent is told that the call was sent to where it may start, and Gone that it is not
// there any more. Sent may be called with locks held.
func (c *Call) Sent() {
	if s, ok := c.Owner.(interface{ sent() }); ok {
		s.sent()
	}
}

// Gone is told that the function of the call does not run, and will not before the
// next Sent.
func (c *Call) Gone() {
	if s, ok := c.Owner.(interface{ returned() }); ok {
		s.returned()
	}
}

// CancelPending cancels the call if it has not begun.
func (c *Call) CancelPending() {
	var w cell.Wave
	c.core().CancelPending(cell.CancelError(nil), &w)
	w.Run()
}

// A Withdrawer is a backend that takes calls back which have not begun: it has
// CancelPending called then.
type Withdrawer interface{ Withdraw(c *Call) }

// Fail ends the call with an error, whatever attempts it has left.
func (c *Call) Fail(err error) {
	m := c.work().more()
	if fail(c.core(), err) {
		m.settled()
	}
}

// Returned is told that the function of a call that was over has returned, or will
// never start.
func (c *Call) Returned() { c.returned(c.work().more()) }

// returned is true if the call is over.
func (c *Call) returned(m *more) bool {
	core := c.core()
	if !core.Ended() && !core.Settled() {
		return false
	}
	if m.gone.CompareAndSwap(true, false) {
		m.base.abandoned.Add(-1)
	}
	m.release()
	m.forget()
	return true
}

// ended is the end of an attempt that failed.
func (c *Call) ended(w work, m *more, err error) {
	var permanent *permanentError
	last := errors.As(err, &permanent) || int(m.attempt.Load()) > m.opts.retries
	if !last && m.again(c.core()) {
		return
	}
	m.forget()
	if fail(c.core(), err) {
		m.settled()
	} else {
		c.returned(m)
	}
}

// Cancel cancels the call for a reason of the backend's.
func (c *Call) Cancel(cause error) { cancelWith(c.core(), cause) }

// SetUp runs the functions of RegisterSetup, the first time, for a worker.
func SetUp(ctx context.Context, worker string, data []byte) error { return setUp(ctx, worker, data) }

// PackError encodes an error of a task, so that UnpackError makes one again that means
// the same (G24).
func PackError(err error) []byte {
	w := packError(err)
	data, cerr := codec.Append(nil, &w)
	if cerr != nil {
		data, _ = codec.Append(nil, &wireError{Text: w.Text, Type: w.Type})
	}
	return data
}

// UnpackError makes an error again, of a task that ran on worker.
func UnpackError(data []byte, worker string) error {
	var w wireError
	if err := codec.Decode(data, &w); err != nil {
		return &TaskError{Type: "unknown", Message: "an error that could not be read: " + err.Error(), Worker: worker}
	}
	return unpackError(w, worker)
}
