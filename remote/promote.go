package remote

import (
	"slices"

	"github.com/nearfar/nearfar/executor"
)

// promote makes an entry of a call that w has. mu is held.
func (ex *Executor) promote(w *worker, at uint32) *entry {
	p := &w.places[at]
	if p.e != nil {
		return p.e
	}
	c := p.call
	if !c.Promote() {
		ex.later(c.End)
	}
	e := ex.entryOf(c)
	e.w, e.place = w, at
	p.e = e
	w.plain--
	w.out[e.id] = e
	ex.tasks[e.id] = e
	ex.plain.Add(-1)
	return e
}

// entryOf is the entry of a plain call, whose argument was or can be encoded. If the call is
// over it says no more than which call that is.
func (ex *Executor) entryOf(c *executor.Call) *entry {
	e, err := ex.newEntry(c)
	if err != nil {
		id := c.Seat().ID
		e = &entry{id: id, call: c, req: &executor.Request{ID: id, Attempt: 1}}
	}
	c.SetTag(e)
	return e
}

// promoteAll promotes all that w has. mu is held.
func (ex *Executor) promoteAll(w *worker) {
	for at := range w.places {
		if w.places[at].call != nil {
			ex.promote(w, uint32(at))
		}
	}
}

// promoteLast promotes the n that w was sent last. mu is held.
func (ex *Executor) promoteLast(w *worker, n int) {
	var list []uint32
	for at := range w.places {
		if p := &w.places[at]; p.call != nil && p.e == nil {
			list = append(list, uint32(at))
		}
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return int(w.places[b].call.Seat().ID - w.places[a].call.Seat().ID)
	})
	for _, at := range list[:min(n, len(list))] {
		ex.promote(w, at)
	}
}

// promoteQueued promotes all calls that wait. mu is held.
func (ex *Executor) promoteQueued() {
	for _, l := range ex.queue.levels {
		if !slices.ContainsFunc(l.list, func(e *entry) bool { return e.run != nil }) {
			continue
		}
		var list []*entry
		for _, e := range l.list {
			if e.run == nil {
				list = append(list, e)
				continue
			}
			ex.queue.n--
			for _, c := range e.run.calls[e.run.next:] {
				if c.Dead() {
					ex.passOver(1)
					continue
				}
				ex.plain.Add(-1)
				if !c.Promote() {
					ex.later(c.End)
				}
				q := ex.entryOf(c)
				ex.tasks[q.id] = q
				list = append(list, q)
				ex.queue.n++
			}
			e.run.calls, e.run.next = nil, 0
		}
		l.list = list
	}
	ex.queue.levels = slices.DeleteFunc(ex.queue.levels, func(l *level) bool { return len(l.list) == 0 })
}

// plainCalls visits the plain calls that are not over and not promoted. mu is held.
func (ex *Executor) plainCalls(visit func(*executor.Call)) {
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if e.run != nil {
				for _, c := range e.run.calls[e.run.next:] {
					visit(c)
				}
			}
		}
	}
	for _, w := range ex.workers {
		for _, p := range w.places {
			if p.call != nil && p.e == nil {
				visit(p.call)
			}
		}
	}
}

// PlainEnded ends the calls under a ctx that has ended.
func (ex *Executor) PlainEnded(ctx *executor.Ctx) {
	var list []*executor.Call
	ex.mu.Lock()
	ex.plainCalls(func(c *executor.Call) {
		if c.Under(ctx) {
			list = append(list, c)
		}
	})
	ex.mu.Unlock()
	for _, c := range list {
		c.End()
	}
}

// plainCancelled promotes a call that was cancelled, if a worker has it. mu is held. If it
// waits, it is passed over when its turn comes.
func (ex *Executor) plainCancelled(c *executor.Call) *entry {
	seat := c.Seat()
	if seat.Worker == 0 {
		if ex.dead++; ex.dead > 64 && ex.dead > int(ex.plain.Load())/2 {
			ex.bury()
		}
		return nil
	}
	w := ex.indexed[seat.Worker]
	if w == nil || int(seat.Place) >= len(w.places) || w.places[seat.Place].call != c {
		return nil // it has arrived
	}
	return ex.promote(w, seat.Place)
}

// bury takes out of the queue what was cancelled. mu is held.
func (ex *Executor) bury() {
	ex.dead = 0
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if r := e.run; r != nil {
				was := r.left()
				r.calls, r.next = slices.DeleteFunc(r.calls[r.next:], (*executor.Call).Dead), 0
				ex.passOver(was - r.left())
			}
		}
	}
}

// dropRuns takes all runs out of the queue. mu is held.
func (ex *Executor) dropRuns() {
	for _, l := range ex.queue.levels {
		l.list = slices.DeleteFunc(l.list, func(e *entry) bool {
			if e.run == nil {
				return false
			}
			ex.queue.n--
			ex.passOver(e.run.left())
			return true
		})
	}
	ex.queue.levels = slices.DeleteFunc(ex.queue.levels, func(l *level) bool { return len(l.list) == 0 })
}

// plainPosition is how many calls are before a plain one, or -1. mu is held.
func (ex *Executor) plainPosition(c *executor.Call) int {
	n := 0
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if e.run == nil {
				n++
				continue
			}
			if at := slices.Index(e.run.calls[e.run.next:], c); at >= 0 {
				return n + at
			}
			n += e.run.left()
		}
	}
	w := ex.indexed[c.Seat().Worker]
	if w == nil {
		return -1
	}
	n = 0
	for _, e := range w.out {
		if e.id < c.Seat().ID && !e.begun {
			n++
		}
	}
	for _, p := range w.places {
		if p.call != nil && p.e == nil && p.call.Seat().ID < c.Seat().ID {
			n++
		}
	}
	return n
}
