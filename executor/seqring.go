package executor

import (
	"context"
	"iter"
	"runtime/trace"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// A seqRing is an ordered stream whose items have no special needs: they lie in a ring,
// which slots run as a span that grows as the loop puts more into it. The loop and the
// slots share two words: the span's limit, and the state of the first item that was not
// yielded. Locks and wakeups come only where one side has nothing to do.
type seqRing[A, R any] struct {
	crew
	own   cell.Core // of the whole, which is Pending, Running, and at the end Cancelled
	s     *stream[A, R]
	span  *pool.Span
	cells []seqCell[A, R] // a power of two
	gate  atomic.Pointer[seqGate]

	head, tail int // the items that are in it: the loop's
}

// A seqCell is the place of one item in the window.
type seqCell[A, R any] struct {
	arg   A
	val   R
	err   error
	state atomic.Uint32
}

const (
	seqEmpty     = iota
	seqWaiting   // for a slot, or for its function to return
	seqDone      // val, or err, is there
	seqCancelled // with the rest
)

// A seqGate opens when item i is done.
type seqGate struct {
	cell.Core
	i int
}

// newRing is nil if the stream is not one for a ring.
func newRing[A, R any](s *stream[A, R]) *seqRing[A, R] {
	host, ok := s.base.backend.(spanHost)
	if !ok || !s.plain || s.o.has(givenUnordered) {
		return nil
	}
	n := 1
	for n < s.window {
		n *= 2
	}
	q := &seqRing[A, R]{s: s, cells: make([]seqCell[A, R], n)}
	q.core, q.base = &q.own, s.base
	q.own.Owner, q.own.Scope = q, s.scope
	q.more = newMore(q.core, functionOf(s.fn))
	q.span = host.newSpan(q, pool.Endless, 0)
	q.span.Limit(0)
	if !host.pushSpan(q.span, 0, 0) {
		cancelWith(q.core, ErrClosed)
	}
	return q
}

func (q *seqRing[A, R]) at(i int) *seqCell[A, R] { return &q.cells[i&(len(q.cells)-1)] }

// run is the loop.
func (q *seqRing[A, R]) run(items iter.Seq[A]) {
	defer q.close()
	for item := range items {
		if q.core.Ended() {
			q.s.ended()
			return
		}
		if q.base.closed.Load() || q.core.Over() {
			if !q.refuse() {
				return
			}
			continue
		}
		q.put(item)
		for q.head < q.tail {
			if q.at(q.head).state.Load() != seqDone && q.tail-q.head < q.s.window && !q.core.Over() {
				break
			}
			if !q.yieldFirst() {
				return
			}
		}
	}
	q.yieldAll()
}

// yieldAll yields what is left. It is false if the loop is over.
func (q *seqRing[A, R]) yieldAll() bool {
	for q.head < q.tail {
		if !q.yieldFirst() {
			return false
		}
	}
	return true
}

// refuse yields what came before an item that comes too late, and that it did. It is
// false if the loop is over.
func (q *seqRing[A, R]) refuse() bool {
	if !q.yieldAll() {
		return false
	}
	q.base.submitted.Add(1)
	q.base.failed.Add(1)
	i := q.tail
	q.head, q.tail = i+1, i+1
	return q.yieldError(i, ErrClosed)
}

func (q *seqRing[A, R]) yieldError(i int, err error) bool {
	var none R
	return q.s.yield(none, &futures.ItemError{Index: i, Err: err}) && q.s.o.has(givenKeepGoing)
}

// put lets the slots have an item.
func (q *seqRing[A, R]) put(item A) {
	c := q.at(q.tail)
	q.tail++
	q.base.submitted.Add(1)
	c.arg = item
	c.state.Store(seqWaiting)
	q.span.Extend(q.tail)
	if q.core.Over() { // whoever ended it may not have seen the item
		q.sweep()
	}
}

// yieldFirst waits for the first item and yields it. It is false if the loop is over.
func (q *seqRing[A, R]) yieldFirst() bool {
	i, c := q.head, q.at(q.head)
	if c.state.Load() == seqWaiting && !q.waitFor(i, c) {
		return q.s.ended()
	}
	q.head++
	if c.state.Load() == seqDone {
		v, err := c.val, c.err
		var none R
		c.val, c.err = none, nil
		if err == nil {
			return q.s.yield(v, nil)
		}
		if q.s.ctx.Err() == nil {
			return q.yieldError(i, err)
		}
	} else if q.cancelled(c); q.s.ctx.Err() == nil {
		q.core.Outcome()
		return q.yieldError(i, q.core.Err()) // the cell may still be somebody's
	}
	return q.s.ended()
}

// waitFor waits until item i is not waiting any more. It is false if ctx has ended.
func (q *seqRing[A, R]) waitFor(i int, c *seqCell[A, R]) bool {
	g := &seqGate{i: i}
	g.Owner, g.Scope = gateOwner{q.span}, q.s.scope
	q.gate.Store(g)
	if q.core.Over() {
		q.sweep()
	}
	if c.state.Load() != seqWaiting {
		q.gate.Store(nil)
		return true
	}
	if g.Wait(q.s.ctx) != nil || g.Err() != nil {
		q.gate.Store(nil)
		return false
	}
	return true
}

// A gateOwner says what a gate is waited for, so that the slot that is lent goes there.
type gateOwner struct{ span *pool.Span }

func (g gateOwner) poolSpan() *pool.Span                  { return g.span }
func (gateOwner) Run(any)                                 {}
func (gateOwner) Settling(cell.State, cell.State)         {}
func (gateOwner) Cancelled(cell.State, error, *cell.Wave) {}
func (gateOwner) Key() string                             { return "" }
func (gateOwner) Why() string                             { return "" }
func (gateOwner) Released()                               {}

// close cancels what is left, and returns when what had started has ended.
func (q *seqRing[A, R]) close() {
	q.cancel(context.Canceled)
	q.sweep()
	q.wait(q.s.ctx)
}

// sweep counts what has not run as cancelled.
func (q *seqRing[A, R]) sweep() {
	for i := range q.cells {
		q.cancelled(&q.cells[i])
	}
}

func (q *seqRing[A, R]) cancelled(c *seqCell[A, R]) {
	if c.state.CompareAndSwap(seqWaiting, seqCancelled) {
		q.base.cancelled.Add(1)
	}
}

// Do runs items lo to hi-1.
func (q *seqRing[A, R]) Do(r *pool.Runner, lo, hi int) int {
	a, _ := r.Local.(*Attempt)
	if a == nil {
		a = q.join(r)
	}
	if q.core.Ended() || a.used.Load()&usedStop != 0 {
		return lo
	}
	if trace.IsEnabled() {
		defer trace.StartRegion(a, q.more.name()).End()
	}
	signal := r.Signal()
	for i := lo; i < hi; i++ {
		r.At = i
		c := q.at(i)
		v, err := q.s.fn(a, c.arg)
		if err != nil {
			q.failed(i, err)
		} else {
			c.val = v
			r.Add(countFinished, 1) // before anybody can see that it has
			if !q.done(i, c) {
				r.Add(countFinished, -1)
			}
		}
		if a.used.Load() != 0 {
			if a = q.renew(r, a); a == nil {
				return i + 1
			}
		}
		if signal.Load() != 0 {
			return i + 1
		}
	}
	return hi
}

// done publishes what is in the cell. It is false if the item was cancelled.
func (q *seqRing[A, R]) done(i int, c *seqCell[A, R]) bool {
	if !c.state.CompareAndSwap(seqWaiting, seqDone) {
		return false
	}
	if g := q.gate.Load(); g != nil && g.i == i && q.gate.CompareAndSwap(g, nil) {
		open(&g.Core, nil)
	}
	return true
}

func (q *seqRing[A, R]) failed(i int, err error) {
	if q.core.Ended() || q.core.Over() {
		return
	}
	c := q.at(i)
	c.err = plainError(err)
	q.base.failed.Add(1)
	if !q.done(i, c) {
		q.base.failed.Add(-1)
	}
}

// Broke records that an item panicked or left by Goexit.
func (q *seqRing[A, R]) Broke(_ *pool.Runner, at int, recovered any, stack []byte) {
	q.failed(at, panicError(recovered, stack))
}

func (q *seqRing[A, R]) Ran(*pool.Runner, int, int) {}
func (q *seqRing[A, R]) Drained()                   {}

// The owner of the whole.

func (q *seqRing[A, R]) Run(any)                         {}
func (q *seqRing[A, R]) Settling(cell.State, cell.State) { q.sweep() }
func (q *seqRing[A, R]) Key() string                     { return "" }
func (q *seqRing[A, R]) Why() string                     { return "" }
func (q *seqRing[A, R]) Released()                       {}
func (q *seqRing[A, R]) needs(*cell.Core) bool           { return false }

// Cancelled ends what runs, keeps the rest from starting, and wakes the loop.
func (q *seqRing[A, R]) Cancelled(_ cell.State, cause error, w *cell.Wave) {
	q.mu.Lock()
	q.stopLocked()
	q.mu.Unlock()
	q.end(cause, w)
	q.span.Stop()
	if g := q.gate.Swap(nil); g != nil {
		g.Open(w)
	}
}
