package futures

import (
	"context"
	"reflect"
	"sync/atomic"

	"github.com/nearfar/nearfar/internal/cell"
)

// Away makes a finished future of type t, a *Future of something, whose value fetch
// brings: for the packages of this module.
func Away(t reflect.Type, fetch func(context.Context, reflect.Type) (reflect.Value, error), source func() cell.Source) reflect.Value {
	return reflect.Zero(t).Interface().(interface {
		away(func(context.Context, reflect.Type) (reflect.Value, error), func() cell.Source) reflect.Value
	}).away(fetch, source)
}

func (f *Future[T]) away(fetch func(context.Context, reflect.Type) (reflect.Value, error), source func() cell.Source) reflect.Value {
	e := &elsewhere[T]{fetch: fetch, source: source}
	e.cell.Owner = e
	var w cell.Wave
	e.cell.OpenAway(&w)
	return reflect.ValueOf(&e.Future)
}

// Later makes a future of type t whose outcome comes from elsewhere: finish gives it, an
// error or what Away takes. cancelled is called when the future is cancelled before.
func Later(t reflect.Type, cancelled func(cause error)) (future reflect.Value, finish Finish) {
	return reflect.Zero(t).Interface().(interface {
		later(func(cause error)) (reflect.Value, Finish)
	}).later(cancelled)
}

// Finish ends a future of Later.
type Finish func(fetch func(context.Context, reflect.Type) (reflect.Value, error), source func() cell.Source, err error, cancelled bool)

func (f *Future[T]) later(cancelled func(cause error)) (reflect.Value, Finish) {
	e := &elsewhere[T]{cancelled: cancelled}
	e.cell.Owner = e
	return reflect.ValueOf(&e.Future), e.finish
}

func (e *elsewhere[T]) finish(fetch func(context.Context, reflect.Type) (reflect.Value, error), source func() cell.Source, err error, cancelled bool) {
	var w cell.Wave
	switch {
	case err != nil && cancelled:
		e.over.Store(true)
		e.cell.Cancel(err, err, &w)
	case err != nil:
		e.cell.Fail(err, &w)
	case e.cell.Claim():
		e.fetch, e.source = fetch, source
		e.cell.OpenAwayClaimed(&w)
	}
	w.Run()
}

// elsewhere is a future of a value in another process, or in a form that is to be
// decoded first.
type elsewhere[T any] struct {
	Future[T]
	reference
	fetch  func(context.Context, reflect.Type) (reflect.Value, error)
	source func() cell.Source

	cancelled func(cause error) // of Later
	over      atomic.Bool       // it was cancelled from there
}

func (e *elsewhere[T]) Key() string { return "" }
func (e *elsewhere[T]) Why() string { return "" }

// Cancelled cancels the future that it stands for.
func (e *elsewhere[T]) Cancelled(_ cell.State, cause error, _ *cell.Wave) {
	if e.cancelled != nil && !e.over.Load() {
		e.cancelled(cause)
	}
}

// Fetch brings the value home.
func (e *elsewhere[T]) Fetch(ctx context.Context) error {
	v, err := e.fetch(ctx, reflect.TypeFor[T]())
	if err == nil {
		e.cell.Arrive(v.Interface().(T))
	}
	return err
}

// Source is where it is.
func (e *elsewhere[T]) Source() cell.Source { return e.source() }
