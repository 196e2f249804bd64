package executor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// runAttempt runs one attempt of a task that has special needs: a timeout, retries,
// an observer, a bound on what is pending, arguments that travel. r is nil if the
// backend has no pool.
func runAttempt(t work, c *cell.Core, m *more, r *pool.Runner) {
	slot := 0
	if r != nil {
		slot = r.SlotID()
	}
	if m.run != nil {
		m.run.look()
	}
	if !c.Start(slot) {
		return
	}
	m.base.leaveRoom(m)
	n := m.attempt.Add(1)
	a := &m.first
	if n > 1 {
		a = &Attempt{}
		a.init(c, a, hostOf(c.Scope))
	}
	a.info, a.runner = m.info, r
	if !m.begin(a) { // cancelled in between, by who may have taken a for running
		attemptDone(t, c, m, a, r, nil)
		return
	}
	if m.base.cfg.Strict || !m.base.near {
		a.parent = detached{a.parent}
	}
	stop := func() bool { return true }
	if d := m.opts.timeout; d > 0 {
		stop = context.AfterFunc(a.limit(d), func() { m.timedOut(a) })
	}
	m.base.observe(eventStarted, m, nil)
	if m.run != nil {
		m.run.started()
	}
	tag(r, m.fn.id.code, m.name)
	err := t.invoke(a)
	if stop(); m.opts.timeout > 0 {
		m.timedOut(a)
	}
	attemptDone(t, c, m, a, r, err)
}

// begin makes a the current attempt. It is false if the task was cancelled before
// its canceller could see a.
func (m *more) begin(a *Attempt) bool {
	m.mu.Lock()
	m.current = a
	m.mu.Unlock()
	return !m.core.State().Done()
}

// limit gives a a deadline. It returns the ctx that has it.
func (a *Attempt) limit(d time.Duration) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	inner, cancel := context.WithTimeout(a.parent, d)
	a.inner, a.cancel = context.WithCancelCause(inner)
	stop := a.cancel
	a.cancel = func(cause error) { stop(cause); cancel() }
	return a.inner
}

// errTimeout is the error of an attempt that took longer than WithTimeout allows.
type errTimeout struct{ limit time.Duration }

func (e *errTimeout) Error() string {
	return fmt.Sprintf("executor: the attempt took longer than its timeout of %v", e.limit)
}
func (e *errTimeout) Unwrap() error { return context.DeadlineExceeded }

// timedOut ends an attempt if it took too long. If it was the last, the task has
// failed, and holds its slot until the function returns; else the next one waits
// for that.
func (m *more) timedOut(a *Attempt) {
	if !errors.Is(a.inner.Err(), context.DeadlineExceeded) || a.parent.Err() != nil {
		return // it has ended for another reason, or not yet
	}
	m.mu.Lock()
	if m.current != a || a.hasReturned() {
		m.mu.Unlock()
		return
	}
	a.late = true
	m.mu.Unlock()
	var w cell.Wave
	if int(m.attempt.Load()) > m.opts.retries && m.core.Fail(&errTimeout{m.opts.timeout}, &w) {
		m.base.abandoned.Add(1)
		m.settled()
	}
	a.end(context.DeadlineExceeded, &w)
	w.Run()
}

func (a *Attempt) hasReturned() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.back
}

// attemptDone is what follows when the function has returned err, or panicked.
func attemptDone(t work, c *cell.Core, m *more, a *Attempt, r *pool.Runner, err error) {
	m.mu.Lock()
	m.current = nil
	late := a.late
	m.mu.Unlock()
	a.returned(r)
	if late {
		err = &errTimeout{m.opts.timeout}
	}
	switch {
	case c.Ended() || c.Settled():
		m.base.abandoned.Add(-1)
		m.release()
		m.forget()
	case err == nil:
		m.forget()
		t.finish(r)
	default:
		var permanent *permanentError
		last := errors.As(err, &permanent) || int(m.attempt.Load()) > m.opts.retries
		if !last && m.again(c) {
			return
		}
		m.forget()
		if fail(c, err) {
			m.settled()
		} else {
			m.base.abandoned.Add(-1)
			m.release()
		}
	}
}

// again has the task run once more, after its backoff. It is false if it cannot.
func (m *more) again(c *cell.Core) bool {
	var wait time.Duration
	if d := m.opts.backoff; d > 0 {
		limit := d << min(m.attempt.Load()-1, 30)
		if limit>>min(m.attempt.Load()-1, 30) != d {
			limit = 1 << 62 // it has overflowed
		}
		wait = rand.N(limit)
	}
	c.Hold()
	m.base.hold(&m.held, c)
	if !c.Again() {
		m.base.unhold(&m.held)
		return false
	}
	m.base.retried.Add(1)
	if wait == 0 {
		m.enqueue(c)
		return true
	}
	m.mu.Lock()
	m.timer = time.AfterFunc(wait, func() { m.enqueue(c) })
	m.mu.Unlock()
	if m.base.shut.Load() {
		cancelWith(c, ErrClosed) // Close may have looked before
	}
	return true
}

// enqueue gives a held task to the backend.
func (m *more) enqueue(c *cell.Core) {
	if !m.base.unlist(&m.held) {
		return // it was settled
	}
	c.Unhold()
	m.base.backend.Enqueue((*Call)(c))
	m.base.landed()
}

// settled cleans up after a task that has an outcome.
func (m *more) settled() {
	if !m.over.CompareAndSwap(false, true) {
		return
	}
	m.watch.Stop()
	m.base.leaveRoom(m)
	m.cleanUp()
	if !m.whole {
		m.base.observe(eventFinished, m, m.core.Err())
	}
}

// cleanUp takes a task that has an outcome out of wherever it waits, and lets go of
// its inputs, unless its function still runs, or its Request is being made: then that is
// done afterwards.
func (m *more) cleanUp() {
	m.base.unhold(&m.held)
	m.unhook()
	m.mu.Lock()
	if m.timer != nil {
		m.timer.Stop()
	}
	needed := m.current != nil || m.describing
	m.mu.Unlock()
	if !needed {
		m.release()
		m.forget()
	}
}

// forget drops the argument, once.
func (m *more) forget() {
	if m.forgotten.CompareAndSwap(false, true) {
		m.core.Owner.(interface{ forget() }).forget()
	}
}

// cancelWith cancels a task for a reason of the executor's.
func cancelWith(c *cell.Core, cause error) {
	var w cell.Wave
	c.Cancel(cell.CancelError(cause), cause, &w)
	w.Run()
}

// panicError makes the error of a panic, or of a Goexit.
func panicError(recovered any, stack []byte) error {
	if recovered == nil && stack == nil {
		return futures.ErrGoexit
	}
	return &futures.PanicError{Value: recovered, Stack: trimStack(stack)}
}
