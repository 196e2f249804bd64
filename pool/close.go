package pool

import (
	"context"
	"slices"
)

// Close refuses new tasks and gives back what was queued and has not started,
// which will not run. What runs goes on; Wait waits for it. A span may be both: slots
// that are in it go on with it until it is stopped.
func (p *Pool) Close() (dropped []Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	for _, r := range p.slots {
		if r != nil && r.span == nil {
			r.flushLocked()
		}
	}
	for q, _ := p.queue.top(); q != nil; q, _ = p.queue.top() {
		t := q.popFront()
		if s, ok := t.(*Span); ok {
			s.queued = false
			delete(p.partial, s)
		}
		dropped = append(dropped, t)
	}
	for s := range p.partial {
		dropped = append(dropped, s)
	}
	clear(p.partial)
	for _, r := range p.parked {
		r.exit = true
		r.wake <- struct{}{}
	}
	p.parked = nil
	if len(p.all) == 0 {
		close(p.ended)
	}
	return dropped
}

// Wait blocks until a closed pool's last task has returned and its goroutines
// have ended, or until ctx has, and returns its error.
func (p *Pool) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		p.host.Close()
		return nil
	default:
	}
	select {
	case <-p.ended:
		p.host.Close()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OnIdle sets what is called, with the pool locked, whenever nothing runs and
// nothing is queued. It must not block, nor call the pool.
func (p *Pool) OnIdle(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = f
	if f != nil && p.idleLocked() {
		f()
	}
}

// Queued is what is queued or taken ahead, in no promised order. Entries may be of
// tasks that have died since they came there.
func (p *Pool) Queued() []Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Task
	for _, r := range p.slots {
		if r != nil && r.span == nil {
			for lo, hi := r.win.load(); lo < hi; lo++ {
				list = append(list, r.buf[lo])
			}
		}
	}
	list = slices.Grow(list, p.queue.len())
	p.queue.each(func(t Task) { list = append(list, t) })
	return list
}

// Running is what has a slot, or has lent it. A task may be in it for a moment
// after its Run has returned.
func (p *Pool) Running() []Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Task
	for _, r := range p.slots {
		if r == nil {
			continue
		}
		if t := r.held; t != nil {
			list = append(list, t)
		} else if t := r.currentLocked(); t != nil {
			list = append(list, t)
		}
	}
	for r := range p.lending {
		list = append(list, r.held)
	}
	return list
}

// Lending is how many tasks wait with their slots lent.
func (p *Pool) Lending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lending)
}

// Lenders are those tasks.
func (p *Pool) Lenders() []Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Task
	for r := range p.lending {
		list = append(list, r.held)
	}
	return list
}

// Fresh is how many tasks, and items of spans, were pushed as new.
func (p *Pool) Fresh() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh
}

// Count is the sum of a counter over all runners there ever were.
func (p *Pool) Count(i int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.counts[i].Load()
	for r := range p.all {
		n += r.Counts[i].Load()
	}
	return n
}

// currentLocked is the task that r has begun last, or nil.
func (r *Runner) currentLocked() Task {
	if r.span != nil {
		return r.span
	}
	if lo, _ := r.win.load(); lo > 0 {
		return r.buf[lo-1]
	}
	return nil
}
