package executor

import (
	"context"
	"fmt"
	"sync"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// Local is the executor that runs tasks on goroutines of this process.
type Local struct {
	base  Base
	pool  *pool.Pool
	fixed bool // may not be closed: Default

	closing sync.Once
	gone    chan struct{} // closed when all has ended
}

// NewLocal makes a local executor. Of cfg it honours Threads, MaxPending, Strict,
// MaxValueBytes, CloseGrace, SetupData, Observer and Logger.
func NewLocal(cfg Config) (*Local, error) {
	if cfg.Backend == "" {
		cfg.Backend = "local"
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Backend != "local" {
		return nil, fmt.Errorf("%w: NewLocal of backend %q; New opens any", ErrConfig, cfg.Backend)
	}
	if err := setUp(context.Background(), "local", cfg.SetupData); err != nil {
		return nil, err
	}
	return newLocal(cfg, nil), nil
}

func newLocal(cfg Config, host pool.Host) *Local {
	l := &Local{gone: make(chan struct{})}
	l.pool = pool.New(pool.Config{Slots: cfg.Threads, Host: host})
	l.base.init(cfg, localBackend{l})
	l.base.near = true
	l.base.fussy = cfg.Observer != nil || cfg.MaxPending > 0 || cfg.Strict
	l.pool.OnIdle(func() { l.base.ranIdle() })
	return l
}

// Default is the local executor that is there for all, with GOMAXPROCS threads. It
// cannot be closed.
func Default() *Local { return defaultLocal() }

var defaultLocal = sync.OnceValue(func() *Local {
	if err := setUp(context.Background(), "local", nil); err != nil {
		panic(err) // there is nobody to return it to
	}
	l := newLocal(Config{Backend: "local"}, nil)
	l.fixed = true
	return l
})

func init() {
	RegisterBackend("local", func(_ context.Context, cfg Config) (Executor, error) { return NewLocal(cfg) })
}

// Slots is the number of threads.
func (l *Local) Slots() int { return l.pool.Slots() }

// Resize changes the number of threads, at least to 1. More begin at once; fewer end
// as their tasks do.
func (l *Local) Resize(threads int) { l.pool.Resize(min(max(1, threads), cell.MaxSlots)) }

// Stats is the executor's account.
func (l *Local) Stats() Stats { return l.base.stats(l.pool) }

// Backend is l itself, which nobody else needs to call.
func (l *Local) Backend() Backend { return localBackend{l} }

// Shutdown refuses new tasks, waits for the rest, and closes l. See Executor.
func (l *Local) Shutdown(ctx context.Context) error {
	if err := l.refuse(ctx, "Shutdown"); err != nil {
		return err
	}
	l.base.closed.Store(true)
	l.base.room.close()
	if err := l.base.waitIdle(ctx, l.pool); err == nil {
		l.close()
		return nil
	}
	ended := fmt.Errorf("executor: Shutdown: %w", cell.ContextError(ctx))
	l.stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.base.cfg.CloseGrace)
	defer cancel()
	select {
	case <-l.gone:
		return fmt.Errorf("%w; what was left has been cancelled", ended)
	case <-grace.Done():
		return fmt.Errorf("%w; %d functions still run", ended, len(l.pool.Running()))
	}
}

// Close refuses new tasks, cancels the rest, and waits for what runs to return.
func (l *Local) Close() error {
	if err := l.refuse(context.Background(), "Close"); err != nil {
		return err
	}
	l.close()
	return nil
}

func (l *Local) close() {
	l.stop()
	<-l.gone
}

// stop cancels all there is, once. What runs to the end of it is no concern of
// the caller's: gone says when.
func (l *Local) stop() {
	l.closing.Do(func() {
		b := &l.base
		b.closed.Store(true)
		b.shut.Store(true)
		b.remember(nil)
		b.room.close()
		for _, c := range b.heldCores() {
			cancelWith(c, ErrClosed)
		}
		for _, t := range append(l.pool.Close(), l.pool.Running()...) {
			l.drop(t)
		}
		b.endGroups()
		go func() { // ends when the last function has returned
			l.pool.Wait(context.Background())
			b.waitGroups()
			close(l.gone)
		}()
	})
}

// drop cancels a task that Close found.
func (l *Local) drop(t pool.Task) {
	switch t := t.(type) {
	case *Call:
		cancelWith(t.core(), ErrClosed)
	case *pool.Span:
		t.Body().(interface{ cancel(error) }).cancel(ErrClosed)
	}
}

// refuse says why l cannot be closed here.
func (l *Local) refuse(ctx context.Context, what string) error {
	if l.fixed {
		return fmt.Errorf("executor: %s of Default(), which is everybody's; use NewLocal for one to close", what)
	}
	if a := attemptOf(ctx); a != nil && a.scope.base == &l.base || l.pool.Inside() {
		return fmt.Errorf("executor: %s inside a task of the same executor, which it would wait for; do it in OnDone, or after", what)
	}
	return nil
}

// waitIdle waits until nothing runs, is queued, or waits to be.
func (b *Base) waitIdle(ctx context.Context, p *pool.Pool) error { return b.WaitIdle(ctx, p.Idle) }

func (b *Base) waitUntil(ctx context.Context, isIdle func() bool) error {
	for {
		b.mu.Lock()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		idle := b.heldN == 0 && len(b.groups) == 0
		b.mu.Unlock()
		if idle && isIdle() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ranIdle wakes waitIdle.
func (b *Base) ranIdle() {
	if b.idlers.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changedLocked()
}

// localBackend is the driver's side of Local.
type localBackend struct{ *Local }

func (l localBackend) Base() *Base { return &l.base }

func (l localBackend) Enqueue(c *Call) {
	core, prio, fresh := c.core(), 0, 1
	if core.Marked() {
		prio, fresh = c.work().more().opts.priority, 0
	}
	if !l.pool.Push(c, prio, fresh) {
		l.base.submitted.Add(int64(fresh))
		l.base.failClosed(core)
	}
}

// failClosed ends a task that came too late.
func (b *Base) failClosed(c *cell.Core) {
	if b.shut.Load() && c.Marked() {
		cancelWith(c, ErrClosed) // it was there before
		return
	}
	if fail(c, ErrClosed) && c.Marked() {
		c.Owner.(work).more().settled()
	}
}

func (l localBackend) Cancelled(c *Call) { l.pool.Bury(1) }

func (l localBackend) Release(*Call) {}

func (l localBackend) Lend(a *Attempt, to *Call) {
	if a.runner == nil {
		a.runner = l.pool.Holder(a.core.Slot())
	}
	var t pool.Task
	if to != nil {
		t = to
		if b, ok := to.Owner.(interface{ poolSpan() *pool.Span }); ok {
			t = b.poolSpan()
		}
	}
	a.runner.Lend(t)
}

func (l localBackend) Resume(a *Attempt, w Waker) { a.runner.Resume(w) }

func (l localBackend) newSpan(body pool.Body, n, fixed int) *pool.Span {
	return l.pool.NewSpan(body, n, fixed)
}

func (l localBackend) pushSpan(s *pool.Span, prio, fresh int) bool {
	return l.pool.PushSpan(s, prio, fresh)
}

// Position is how many tasks are queued before c, or -1.
func (l localBackend) Position(c *Call) int {
	n := 0
	for _, t := range l.pool.Queued() {
		if t == pool.Task(c) {
			return n
		}
		if !t.Dead() {
			n++
		}
	}
	return -1
}

// Run runs the task on a slot of a pool.
func (c *Call) Run(r *pool.Runner) { c.Owner.Run(r) }

// Broke ends the task as one that panicked or left by Goexit.
func (c *Call) Broke(r *pool.Runner, recovered any, stack []byte) {
	c.work().broke(r, recovered, stack)
}

// Dead reports whether the task need not be run.
func (c *Call) Dead() bool { return !c.core().Startable() }
