package remote

import (
	"fmt"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// done is the end of a call at the worker.
func (w *worker) done(d *dec) error {
	id := d.int()
	outcome := d.byte()
	if outcome == outcomeLease {
		return w.leaseDone(id, d)
	}
	if at := w.placeOf(id); at != 0 {
		w.ex.mu.Lock()
		w.plainAt(id, at) // its error is too large for a record
		w.ex.mu.Unlock()
	}
	r := ret{outcome: outcome, took: time.Duration(d.int())}
	switch outcome {
	case outcomeValue:
		r.refs = d.sources(w.in, maxSourceDepth)
	case outcomeStored:
		r.size = d.int()
	case outcomeError:
		r.last = d.byte() != 0
	}
	if r.data = d.b; d.bad || outcome > outcomeNone {
		return errMalformed
	}
	return w.ended(id, r)
}

// A ret is how a call has ended at its worker.
type ret struct {
	outcome byte
	took    time.Duration
	data    []byte // the value, or the error
	refs    []executor.Source
	size    int64 // of a value that stays there
	last    bool  // another attempt is of no use
}

// note takes note of what a call took. mu is held.
func (ex *Executor) note(took time.Duration) {
	if ex.took == 0 {
		ex.took = float64(took)
	}
	ex.took += (float64(took) - ex.took) / 16
	if ahead := aheadFor(ex.took); ahead != ex.ahead {
		ex.ahead, ex.full = ahead, false
	}
}

// ended ends a call.
func (w *worker) ended(id int64, r ret) error {
	outcome := r.outcome
	ex := w.ex
	ex.mu.Lock()
	e := w.out[id]
	if e == nil {
		ex.mu.Unlock()
		return nil // it was taken for lost
	}
	ex.leave(w, e)
	w.finished++
	if r.took > 0 {
		ex.note(r.took)
	}
	if outcome == outcomeValue {
		ex.received += int64(len(r.data))
	}
	if e.call == nil {
		w.remade(e, outcome, r.size, r.data)
		ex.mu.Unlock()
		return nil
	}
	if outcome == outcomeNone && !e.gone && w.out != nil {
		unwanted := e.unwanted
		ex.busy++ // until after
		ex.mu.Unlock()
		e.call.Gone()
		if unwanted {
			e.call.CancelPending()
		}
		if e.call.Over() {
			ex.mu.Lock()
			ex.remove(e)
			ex.mu.Unlock()
			e.call.Returned()
		} else { // it was taken back
			ex.mu.Lock()
			closed := ex.closed
			if closed {
				ex.remove(e)
			} else {
				ex.queue.push(e, true)
			}
			ex.mu.Unlock()
			if closed {
				e.call.Cancel(executor.ErrClosed)
			} else {
				ex.recheck(e)
			}
		}
		w.after()
		return nil
	}
	ex.remove(e)
	ex.busy++ // until after: the call may be enqueued again
	var s *stored
	if outcome == outcomeStored {
		s = &stored{id: id, size: r.size, req: e.req}
		ex.keep(s, w)
		ex.remember(s)
	}
	ex.mu.Unlock()
	switch outcome {
	case outcomeValue:
		data := r.data
		if len(data) > 16<<10 { // decoding may keep it
			data = append([]byte(nil), data...)
		}
		e.call.Deliver(w.name, data, r.refs)
		e.call.Gone()
	case outcomeStored:
		if e.req.Home {
			ex.bg.Go(func() { ex.bringHome(w, e, s) }) // ends with the call
			return nil
		}
		e.call.DeliverStored(w.name, s)
		e.call.Gone()
		w.handOver(s)
	case outcomeError:
		e.call.Gone() // before the next attempt is sent
		e.call.DeliverError(w.name, executor.UnpackError(r.data, w.name), r.last)
	}
	w.after()
	return nil
}

// after says that a call has left the schedule, and ends a busy.
func (w *worker) after() {
	w.ex.mu.Lock()
	w.ex.busy--
	empty := w.ex.nothing()
	w.ex.empty()
	w.ex.mu.Unlock()
	if empty {
		w.ex.base.Changed()
	}
}

// bringHome fetches a large value that is wanted in this process.
func (ex *Executor) bringHome(w *worker, e *entry, s *stored) {
	data, err := ex.Fetch(ex.ctx, s)
	ex.Drop(s)
	e.call.Gone()
	if err != nil {
		e.call.DeliverError(w.name, err, true)
	} else {
		e.call.Deliver(w.name, data, nil)
	}
	w.after()
}

// remade ends the making of a lost value. mu is held.
func (w *worker) remade(e *entry, outcome byte, size int64, data []byte) {
	ex := w.ex
	switch outcome {
	case outcomeStored:
		ex.remove(e)
		e.value.size = size
		w.stored++
		w.storedBytes += size
		ex.remade(e, w, nil)
	case outcomeNone:
		ex.queue.push(e, true)
	case outcomeValue:
		ex.remove(e)
		ex.remade(e, nil, fmt.Errorf("%w: value %d came out smaller when it was computed again; tasks must give an equal value again", ErrDataLost, e.id))
	default:
		ex.remove(e)
		ex.remade(e, nil, fmt.Errorf("%w: value %d could not be computed again: %w", ErrDataLost, e.id, executor.UnpackError(data, w.name)))
	}
}

// begun is told that a call has begun: one that was sent as a plain one by its place.
func (w *worker) begun(id int64, at uint32) {
	w.ex.mu.Lock()
	e := w.out[id]
	if e == nil {
		e = w.plainAt(id, at)
	}
	if e != nil {
		e.begun = true
		w.answered(e)
		if e.taking { // it was asked back too late: others may be taken
			e.taking, w.taking = false, false
		}
	}
	w.ex.mu.Unlock()
	switch {
	case e == nil:
	case e.lot != nil:
		e.lot.items.Begin(w.name)
	case e.call != nil:
		e.call.Begin(w.name)
	}
}

func (w *worker) late(id int64, err error) {
	w.ex.mu.Lock()
	e := w.out[id]
	w.ex.mu.Unlock()
	if e != nil && e.call != nil {
		e.call.Late(w.name, err)
	}
}

// lent gives the slot of a call that waits to others, what it waits for first.
func (w *worker) lent(id int64, child uint64) {
	ex := w.ex
	w.begun(id, w.placeOf(id))
	ex.mu.Lock()
	defer ex.mu.Unlock()
	e := w.out[id]
	if e == nil || e.waiting {
		return
	}
	e.begun, e.waiting = true, true
	w.waiting++
	ex.full = false
	if f := w.kids[child]; f != nil {
		if a, ok := f.Call().Tag().(*entry); ok && a.w == nil && ex.tasks[a.id] == a {
			a.first = true
			ex.queue.remove(a)
			ex.queue.push(a, true)
		}
	}
}

// plainAt promotes a plain call, if it is there. ex.mu is held.
func (w *worker) plainAt(id int64, at uint32) *entry {
	if int(at) < len(w.places) {
		if p := &w.places[at]; p.call != nil && p.e == nil && p.call.Seat().ID == id {
			return w.ex.promote(w, at)
		}
	}
	return nil
}

// placeOf is the place of a plain call, or 0.
func (w *worker) placeOf(id int64) uint32 {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if w.out[id] != nil {
		return 0
	}
	for at, p := range w.places {
		if p.call != nil && p.call.Seat().ID == id {
			return uint32(at)
		}
	}
	return 0
}

func (w *worker) resumed(id int64) {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if e := w.out[id]; e != nil && e.waiting {
		e.waiting = false
		w.waiting--
	}
}
