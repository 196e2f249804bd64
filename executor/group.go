package executor

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nearfar/nearfar/futures"
)

// A Group is golang.org/x/sync/errgroup.Group for an executor, and may take its place:
// the functions of a group may wait for one another, so each starts at once, outside
// the slots, unless SetLimit says otherwise. On a far executor they run here.
//
// What it adds: a panic or a Goexit is an error that Wait returns, where errgroup lets
// the program crash, or ignores it; the executor's Close ends the group's context
// and waits for its functions; its Stats count them.
//
// The zero Group is valid, has no limit and no context, and runs on Default().
type Group struct {
	ex     Executor
	with   *errgroup.Group // of NewGroup
	zero   errgroup.Group  // of the zero Group
	cancel context.CancelCauseFunc

	mu  sync.Mutex
	err error // the first. errgroup does not hear of a Goexit. Guarded by mu
}

// NewGroup makes a group and a context made from ctx, which ends when a function of
// the group fails, when Wait returns, or when ex is closed.
func NewGroup(ctx context.Context, ex Executor) (*Group, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &Group{ex: ex, cancel: cancel}
	g.with, ctx = errgroup.WithContext(ctx)
	return g, ctx
}

func (g *Group) group() *errgroup.Group {
	if g.with != nil {
		return g.with
	}
	return &g.zero
}

func (g *Group) base() *Base {
	if g.ex != nil {
		return g.ex.Backend().Base()
	}
	return Default().Backend().Base()
}

// Go calls f in a goroutine of its own. It blocks while that would exceed the limit.
// The first error ends the group's context, and is what Wait returns. Once the
// executor is closed f is not called, and the error is ErrClosed.
func (g *Group) Go(f func() error) { g.group().Go(g.guarded(f)) }

// TryGo is Go that does not block: it is false, and f is not called, where Go would.
func (g *Group) TryGo(f func() error) bool { return g.group().TryGo(g.guarded(f)) }

// SetLimit limits how many functions run at a time; a negative n lifts the limit, and
// 0 lets none begin. It must not be called while functions run.
func (g *Group) SetLimit(n int) { g.group().SetLimit(n) }

// Wait waits until all functions have returned, ends the group's context, and returns
// the first error.
func (g *Group) Wait() error {
	_ = g.group().Wait() // g.err is the first, and all of them
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cancel != nil {
		g.cancel(g.err)
	}
	return g.err
}

// guarded is f that is counted, found by Close, and does not panic.
func (g *Group) guarded(f func() error) func() error {
	return func() (err error) {
		b := g.base()
		if !b.enterGroup(g) {
			g.failed(ErrClosed)
			return ErrClosed
		}
		returned := false
		defer func() {
			if !returned {
				v := recover()
				err = panicError(v, stackOf(v))
			}
			if err != nil {
				g.failed(err)
			}
			b.leaveGroup(g, err)
		}()
		err = f()
		returned = true
		return err
	}
}

// failed keeps the first error, and ends the context with it.
func (g *Group) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
		if g.cancel != nil {
			g.cancel(err)
		}
	}
}

// enterGroup counts a function that starts. It is false if the executor is closed.
func (b *Base) enterGroup(g *Group) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.submitted.Add(1)
	if b.closed.Load() {
		b.failed.Add(1)
		return false
	}
	if b.groups == nil {
		b.groups = map[*Group]int{}
	}
	b.groups[g]++
	b.groupRunning.Add(1)
	return true
}

func (b *Base) leaveGroup(g *Group, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groupRunning.Add(-1)
	if err != nil {
		b.failed.Add(1)
	} else {
		b.finished.Add(1)
	}
	if b.groups[g]--; b.groups[g] == 0 {
		delete(b.groups, g)
		b.changedLocked()
	}
}

// endGroups ends the contexts of groups that have functions running.
func (b *Base) endGroups() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for g := range b.groups {
		if g.cancel != nil {
			g.cancel(&futures.CancelError{Cause: ErrClosed})
		}
	}
}

// waitGroups waits until no group has functions running.
func (b *Base) waitGroups() {
	for {
		b.mu.Lock()
		if len(b.groups) == 0 {
			b.mu.Unlock()
			return
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		<-changed
	}
}
