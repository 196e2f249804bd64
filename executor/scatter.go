package executor

import (
	"context"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
)

// Scatter puts a value where tasks run, and returns a future of it for their arguments:
// far, it is sent once, to one worker, or to all WithBroadcast. Near it stays where it
// is. It has no task behind it: if the last worker that has it is lost, so is it.
//
// The error is ErrClosed, ErrConfig, ErrNotEncodable, ErrTooLarge, or ctx's.
func Scatter[T any](ctx context.Context, ex Executor, v T, opts ...Option) (*futures.Future[T], error) {
	b := ex.Backend().Base()
	o, err := gather(opts, "Scatter", forScatter)
	switch {
	case ctx.Err() != nil:
		return nil, cell.ContextError(ctx)
	case b.closed.Load():
		return nil, ErrClosed
	case err != nil:
		return nil, err
	case b.travels():
		if err := throughCodec(b, &v); err != nil {
			return nil, err
		}
	}
	s := &scattered[T]{key: o.key}
	c := futures.CellOf(&s.Future)
	c.Owner = s
	var w cell.Wave
	c.OpenWith(v, &w)
	return &s.Future, nil
}

// scattered is a future of a value that no task made.
type scattered[T any] struct {
	futures.Future[T]
	key string
}

func (s *scattered[T]) Run(any)                                 {}
func (s *scattered[T]) Settling(cell.State, cell.State)         {}
func (s *scattered[T]) Cancelled(cell.State, error, *cell.Wave) {}
func (s *scattered[T]) Key() string                             { return s.key }
func (s *scattered[T]) Why() string                             { return "" }
func (s *scattered[T]) Released()                               {}

// RunOnAll calls fn(ctx, arg) once in each worker process, at once and outside the
// slots, on busy ones too, and returns the outcomes by the workers' names. Near that is
// once, under the name "local". It blocks until all have returned, or ctx has ended:
// then what is missing has an error that is ctx.Err() and its cause. The error is
// ErrClosed, or what keeps fn or arg from travelling.
func RunOnAll[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), arg A) (map[string]futures.Outcome[R], error) {
	if fn == nil {
		panic("executor: RunOnAll of a nil function")
	}
	b := ex.Backend().Base()
	if err := ctx.Err(); err != nil {
		return nil, cell.ContextError(ctx)
	}
	g, gctx := NewGroup(ctx, ex) // counted, found by Close, and safe from panics
	defer g.cancel(nil)
	if b.closed.Load() {
		return nil, ErrClosed
	}
	call := fn
	if b.travels() {
		f := functionOf(fn)
		if err := canTravel[A, R](f); err != nil {
			return nil, err
		}
		call = func(ctx context.Context, arg A) (R, error) { return strictCall(ctx, b, f, fn, &arg, nil) }
	}
	f, resolve := futures.New[R]()
	g.Go(func() (err error) {
		var v R
		defer func() {
			if p := recover(); p != nil {
				err = panicError(p, stackOf(p))
			}
			resolve(v, err)
		}()
		err = futures.ErrGoexit // unless it returns
		v, err = call(gctx, arg)
		return err
	})
	v, err := f.Result(ctx)
	return map[string]futures.Outcome[R]{b.worker: {Value: v, Err: err}}, nil
}
