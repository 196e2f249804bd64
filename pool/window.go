package pool

import "sync/atomic"

// A window is a run of positions [lo, hi) that one slot has taken ahead and
// others may take back. The owner takes from the front, without a lock; others
// cut the back off, under the pool's lock, which also guards what the positions
// mean. Both move by compare-and-swap on one word, so no position goes twice.
type window struct{ word atomic.Uint64 } // lo in the high half, hi in the low

func packed(lo, hi uint32) uint64 { return uint64(lo)<<32 | uint64(hi) }

func (w *window) load() (lo, hi uint32) {
	v := w.word.Load()
	return uint32(v >> 32), uint32(v)
}

// set gives the window a new run. Only the owner may, and only under the lock.
func (w *window) set(lo, hi uint32) { w.word.Store(packed(lo, hi)) }

// take takes up to n positions from the front: [at, at+got).
func (w *window) take(n uint32) (at, got uint32) {
	for {
		v := w.word.Load()
		lo, hi := uint32(v>>32), uint32(v)
		if lo == hi {
			return lo, 0
		}
		got = min(n, hi-lo)
		if w.word.CompareAndSwap(v, packed(lo+got, hi)) {
			return lo, got
		}
	}
}

// untake puts the front back to lo, for an owner that did not use all it took.
// What others cut off meanwhile lies behind that, so the window stays one run.
func (w *window) untake(lo uint32) {
	for {
		v := w.word.Load()
		if w.word.CompareAndSwap(v, packed(lo, uint32(v))) {
			return
		}
	}
}

// cut takes the back half off, the larger one, or all of it: [at, at+got).
func (w *window) cut(all bool) (at, got uint32) {
	for {
		v := w.word.Load()
		lo, hi := uint32(v>>32), uint32(v)
		if lo == hi {
			return hi, 0
		}
		got = hi - lo
		if !all {
			got -= got / 2
		}
		if w.word.CompareAndSwap(v, packed(lo, hi-got)) {
			return hi - got, got
		}
	}
}
