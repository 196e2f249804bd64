package remote

import (
	"encoding/binary"
	"slices"
)

// What the client does for a worker that drains: it takes back what has not begun, and
// what the worker has made goes to others.

// evacuate is told that a worker drains.
func (ex *Executor) evacuate(w *worker) {
	ex.mu.Lock()
	w.draining = true
	ex.promoteAll(w)
	var ids []byte
	for _, e := range w.out {
		if !e.begun {
			ids = appendCall(ids, e)
		}
	}
	var values []*stored
	for _, s := range ex.values {
		switch {
		case !slices.Contains(s.holders, w):
		case len(s.holders) > 1:
			ex.takeFrom(w, s)
		default:
			values = append(values, s)
		}
	}
	if ids != nil {
		w.wire.Send(frameTake, ids, nil)
	}
	w.wire.Send(frameTake, nil, nil) // nothing more is to come
	ex.mu.Unlock()
	ex.bg.Go(func() { // ends when all values are elsewhere, or ex is closed
		for _, s := range values {
			ex.hand(w, s)
		}
	})
}

// hand moves a value from a worker that drains to another, or, where there is none, here.
func (ex *Executor) hand(w *worker, s *stored) {
	data, err := ex.Fetch(ex.ctx, s)
	if err != nil {
		return // it will be computed again
	}
	to := ex.refuge(w)
	for to != nil {
		_, _, err := to.wire.Call(ex.ctx, binary.AppendVarint([]byte{callPut}, s.id), data)
		if err == nil {
			break
		}
		if to.settle(ex.ctx, err) != nil {
			return
		}
		to = ex.refuge(w)
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	switch {
	case s.dropped && to != nil:
		to.wire.Send(frameDrop, binary.AppendVarint(nil, s.id), nil)
		return
	case s.dropped:
		return
	case to == nil:
		s.data = data
	case !to.gone:
		ex.keep(s, to)
	}
	ex.takeFrom(w, s)
}

// handOver hands a value on that w has just made, if it drains.
func (w *worker) handOver(s *stored) {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if w.draining && !w.ex.closed {
		w.ex.bg.Go(func() { w.ex.hand(w, s) }) // ends when it is elsewhere, or ex is closed
	}
}

// refuge is the worker that has the least, but for w; nil if there is none.
func (ex *Executor) refuge(w *worker) (to *worker) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	for _, o := range ex.workers {
		if o != w && !o.draining && (to == nil || o.storedBytes < to.storedBytes) {
			to = o
		}
	}
	return to
}

// takeFrom has a worker forget a value. mu is held.
func (ex *Executor) takeFrom(w *worker, s *stored) {
	i := slices.Index(s.holders, w)
	if i < 0 {
		return
	}
	s.holders = slices.Delete(s.holders, i, i+1)
	w.stored--
	w.storedBytes -= s.size
	w.wire.Send(frameDrop, binary.AppendVarint(nil, s.id), nil)
}
