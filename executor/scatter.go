package executor

import (
	"context"
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
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
	case b.remote:
		return scatterFar(ctx, b, &v, o)
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
	key    string
	base   *Base
	stored any // what the backend knows it by, if it is elsewhere
}

func (s *scattered[T]) Run(any)                                 {}
func (s *scattered[T]) Settling(cell.State, cell.State)         {}
func (s *scattered[T]) Cancelled(cell.State, error, *cell.Wave) {}
func (s *scattered[T]) Key() string                             { return s.key }
func (s *scattered[T]) Why() string                             { return "" }
func (s *scattered[T]) Released()                               {}

// A Scatterer is a Store that takes values.
type Scatterer interface {
	// Scatter puts an encoded value on one of the workers named, or any if none
	// is, or on all of them. It blocks.
	Scatter(ctx context.Context, data []byte, workers []string, all bool) (stored any, err error)
}

func scatterFar[T any](ctx context.Context, b *Base, v *T, o *options) (*futures.Future[T], error) {
	if err := codec.TypeFor[T]().Err(); err != nil {
		return nil, fmt.Errorf("%w: the value of Scatter: %w", ErrNotEncodable, err)
	}
	if codec.TypeFor[T]().HasReferences() {
		return nil, fmt.Errorf("%w: the value of Scatter holds futures; submit them in an argument", ErrNotEncodable)
	}
	data, err := encode(b, "value", &function{registered: "Scatter"}, v)
	if err != nil {
		return nil, err
	}
	to, ok := b.backend.(Scatterer)
	if !ok {
		return nil, fmt.Errorf("%w: the backend takes no scattered values", ErrConfig)
	}
	stored, err := to.Scatter(ctx, data, o.workers, o.has(givenBroadcast))
	if err != nil {
		return nil, err
	}
	s := &scattered[T]{key: o.key, base: b, stored: stored}
	c := futures.CellOf(&s.Future)
	c.Owner = s
	dropWhenCollected(s, b, stored)
	var w cell.Wave
	c.OpenAway(&w)
	return &s.Future, nil
}

// Fetch brings the value home.
func (s *scattered[T]) Fetch(ctx context.Context) error {
	v, err := s.base.load(ctx, Source{Stored: s.stored}, reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	futures.CellOf(&s.Future).Arrive(v.Interface().(T))
	return nil
}

// Source is where the value is.
func (s *scattered[T]) Source() cell.Source { return cell.Source{Stored: &storedAt{s.base, s.stored}} }

// Dropped lets it go there.
func (s *scattered[T]) Dropped() {
	if s.stored != nil {
		s.base.backend.(Store).Drop(s.stored)
	}
}

// A Caller is a backend that can call a function in each of its processes at once.
type Caller interface {
	CallAll(ctx context.Context, function string, arg []byte) (map[string]Called, error)
}

// Called is what came of it in one of them.
type Called struct {
	Data []byte
	Err  error
}

func callAll[A, R any](ctx context.Context, b *Base, fn func(context.Context, A) (R, error), arg A) (map[string]futures.Outcome[R], error) {
	f := functionOf(fn)
	if err := canTravel[A, R](f); err != nil {
		return nil, err
	}
	data, err := encode(b, "argument", f, &arg)
	if err != nil {
		return nil, err
	}
	all, err := b.backend.(Caller).CallAll(ctx, f.registered, data)
	if err != nil {
		return nil, err
	}
	outs := make(map[string]futures.Outcome[R], len(all))
	for name, called := range all {
		o := futures.Outcome[R]{Err: called.Err}
		if o.Err == nil {
			o.Err = decodeWith(b, called.Data, &o.Value, nil)
		}
		outs[name] = o
	}
	return outs, nil
}

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
	if _, ok := b.backend.(Caller); ok {
		return callAll(ctx, b, fn, arg)
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
