package pool

// Wanted reports whether r's slot is wanted for what comes before the task that it
// runs: for a waiter, fewer slots, or something of a higher priority.
func (r *Runner) Wanted() bool {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return r.slot < 0 || r.wantedLocked()
}
