package executor

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// Map has ex call fn for each of items, and returns the batch of the results at once;
// or, if ex bounds what is pending, when all items have found room. Results are in the
// order of items, whatever order things run in. ctx is every item's parent.
//
// Items run in chunks whose length the library finds, from what they cost, and which
// fn cannot tell; WithChunkSize sets it. All items of a chunk receive one ctx, until an
// item makes use of it: then it ends with the item. By default the first failure
// cancels what has not started; WithKeepGoing runs everything. An item that panics has
// failed, and takes nothing with it. With WithRetries, WithTimeout or WithBackoff each
// item is a task of its own.
//
// The batch has failed, as a future would have, with ErrClosed, ErrConfig,
// ErrNotRegistered, ErrNotEncodable or ErrFull. If items hold futures, it starts when
// all of those are done. items belongs to the batch until it is over.
func Map[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), items []A, opts ...Option) *futures.Batch[R] {
	if fn == nil {
		panic("executor: Map of a nil function")
	}
	j := &mapJob[A, R]{fn: fn, items: items}
	j.sheet = futures.SheetOf(&j.batch)
	j.sheet.N = len(items)
	j.core = &j.sheet.Core
	j.base = attach(ctx, ex, j.core, j)
	j.more = newMore(j.core, functionOf(fn))
	j.more.special, j.more.whole = true, true
	o, err := gather(opts, "Map", forMap)
	if o != nil {
		j.more.opts = o
	}
	j.submit(ctx, err)
	return &j.batch
}

// A mapJob is a Map that was submitted.
type mapJob[A, R any] struct {
	crew
	batch futures.Batch[R]
	sheet *cell.Sheet[R] // its inside
	fn    func(context.Context, A) (R, error)
	items []A
	out   []R             // the sheet's, which may be released meanwhile; nil once it is over
	ready bool            // the items could be run
	span  *pool.Span      // that runs the items
	lease *Lot            // or what the backend leases them from
	tasks []mapTask[A, R] // or one for each
	left  atomic.Int64    // tasks that have not ended

	admitted int // items that found room and have not started. Guarded by mu
}

func (j *mapJob[A, R]) submit(ctx context.Context, err error) {
	b, m := j.base, j.more
	b.submitted.Add(int64(len(j.items)))
	b.tell(eventSubmitted, j.event(len(j.items)))
	switch {
	case j.core.Ended():
		return
	case b.closed.Load():
		err = ErrClosed
	case err == nil && b.travels():
		err = j.pack()
	}
	if err != nil {
		j.fail(err)
		return
	}
	if len(j.items) == 0 {
		j.finish()
		return
	}
	j.ready = true
	j.out = make([]R, len(j.items))
	j.sheet.Out = j.out
	j.sheet.KeepGoing = m.opts.has(givenKeepGoing)
	j.sheet.Plan = j.plan
	inputs := references(b, &j.items)
	m.watch.On = m
	if !j.core.Scope.Watch(&m.watch) {
		j.core.Ended()
		return
	}
	begin, block := j.start(ctx, inputs != nil)
	if inputs == nil {
		begin()
	} else {
		m.ready = begin
		m.await(inputs)
	}
	block()
}

func (j *mapJob[A, R]) fail(err error) {
	if fail(j.core, err) {
		j.more.settled()
	}
}

// start prepares the run of the items: as a span, where the backend has slots for one,
// else as tasks. begin has them run when the inputs are there; block then blocks until
// they have all found room, or the batch is over.
func (j *mapJob[A, R]) start(ctx context.Context, waits bool) (begin, block func()) {
	o := j.more.opts
	bounded := j.base.room.limit > 0
	nothing := func() {}
	host, ok := j.base.backend.(spanHost)
	if leaser, far := j.base.backend.(Leaser); far && !bounded && !o.has(needsAttempt) {
		j.mu.Lock()
		j.lease = &Lot{job: j}
		j.mu.Unlock()
		return func() {
			leaser.Lease(j.lease)
			if j.core.Settled() { // whoever did that may have come before the lease
				leaser.Stop(j.lease, j.core.Err())
			}
		}, nothing
	}
	switch {
	case (!ok || o.has(needsAttempt)) && bounded && waits:
		return func() { go j.startTasks(ctx) }, nothing // which blocks, where nobody may
	case !ok || o.has(needsAttempt):
		return func() { j.startTasks(ctx) }, nothing
	}
	s := host.newSpan(j, len(j.items), o.chunk)
	s.Readers(&j.sheet.Readers)
	block = nothing
	if bounded {
		s.Limit(0)
		block = func() { j.admit(ctx, s) }
	}
	j.mu.Lock()
	j.span = s
	j.mu.Unlock()
	return func() {
		if !host.pushSpan(s, o.priority, 0) {
			j.fail(ErrClosed)
		} else if j.core.Settled() { // whoever did that may have come before the span
			j.stop()
		}
	}, block
}

// A spanHost is a backend with slots for a span: Local.
type spanHost interface {
	newSpan(body pool.Body, n, fixed int) *pool.Span
	pushSpan(s *pool.Span, prio, fresh int) bool
}

