package pool

// Lend gives r's slot away while its task waits: to t, if not nil, else to what
// is queued. What r had taken ahead goes back to the queue. Any goroutine of the
// task may call it, once until the Resume that ends it; if that one still waits for a
// slot, it goes on without. t stays queued, too: when its turn comes it is Dead, or Run
// does nothing.
func (r *Runner) Lend(t Task) {
	p := r.pool
	p.mu.Lock()
	if r.slot < 0 {
		p.withdrawLocked(r)
		p.mu.Unlock()
		return
	}
	r.held = r.currentLocked()
	if r.span != nil {
		if body, ok := r.span.body.(interface{ Item(i int) Task }); ok {
			r.held = body.Item(r.At)
		}
	}
	r.flushLocked()
	id := r.slot
	r.slot = -1
	p.lending[r] = struct{}{}
	if p.closed {
		t = nil // Close has given it back
	}
	begin := p.placeLocked(id, t)
	if t != nil {
		p.buryLocked(1) // t is in the queue as well
	}
	p.mu.Unlock()
	if begin != nil {
		begin.begin()
	}
}

// Resume asks for a slot for r again, and wakes wk when it has one: before new
// tasks start, so at the latest when one of those that run has ended.
func (r *Runner) Resume(wk Waker) {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	to := resumer{r, wk}
	if len(p.free) > 0 {
		p.giveLocked(to, p.popFree())
		return
	}
	p.resume = append(p.resume, to)
	p.signalLocked(signalResume, true)
}

// Settle is called by a task that has lent its slot, when its function has
// returned: if the slot is still lent, since another goroutine of the task
// waits, then that wait is none of the pool's business any more.
func (r *Runner) Settle() {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lending, r)
	r.held = nil
	if r.slot >= 0 {
		return
	}
	if p.idle != nil && p.idleLocked() {
		defer p.idle()
	}
	r.homeless = true
	p.withdrawLocked(r)
}

// withdrawLocked wakes whoever waits for a slot for r, without one.
func (p *Pool) withdrawLocked(r *Runner) {
	for i, to := range p.resume {
		if to.r == r {
			p.resume = append(p.resume[:i:i], p.resume[i+1:]...)
			p.signalLocked(signalResume, len(p.resume) > 0)
			to.wk.Wake()
			return
		}
	}
}

// Bury says that n entries of the queue have died, which it would otherwise keep
// until a slot comes to them.
func (p *Pool) Bury(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buryLocked(n)
}

// buryLocked takes the dead out once they may be more than half of the queue, so
// that it costs a few steps each.
func (p *Pool) buryLocked(n int) {
	p.dead += n
	if p.dead < 64 || p.dead < p.queue.len()/2 {
		return
	}
	p.queue.bury()
	p.dead = 0
}
