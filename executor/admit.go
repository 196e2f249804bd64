package executor

import (
	"context"
	"fmt"
	"sync"

	"github.com/nearfar/nearfar/internal/cell"
)

// An admission bounds how many tasks have been submitted and not started.
type admission struct {
	limit int // Config.MaxPending; 0: no bound

	mu      sync.Mutex
	pending int        // may be more than limit: tasks do not wait when they submit
	waiting []*applier // in order
	closed  bool
}

// An applier is a submit that waits for room.
type applier struct {
	gate cell.Core // opens when it has got some
	want int
	got  int
}

// enter takes room for at least one of want tasks, and for more if there is some,
// waiting for it if it may. It returns how much it took, or ErrFull, ErrClosed, or
// ctx's error.
func (a *admission) enter(ctx context.Context, want int, o *options) (got int, err error) {
	if a.limit == 0 {
		return want, nil
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return 0, ErrClosed
	}
	if cell.TaskOf(ctx) != nil {
		a.pending += want
		a.mu.Unlock()
		return want, nil
	}
	if free := a.limit - a.pending; free > 0 && len(a.waiting) == 0 {
		got = min(free, want)
		a.pending += got
		a.mu.Unlock()
		return got, nil
	}
	if o.has(givenNoWait) {
		a.mu.Unlock()
		return 0, fmt.Errorf("%w: %d tasks are pending, which is MaxPending", ErrFull, a.limit)
	}
	ap := &applier{want: want}
	a.waiting = append(a.waiting, ap)
	a.mu.Unlock()

	err = ap.gate.Wait(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case ap.got > 0:
		return ap.got, nil // room wins over an ended ctx: the task is cancelled like any other
	case a.closed:
		return 0, ErrClosed
	}
	for i := range a.waiting {
		if a.waiting[i] == ap {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			break
		}
	}
	return 0, err
}

// leave gives back the room of n tasks, to those that wait first.
func (a *admission) leave(n int) {
	if a.limit == 0 {
		return
	}
	a.mu.Lock()
	a.pending -= n
	var w cell.Wave
	for len(a.waiting) > 0 && a.pending < a.limit {
		ap := a.waiting[0]
		a.waiting = a.waiting[1:]
		ap.got = min(ap.want, a.limit-a.pending)
		a.pending += ap.got
		ap.gate.Open(&w)
	}
	a.mu.Unlock()
	w.Run()
}

// close refuses those that wait, and everybody after.
func (a *admission) close() {
	a.mu.Lock()
	a.closed = true
	var w cell.Wave
	for _, ap := range a.waiting {
		ap.gate.Open(&w)
	}
	a.waiting = nil
	a.mu.Unlock()
	w.Run()
}

// enterRoom takes room for a task, which leaveRoom gives back when it starts, or is
// over before.
func (b *Base) enterRoom(ctx context.Context, m *more) error {
	if b.room.limit == 0 {
		return nil
	}
	if _, err := b.room.enter(ctx, 1, m.opts); err != nil {
		return err
	}
	m.admitted.Store(true)
	return nil
}

func (b *Base) leaveRoom(m *more) {
	if m.admitted.CompareAndSwap(true, false) {
		b.room.leave(1)
	}
}
