package executor

import (
	"context"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
)

// Reduce combines the values of in to one, by a tree of calls of fn, each of which gets
// up to 16 values, or WithFanIn, in order. fn must be associative. Without inputs fn is
// called once with nil, with one input once with that. What it is called with belongs
// to the call. The tree runs where the values are, and its inner results never leave.
//
// If an input failed, the future ends with the same error. Cancelling it cancels the
// calls, and none of in.
func Reduce[T any](ctx context.Context, ex Executor, fn func(context.Context, []T) (T, error), in []*futures.Future[T], opts ...Option) *futures.Future[T] {
	if fn == nil {
		panic("executor: Reduce of a nil function")
	}
	o, err := gather(opts, "Reduce", forReduce)
	fanIn := 16
	if err == nil && o.fanIn != 0 {
		fanIn = o.fanIn
	}
	level := make([]*cell.Cell[T], len(in))
	for i, f := range in {
		if f == nil {
			panic("executor: Reduce of a nil future")
		}
		level[i] = futures.CellOf(f)
	}
	var inner []*cell.Core
	for err == nil && len(level) > fanIn {
		var next []*cell.Cell[T]
		for len(level) > 0 {
			n := min(fanIn, len(level))
			if n == 1 {
				next = append(next, level[0])
			} else {
				t := newNode(ctx, ex, fn, level[:n], o, nil)
				next = append(next, t.cell())
				inner = append(inner, t.core())
			}
			level = level[n:]
		}
		level = next
	}
	root := newNode(ctx, ex, fn, level, o, err)
	if inner != nil {
		p := &prune{inner: inner}
		p.Do = p
		root.core().AddHook(&p.Hook)
	}
	return &root.Future
}

// A nodeTask is one call of the tree.
type nodeTask[T any] struct {
	task[[]T, T]
	in []*cell.Cell[T]
}

func newNode[T any](ctx context.Context, ex Executor, fn func(context.Context, []T) (T, error), in []*cell.Cell[T], o *options, err error) *nodeTask[T] {
	t := &nodeTask[T]{task: task[[]T, T]{fn: fn}, in: in}
	b := attach(ctx, ex, t.core(), t)
	m := t.special()
	if o != nil {
		m.opts = o
	}
	inputs := make([]cell.Value, len(in))
	for i, c := range in {
		inputs[i] = c
	}
	b.submit(ctx, t, m, err, inputs)
	return t
}

// invoke calls the function with the values of the inputs.
func (t *nodeTask[T]) invoke(ctx context.Context) error {
	t.arg = nil
	for _, c := range t.in {
		if err := c.Bring(ctx); err != nil {
			return err
		}
		v, _ := c.GetPinned()
		t.arg = append(t.arg, v)
	}
	return t.task.invoke(ctx)
}

func (t *nodeTask[T]) forget() {
	t.in = nil
	t.task.forget()
}

// A prune cancels the inner calls when nobody wants the result any more.
type prune struct {
	cell.Hook
	inner []*cell.Core
}

func (p *prune) Fire(h *cell.Hook, w *cell.Wave) {
	if err := h.Core().Err(); err != nil {
		for _, c := range p.inner {
			c.Cancel(cell.CancelError(err), err, w)
		}
	}
}
