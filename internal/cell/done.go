package cell

// closed is the Done channel of whatever has settled.
var closed = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// doneHook closes a channel that somebody asked for.
type doneHook struct {
	Hook
	ch chan struct{}
}

func (d *doneHook) Fire(*Hook, *Wave) { close(d.ch) }

// Done returns a channel that is closed when c has settled. It is made by the
// first call, and kept where the hooks are.
func (c *Core) Done() <-chan struct{} {
	if c.Settled() {
		return closed
	}
	if ch := c.findDone(); ch != nil {
		return ch
	}
	d := &doneHook{ch: make(chan struct{})}
	d.Do = d
	if !c.AddHook(&d.Hook) {
		return closed
	}
	return d.ch
}

func (c *Core) findDone() <-chan struct{} {
	mu := c.lock()
	mu.Lock()
	defer mu.Unlock()
	if c.hooks == nil || c.hooks.next == nil { // none, or the error of a settled core
		return nil
	}
	for h := c.hooks; ; {
		if d, ok := h.Do.(*doneHook); ok {
			return d.ch
		}
		if h = h.next; h == c.hooks {
			return nil
		}
	}
}
