package executor

import (
	"context"
)

// Account is what the package counts for the executor: all of Stats but what waits and
// runs, which is the backend's to know, and Pending with it.
func (b *Base) Account() Stats {
	return Stats{
		Submitted: b.submitted.Load(), Finished: b.finished.Load(), Failed: b.failed.Load(), Cancelled: b.cancelled.Load(),
		Retried: b.retried.Load(), Lost: b.lost.Load(), Abandoned: b.abandoned.Load(), Running: b.groupRunning.Load(),
	}
}

// Refuse has the executor refuse new tasks.
func (b *Base) Refuse() {
	b.closed.Store(true)
	b.room.close()
}

// CancelHeld refuses new tasks, and cancels those that wait for inputs, a retry, or
// belong to a Group.
func (b *Base) CancelHeld() {
	b.Refuse()
	b.shut.Store(true)
	for _, c := range b.heldCores() {
		cancelWith(c, ErrClosed)
	}
	b.endGroups()
}

// WaitGroups waits for the functions of Groups to return.
func (b *Base) WaitGroups() { b.waitGroups() }

// WaitIdle waits until no task is held and idle says that none is with the backend.
// The backend calls Changed when that may have become so.
func (b *Base) WaitIdle(ctx context.Context, idle func() bool) error {
	b.idlers.Add(1)
	defer b.idlers.Add(-1)
	return b.waitUntil(ctx, idle)
}

// Changed wakes WaitIdle.
func (b *Base) Changed() { b.ranIdle() }

// Config is the executor's.
func (b *Base) Config() Config { return b.cfg }

// Inside reports whether ctx is that of a task of the executor.
func (b *Base) Inside(ctx context.Context) bool {
	a := attemptOf(ctx)
	return a != nil && a.scope.base == b
}

// NewID is a number that no task of the executor has.
func (b *Base) NewID() int64 { return b.ids.Add(1) }
