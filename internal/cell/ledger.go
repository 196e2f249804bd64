package cell

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Sheet is the inside of a batch: its ledger and its results.
type Sheet[R any] struct {
	Ledger
	Out []R // Out[i] may be read once a run with i was reported. Guarded by mu
	// Who needs Out though it may be released. Guarded by mu.
	keepers int
	// Plan is what was decided so far. It may be nil.
	Plan func() Plan
}

// Plan is futures.Plan.
type Plan struct {
	Chunks, ItemsPerChunk        int
	Slice, ItemCost, MessageCost time.Duration
	Efficiency                   float64
}

// A Ledger records which items of a batch have run, and how they failed.
type Ledger struct {
	Core
	N         int
	KeepGoing bool         // a failure stops nothing
	failing   atomic.Bool  // some item failed
	Readers   atomic.Int32 // who wants results while they come: report often

	mu     sync.Mutex
	done   int
	runs   []Run         // in the order in which they were reported, neighbours joined
	front  int           // all items before it are done
	beyond map[int]int   // the runs past front, end by start
	errs   map[int]error // of items; not touched while failing is false
	lowest int           // the lowest index in errs
	closed bool          // the outcome stands: nothing more is recorded
	gate   *Core         // opens at the next report; nil if nobody waits
	each   []func(lo, hi int)
}

// A Run is items Lo to Hi-1.
type Run struct{ Lo, Hi int }

// Fail records that item i failed. It is reported as run by Ran like any other.
func (l *Ledger) FailItem(i int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.errs == nil {
		l.errs = map[int]error{}
		l.lowest = i
	}
	l.failing.Store(true)
	l.errs[i] = err
	l.lowest = min(l.lowest, i)
}

// Ran records that items lo to hi-1 have run, calls count with how many of them did
// well and how many failed, and then wakes who waits for them.
func (l *Ledger) Ran(lo, hi int, count func(good, bad int)) {
	l.mu.Lock()
	if l.closed || lo == hi {
		l.mu.Unlock()
		return
	}
	bad := 0
	if len(l.errs) > 0 {
		for i := lo; i < hi; i++ {
			if l.errs[i] != nil {
				bad++
			}
		}
	}
	count(hi-lo-bad, bad)
	l.done += hi - lo
	if last := len(l.runs) - 1; last >= 0 && l.runs[last].Hi == lo {
		l.runs[last].Hi = hi
	} else {
		l.runs = append(l.runs, Run{lo, hi})
	}
	if lo == l.front {
		for end, ok := hi, true; ok; end, ok = l.beyond[end] {
			delete(l.beyond, l.front)
			l.front = end
		}
	} else {
		if l.beyond == nil {
			l.beyond = map[int]int{}
		}
		l.beyond[lo] = hi
	}
	gate, each := l.gate, l.each
	l.gate = nil
	l.mu.Unlock()
	for _, f := range each {
		f(lo, hi)
	}
	if gate != nil {
		var w Wave
		gate.Open(&w)
		w.Run()
	}
}

// Close ends the recording, since the outcome of the batch is being published. It
// returns how many items have run.
func (l *Ledger) Close() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.done
}

// Failure is the lowest index that has failed, and its error, or nil.
func (l *Ledger) Failure() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lowest, l.errs[l.lowest]
}

// ItemErr is the error of item i, or nil.
func (l *Ledger) ItemErr(i int) error {
	if !l.failing.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs[i]
}

// Progress is how many items have run.
func (l *Ledger) Progress() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// Front is how many items from the first on have run, and whether any failed.
func (l *Ledger) Front() (n int, failures bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.front, l.errs != nil
}

// A Cursor is how far somebody has read the runs. The zero Cursor is the start.
type Cursor struct{ run, at int }

// Next is the next run that was reported, or false if there is none yet.
func (l *Ledger) Next(c *Cursor) (Run, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextLocked(c)
}

func (l *Ledger) nextLocked(c *Cursor) (Run, bool) {
	for ; c.run < len(l.runs); c.run, c.at = c.run+1, 0 {
		r := l.runs[c.run]
		r.Lo = max(r.Lo, c.at)
		if c.at = r.Hi; r.Lo < r.Hi { // a run may have grown since it was read
			return r, true
		}
	}
	if c.run > 0 {
		c.run-- // the last one may grow still
		c.at = l.runs[c.run].Hi
	}
	return Run{}, false
}

// Each has f called with every run, those reported already now, on this goroutine,
// and others as they come.
func (l *Ledger) Each(f func(lo, hi int)) {
	l.mu.Lock()
	runs := append([]Run(nil), l.runs...)
	l.each = append(l.each[:len(l.each):len(l.each)], f)
	l.mu.Unlock()
	for _, r := range runs {
		f(r.Lo, r.Hi)
	}
}

// WaitNext is Next that waits for a run. It is false when the batch has settled and
// all runs were read, or ctx has ended, with its error.
func (l *Ledger) WaitNext(ctx context.Context, c *Cursor) (r Run, ok bool, err error) {
	err = l.waitFor(ctx, func() bool {
		r, ok = l.nextLocked(c)
		return ok
	})
	return r, ok, err
}

// WaitFront waits until more than n items from the first on have run, the batch
// has settled, or ctx has ended.
func (l *Ledger) WaitFront(ctx context.Context, n int) error {
	return l.waitFor(ctx, func() bool { return l.front > n })
}

func (l *Ledger) waitFor(ctx context.Context, readyLocked func() bool) error {
	l.Readers.Add(1)
	defer l.Readers.Add(-1)
	for {
		l.mu.Lock()
		if readyLocked() || l.load().Done() {
			l.mu.Unlock()
			return nil
		}
		if l.gate == nil {
			l.gate = new(Core)
		}
		gate := l.gate
		l.mu.Unlock()
		if err := l.WaitEither(ctx, gate); err != nil {
			return err
		}
	}
}

// Results gives the results to read with the ledger locked: what was reported may
// be read, what was released is nil.
func (s *Sheet[R]) Results() []R {
	if s.Released() {
		return nil
	}
	return s.Kept()
}

// Keep keeps the results from being dropped until Unkeep. It is false if they were
// released.
func (s *Sheet[R]) Keep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Released() {
		return false
	}
	s.keepers++
	return true
}

// Kept is Results for a keeper.
func (s *Sheet[R]) Kept() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Out
}

func (s *Sheet[R]) Unkeep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keepers--; s.keepers == 0 && s.Released() {
		s.Out = nil
	}
}

// Release drops the results, at once or with the last keeper.
func (s *Sheet[R]) Release() {
	s.mu.Lock()
	old := s.pins.Or(released)
	if s.keepers == 0 {
		s.Out = nil
	}
	s.mu.Unlock()
	if old&released == 0 && s.Owner != nil {
		s.Owner.Released()
	}
}