// admit lets items start as there is room for them.
func (j *mapJob[A, R]) admit(ctx context.Context, s *pool.Span) {
	for n := len(j.items); n > 0; {
		got, err := j.base.room.enter(ctx, n, j.more.opts)
		if err != nil {
			if !j.core.Ended() {
				j.fail(err)
			}
			j.stop()
			return
		}
		j.mu.Lock()
		stopped := j.stopped
		if !stopped {
			j.admitted += got
		}
		j.mu.Unlock()
		if stopped {
			j.base.room.leave(got)
			return
		}
		s.Admit(got)
		n -= got
	}
}

// began gives back the room of an item.
func (j *mapJob[A, R]) began() {
	j.mu.Lock()
	some := j.admitted > 0
	if some {
		j.admitted--
	}
	j.mu.Unlock()
	if some {
		j.base.room.leave(1)
	}
}

// stop keeps what has not started from starting.
func (j *mapJob[A, R]) stop() {
	j.mu.Lock()
	if j.stopped {
		j.mu.Unlock()
		return
	}
	j.stopLocked()
	room := j.admitted
	j.admitted = 0
	s, tasks, lease := j.span, j.tasks, j.lease
	j.mu.Unlock()
	j.base.room.leave(room)
	if s != nil {
		s.Stop()
	}
	if lease != nil {
		j.base.backend.(Leaser).Stop(lease, nil)
	}
	for i := range tasks {
		tasks[i].withdraw()
	}
}

// over settles the batch, when nothing runs and nothing is left to.
func (j *mapJob[A, R]) over() {
	if i, err := j.sheet.Failure(); err != nil && !j.sheet.KeepGoing {
		j.fail(&futures.ItemError{Index: i, Err: err})
	} else if !j.core.Settled() {
		j.finish()
	}
	j.items, j.fn, j.out = nil, nil, nil
}

func (j *mapJob[A, R]) finish() {
	j.core.Start(0)
	won, fire := j.core.Finish()
	if fire {
		j.core.Fire()
	}
	if won {
		j.more.settled()
	}
}

// report counts items that have run, and tells who waits for them.
func (j *mapJob[A, R]) report(r *pool.Runner, lo, hi int) {
	j.sheet.Ran(lo, hi, func(good, bad int) {
		j.base.count(r, int64(good))
		j.base.failed.Add(int64(bad))
	})
}

// itemFailed records a failure. It is true if nothing more is to start.
func (j *mapJob[A, R]) itemFailed(i int, err error) (stop bool) {
	j.sheet.FailItem(i, plainError(err))
	if j.sheet.KeepGoing {
		return false
	}
	j.stop()
	return true
}

// plan is Batch.Plan, near.
func (j *mapJob[A, R]) plan() cell.Plan {
	j.mu.Lock()
	s, tasks, lease := j.span, len(j.tasks), j.lease
	j.mu.Unlock()
	if lease != nil {
		return cell.Plan(j.base.backend.(Leaser).Plan(lease))
	}
	if s == nil {
		return cell.Plan{Chunks: tasks, ItemsPerChunk: min(1, tasks)}
	}
	claims, item, items := s.Costs()
	p := cell.Plan{Chunks: claims, ItemCost: item, Slice: pool.ClaimTime, MessageCost: pool.ClaimCost}
	if claims > 0 {
		p.ItemsPerChunk = items / claims
		work := float64(item) * float64(items)
		p.Efficiency = work / (work + float64(claims)*float64(pool.ClaimCost))
	}
	return p
}

// The batch's owner.

func (j *mapJob[A, R]) Run(any)     {}
func (j *mapJob[A, R]) Key() string { return "" }
func (j *mapJob[A, R]) Released()   {}
func (j *mapJob[A, R]) forget()     {}

// needs reports whether c is an input of some item.
func (j *mapJob[A, R]) needs(c *cell.Core) bool { return j.more.needs(c) }

// Why says how far the batch has come.
func (j *mapJob[A, R]) Why() string {
	if n := int(j.more.missing.Load()); n > 0 {
		return plural("for", n, "input")
	}
	return fmt.Sprintf("%d of %d items done", j.sheet.Progress(), j.sheet.N)
}

// Settling counts what did not run, before the outcome can be seen.
func (j *mapJob[A, R]) Settling(from, to cell.State) {
	done := j.sheet.Close()
	rest := int64(j.sheet.N - done)
	if to == cell.Failed && !j.ready {
		j.base.failed.Add(rest)
	} else {
		j.base.cancelled.Add(rest)
	}
}

// Cancelled ends what runs, and keeps the rest from starting.
func (j *mapJob[A, R]) Cancelled(_ cell.State, cause error, w *cell.Wave) {
	j.end(cause, w)
	j.stop()
	j.mu.Lock()
	tasks, lease := j.tasks, j.lease
	j.mu.Unlock()
	for i := range tasks {
		cancelWith(tasks[i].core(), cause)
	}
	if lease != nil {
		j.base.backend.(Leaser).Stop(lease, cause)
	}
	j.more.settled()
}

func (j *mapJob[A, R]) poolSpan() *pool.Span {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.span
}
