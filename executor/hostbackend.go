package executor

import (
	"context"
	"errors"
	"reflect"
)

// hostBackend is the driver's side of the executor that hosted tasks see.
type hostBackend struct{ *Host }

func (h hostBackend) Base() *Base { return &h.base }

func (h hostBackend) Enqueue(c *Call) { h.relay.Enqueue(c) }

func (h hostBackend) Cancelled(c *Call) {
	if _, ok := c.Owner.(hosted); ok {
		h.pool.Bury(1)
		return
	}
	h.relay.Cancelled(c)
}

func (h hostBackend) Lend(a *Attempt, to *Call) {
	if a.runner == nil {
		a.runner = h.pool.Holder(a.core.Slot())
	}
	h.relay.Lent(a.taskID(), to)
	a.runner.Lend(nil)
}

func (h hostBackend) Resume(a *Attempt, w Waker) {
	h.relay.Resumed(a.taskID())
	a.runner.Resume(w)
}

func (h hostBackend) Release(c *Call) {
	if c.Owner.Key() != "" {
		h.relay.Release(c)
	}
}

func (h hostBackend) Fetch(ctx context.Context, stored any) ([]byte, error) {
	return h.relay.Fetch(ctx, stored)
}

func (h hostBackend) Drop(stored any) { h.relay.Drop(stored) }

func (h hostBackend) Import(live any, done func(Source)) (cancel func(error)) {
	return h.relay.Import(live, done)
}

func (h hostBackend) Load(ctx context.Context, stored any, t reflect.Type) (reflect.Value, bool, error) {
	return h.relay.Load(ctx, stored, t)
}

func (h hostBackend) Scatter(ctx context.Context, data []byte, workers []string, all bool) (any, error) {
	return h.relay.Scatter(ctx, data, workers, all)
}

func (h hostBackend) CallAll(ctx context.Context, function string, arg []byte) (map[string]Called, error) {
	return h.relay.CallAll(ctx, function, arg)
}

// taskID is the number of the task.
func (a *Attempt) taskID() int64 {
	switch w := a.core.Owner.(type) {
	case work:
		return w.more().id.Load()
	case interface{ number() int64 }:
		return w.number()
	}
	return 0
}

// hostExecutor is the executor that hosted tasks see: that of the process they came
// from, as far as it reaches.
type hostExecutor struct{ *Host }

func (h hostExecutor) Slots() int       { return h.relay.Slots() }
func (h hostExecutor) Stats() Stats     { return h.relay.Stats() }
func (h hostExecutor) Backend() Backend { return hostBackend(h) }

func (h hostExecutor) Close() error {
	return errors.New("executor: Close inside a task of the same executor, which it would wait for; do it in OnDone, or after")
}

func (h hostExecutor) Shutdown(context.Context) error {
	return errors.New("executor: Shutdown inside a task of the same executor, which it would wait for; do it in OnDone, or after")
}
