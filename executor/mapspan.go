package executor

import (
	"runtime/trace"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// Here a Map is the body of a span: slots claim runs of its items.

// Do runs items lo to hi-1. It is the loop that all the rest is there for. It looks at
// the batch's ctx before the first, and so once in some 500 ns.
func (j *mapJob[A, R]) Do(r *pool.Runner, lo, hi int) int {
	a, _ := r.Local.(*Attempt)
	if a == nil {
		a = j.join(r)
	}
	if j.core.Ended() { // which has stopped the span
		return lo
	}
	if trace.IsEnabled() {
		defer trace.StartRegion(a, j.more.name()).End()
	}
	if j.base.room.limit > 0 { // room is given back item by item
		hi = lo + 1
		j.began()
	}
	if j.base.travels() {
		return j.doEncoded(r, a, lo, hi)
	}
	signal := r.Signal()
	for i := lo; i < hi; i++ {
		r.At = i
		v, err := j.fn(a, j.items[i])
		if err == nil {
			j.out[i] = v
		} else if j.itemFailed(i, err) {
			return i + 1
		}
		if a.used.Load() != 0 {
			if a = j.renew(r, a); a == nil {
				return i + 1
			}
		}
		if signal.Load() != 0 {
			return i + 1
		}
	}
	return hi
}

// join makes the ctx of the items that r will run.
func (j *mapJob[A, R]) join(r *pool.Runner) *Attempt {
	tag(r, j.more.fn.id.code, j.more.name)
	a := &Attempt{runner: r, info: j.more.info}
	a.init(j.core, a, hostOf(j.core.Scope))
	if j.base.travels() {
		a.parent = detached{a.parent}
	}
	r.Local = a
	j.core.Start(0)
	j.mu.Lock()
	j.claims[a] = struct{}{}
	if j.stopped {
		a.used.Or(usedStop)
	}
	j.mu.Unlock()
	if err := j.core.Err(); err != nil { // whoever cancelled may not have seen a
		var w cell.Wave
		a.end(err, &w)
		w.Run()
	}
	j.base.tell(eventStarted, j.event(0))
	return a
}

// part ends the ctx of the items that r has run.
func (j *mapJob[A, R]) part(r *pool.Runner, a *Attempt) {
	a.returned(r)
	j.mu.Lock()
	delete(j.claims, a)
	j.mu.Unlock()
	if a.used.Load()&usedAbandoned != 0 {
		j.base.abandoned.Add(-1)
	}
	r.Local = nil
}

// renew ends the ctx of an item that made use of it, and makes another for the next
// one; or is nil, if there is to be no next one here.
func (j *mapJob[A, R]) renew(r *pool.Runner, a *Attempt) *Attempt {
	if a.used.Load()&usedStop != 0 {
		return nil
	}
	j.part(r, a)
	if r.Homeless() || j.core.Ended() {
		return nil
	}
	return j.join(r)
}

// Ran reports items that have run.
func (j *mapJob[A, R]) Ran(r *pool.Runner, lo, hi int) {
	j.report(r, lo, hi)
	if j.base.cfg.Observer != nil {
		e := j.event(hi - lo)
		e.Slot = r.SlotID()
		j.base.tell(eventFinished, e)
	}
}

// Broke records that item at panicked or left by Goexit.
func (j *mapJob[A, R]) Broke(r *pool.Runner, at int, recovered any, stack []byte) {
	err := panicError(recovered, stack)
	if j.base.cfg.Strict {
		err = strictError(j.base, err)
	}
	j.itemFailed(at, err)
}

// Left ends r's part in it.
func (j *mapJob[A, R]) Left(r *pool.Runner) {
	if a, ok := r.Local.(*Attempt); ok {
		j.part(r, a)
	}
}

// Drained settles the batch.
func (j *mapJob[A, R]) Drained() { j.over() }
