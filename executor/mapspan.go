package executor

import (
	"runtime/trace"

	"github.com/nearfar/nearfar/pool"
)

// Here a Map is the body of a span: slots claim runs of its items.

// Do runs items lo to hi-1. It is the loop that all the rest is there for. It looks at
// the batch's ctx before the first, and so once in some microseconds.
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

// Drained settles the batch.
func (j *mapJob[A, R]) Drained() { j.over() }
