package executor

import (
	"context"

	"github.com/nearfar/nearfar/internal/cell"
)

// A mapTask is one item of a Map, as a task of its own: where items have retries and
// timeouts of their own, or the backend has no slots for a span.
type mapTask[A, R any] struct {
	task[A, R]
	job  *mapJob[A, R]
	i    int
	hook cell.Hook
}

// startTasks submits a task for each item. It returns when they have all found room.
func (j *mapJob[A, R]) startTasks(ctx context.Context) {
	tasks := make([]mapTask[A, R], len(j.items))
	j.left.Store(int64(len(tasks)))
	for i := range tasks {
		t := &tasks[i]
		t.job, t.i, t.fn, t.arg = j, i, j.fn, j.items[i]
		c := t.core()
		c.Owner, c.Scope = t, j.core.Scope
		m := t.special()
		m.hidden, m.opts = true, j.more.opts
		t.hook.Do = t
		if j.isStopped() || j.core.Settled() { // what follows is nobody else's yet
			t.withdraw()
		} else {
			j.base.submit(ctx, t, m, nil, nil)
		}
		if !c.AddHook(&t.hook) {
			var w cell.Wave
			t.Fire(nil, &w)
			w.Run()
		}
		j.mu.Lock()
		j.tasks = tasks[:i+1]
		stopped := j.stopped
		j.mu.Unlock()
		if err := j.core.Err(); err != nil && j.core.State() == cell.Cancelled {
			cancelWith(c, err) // it may run
		} else if stopped || j.core.Settled() {
			t.withdraw()
		}
	}
}

func (j *mapJob[A, R]) isStopped() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stopped
}

// Run shows the batch as running, and runs the item.
func (t *mapTask[A, R]) Run(slot any) {
	if t.core().Runnable() {
		t.job.core.Start(0)
	}
	t.task.Run(slot)
}

// Fire records the item's outcome.
func (t *mapTask[A, R]) Fire(*cell.Hook, *cell.Wave) {
	j, i := t.job, t.i
	switch c := t.cell(); c.State() {
	case cell.Finished:
		j.out[i], _ = c.GetPinned()
		j.report(nil, i, i+1)
	case cell.Failed:
		j.itemFailed(i, c.Err())
		j.report(nil, i, i+1)
	}
	if j.left.Add(-1) == 0 {
		j.over()
	}
}

// home says that the results of a Map are wanted here.
func (t *mapTask[A, R]) home() bool { return true }

func (t *mapTask[A, R]) needs(c *cell.Core) bool { return t.job.needs(c) }

// withdraw cancels the item if it has not started.
func (t *mapTask[A, R]) withdraw() {
	if far, ok := t.job.base.backend.(Withdrawer); ok {
		far.Withdraw((*Call)(t.core()))
		return
	}
	var w cell.Wave
	t.core().CancelPending(cell.CancelError(nil), &w)
	w.Run()
}
