package pool

import (
	"math"
	"time"
)

// leastClaim is how long a claim of a Loose span should last at least. With less, slots
// end within a microsecond of each other, and the next span begins on one of them: the
// runtime's thread that has just run dry finds the goroutine that waits for the span in
// the other's hands, sleeps before it would steal it, which Linux makes 55 us, and is
// meanwhile the only one that looks for work (docs/near.md).
const leastClaim = 10 * time.Microsecond

// Loose says that no item waits for another to run beside it. Then the rest of a claim
// stays where it is if it will be done before another slot has been woken for it. To be
// called before the span is pushed.
func (s *Span) Loose() { s.loose = true }

var epoch = time.Now()

// clock is the time since some moment, in ns.
func clock() int64 { return int64(time.Since(epoch)) }

// wokeLocked takes note of how long a slot took from being woken to its first claim: the
// longest of late, but not more than a claim lasts.
func (p *Pool) wokeLocked(took int64) {
	p.waking.Store(min(int64(ClaimTime), max(took, p.waking.Load()*15/16)))
}

// brief reports whether what r has in its window, lo to hi, will be done before another
// slot could be woken for it. The clock is read for it, so that one long item, as soon as
// it has ended, speaks for all that follow. Owner's, or with the pool locked.
func (r *Runner) brief(lo, hi uint32) bool {
	if !r.span.loose || r.cost == 0 {
		return false
	}
	waking := r.pool.waking.Load()
	if waking == 0 {
		return false
	}
	cost := max(r.cost, float64(clock()-r.began)/float64(max(1, lo)))
	return float64(hi-lo)*cost < float64(waking)
}

// keepsLocked reports whether what r has taken ahead, lo to hi, is not to be stolen for
// what is prio at least: nothing, or what is too brief. What comes first is never.
func (r *Runner) keepsLocked(lo, hi uint32, prio int) bool {
	return lo == hi || prio == math.MinInt && r.span != nil && r.brief(lo, hi)
}

// lookAfter is some times what waking a slot takes: where short Maps come one after the other,
// the timer is moved on and never fires.
const lookAfter = 100 * time.Microsecond

// lookAgainLocked has a slot that found nothing but rests that are brief look at them once
// more, when they should be done: one of their items may be a long one, and the others behind
// it are to be had then.
func (p *Pool) lookAgainLocked() {
	if !p.keptLocked() {
		return
	}
	if p.again == nil {
		p.again = time.AfterFunc(lookAfter, p.dispatch)
	} else {
		p.again.Reset(lookAfter)
	}
}

// keptLocked reports whether some slot keeps a rest.
func (p *Pool) keptLocked() bool {
	for _, r := range p.slots {
		if r != nil && r.span != nil && r.span.loose && r.cuttable() {
			if lo, hi := r.win.load(); lo != hi {
				return true
			}
		}
	}
	return false
}
