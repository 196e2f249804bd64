package remote

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// restore has a lost value made again. It is true if it need not be, or never will be:
// then whoever fetches it is told. mu is held.
func (ex *Executor) restore(s *stored) bool {
	if len(s.holders) > 0 || s.data != nil || s.err != nil {
		return true
	}
	if s.remake != nil {
		return false
	}
	if s.req == nil || s.req.Once {
		s.err = fmt.Errorf("%w: value %d had its last copy on a worker that is gone, and no task that may compute it again, or none whose argument was kept (LineageBytes)", ErrDataLost, s.id)
		return true
	}
	req := *s.req
	e := &entry{id: s.id, req: &req, value: s}
	storedIn([]executor.Source{req.Arg}, func(v any) { e.inputs = append(e.inputs, v.(*stored)) })
	storedIn(req.Refs, func(v any) { e.inputs = append(e.inputs, v.(*stored)) })
	s.remake, s.made = e, make(chan struct{})
	ex.retried++
	ex.restoring = append(ex.restoring, e)
	return false
}

// lose is what follows when a worker is gone: what it had runs elsewhere. It returns
// what is to be done without the lock.
func (ex *Executor) lose(w *worker, cause error) (then []func()) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	ex.promoteAll(w)
	ex.indexed[w.index] = nil
	w.gone = true
	ex.busy++ // until Closed has seen to what follows
	ex.workers = slices.DeleteFunc(ex.workers, func(o *worker) bool { return o == w })
	ex.tellSlots()
	for _, s := range ex.values {
		s.holders = slices.DeleteFunc(s.holders, func(o *worker) bool { return o == w })
	}
	list := slices.SortedFunc(maps.Values(w.out), func(a, b *entry) int { return int(a.id - b.id) })
	sole := w.sole()
	for _, e := range list {
		ex.leave(w, e)
		then = append(then, ex.rerun(w, e, e == sole, cause))
	}
	for _, f := range w.kids {
		if f != nil {
			then = append(then, func() { f.Cancel(fmt.Errorf("%w: %s, which ran the task that submitted it", ErrWorkerLost, w.name)) })
		}
	}
	w.kids, w.kept = nil, nil
	ex.full = false
	if len(ex.workers) == 0 {
		ex.promoteQueued()
		if ex.queue.n > 0 {
			ex.startNoWorkers()
		}
	}
	return then
}

// rerun says what becomes of a call whose worker is gone, which the loss counts against
// if it is the sole suspect. mu is held.
func (ex *Executor) rerun(w *worker, e *entry, sole bool, cause error) func() {
	e.suspect = true
	if e.lot != nil {
		return ex.loseLease(w, e, sole, cause)
	}
	if sole {
		e.lost = append(e.lost, w.name)
	}
	if e.call == nil {
		if len(e.lost) >= ex.cfg.MaxLosses {
			ex.remove(e)
			lost := &LostError{Losses: len(e.lost), Workers: e.lost, Cause: cause}
			ex.remade(e, nil, fmt.Errorf("%w: value %d could not be computed again: %w", ErrDataLost, e.id, lost))
			return func() {}
		}
		ex.queue.push(e, true)
		return func() {}
	}
	if e.req.Once {
		ex.remove(e)
		return func() {
			e.call.Gone()
			e.call.Lost()
			e.call.Fail(fmt.Errorf("%w: %s, and the task may have started, which WithAtMostOnce lets it do once: %w", ErrWorkerLost, w.name, cause))
		}
	}
	if len(e.lost) >= ex.cfg.MaxLosses {
		ex.remove(e)
		return func() {
			e.call.Gone()
			e.call.Lost()
			e.call.Fail(&LostError{Losses: len(e.lost), Workers: e.lost, Cause: cause})
		}
	}
	ex.remove(e)
	begun := e.begun || !sole // or it was too short for the worker to have said so
	return func() {
		if !begun {
			e.call.Begin(w.name)
		}
		e.call.Gone()
		if !e.call.Lost() {
			e.call.Returned()
			return
		}
		next, err := ex.newEntry(e.call)
		if err != nil {
			e.call.Fail(err)
			return
		}
		next.suspect, next.lost = e.suspect, e.lost
		ex.submit(next, true)
	}
}

// startNoWorkers fails what waits when there has been no worker for too long. mu is held.
func (ex *Executor) startNoWorkers() {
	if ex.noWorkers != nil || ex.closed {
		return
	}
	ex.noWorkers = time.AfterFunc(ex.cfg.NoWorkersTimeout, func() {
		var calls []*executor.Call
		var lots []*executor.Lot
		ex.mu.Lock()
		ex.noWorkers = nil
		if len(ex.workers) == 0 {
			for _, e := range ex.tasks {
				ex.remove(e)
				if e.lot != nil {
					e.lot.stopped, e.lot.queued = true, false
					lots = append(lots, e.lot.items)
				} else if e.call != nil {
					calls = append(calls, e.call)
				} else {
					ex.remade(e, nil, fmt.Errorf("%w: value %d: %w", ErrDataLost, e.id, ErrNoWorkers))
				}
			}
			ex.queue = queue{}
		}
		ex.mu.Unlock()
		err := fmt.Errorf("%w: for %v", ErrNoWorkers, ex.cfg.NoWorkersTimeout)
		for _, c := range calls {
			c.Fail(err)
		}
		for _, l := range lots {
			l.Fail(err)
		}
		ex.base.Changed()
	})
}

// remade ends the making of a value again. mu is held.
func (ex *Executor) remade(e *entry, w *worker, err error) {
	s := e.value
	if s.remake != e {
		return // Close was faster
	}
	if w != nil {
		s.holders = append(s.holders, w)
		ex.values[s.id] = s
	} else {
		s.err = err
	}
	s.remake = nil
	close(s.made)
	ex.freeIfUnneeded(s)
}
