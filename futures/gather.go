package futures

import (
	"context"

	"github.com/nearfar/nearfar/internal/cell"
)

// An Outcome is a value or an error.
type Outcome[T any] struct {
	Value T
	Err   error
}

// Gather waits for all of fs and returns their values, in order. The first failure
// ends it, with an *ItemError for the lowest index that has failed by then; the
// others go on. If ctx ends first, Gather returns an error that is ctx.Err() and
// its cause. Far, the values that are not home are brought home together.
func Gather[T any](ctx context.Context, fs ...*Future[T]) ([]T, error) {
	out := make([]T, len(fs))
	order := newOrder(ctx, len(fs))
	var gate *cell.Core
	for k := range fs {
		i := order.index(k)
		c := &fs[i].cell
		v, ok := c.Get()
		if !ok {
			if gate == nil && len(fs) > 1 && !c.Settled() {
				var stop func()
				gate, stop = alarm(fs)
				defer stop()
			}
			if err := c.WaitEither(ctx, gate); err != nil {
				if first := lowest(fs); first != nil {
					return nil, first // what is settled wins over an ended ctx
				}
				return nil, err
			}
			if !c.Settled() { // then another has failed
				return nil, lowest(fs)
			}
			var err error
			if v, err = fs[i].Result(ctx); err != nil {
				if first := lowest(fs); first != nil {
					return nil, first
				}
				if ctx.Err() != nil {
					return nil, err
				}
				return nil, &ItemError{Index: i, Err: err}
			}
		}
		out[i] = v
	}
	return out, nil
}

// lowest is the error of the lowest index that has failed, or nil.
func lowest[T any](fs []*Future[T]) error {
	for i, f := range fs {
		if err := f.cell.Err(); err != nil {
			return &ItemError{Index: i, Err: err}
		}
	}
	return nil
}

// An order is the order in which to wait for n futures: from the back, where most
// waits are over when the first is; but a task takes the front first, since its
// slot goes to what it waits for.
type order struct {
	n      int
	inTask bool
}

func newOrder(ctx context.Context, n int) order { return order{n, cell.TaskOf(ctx) != nil} }

func (o order) index(k int) int {
	if o.inTask {
		return k
	}
	return o.n - 1 - k
}

// Settle waits for all of fs and returns their outcomes, in order, whatever fails.
// What is not resolved when ctx ends gets an error that is ctx.Err() and its cause.
func Settle[T any](ctx context.Context, fs ...*Future[T]) []Outcome[T] {
	out := make([]Outcome[T], len(fs))
	order := newOrder(ctx, len(fs))
	for k := range fs {
		i := order.index(k)
		out[i].Value, out[i].Err = fs[i].Result(ctx)
	}
	return out
}
