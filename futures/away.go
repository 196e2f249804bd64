package futures

import (
	"context"
	"reflect"

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

// elsewhere is a future of a value in another process, or in a form that is to be
// decoded first.
type elsewhere[T any] struct {
	Future[T]
	reference
	fetch  func(context.Context, reflect.Type) (reflect.Value, error)
	source func() cell.Source
}

func (e *elsewhere[T]) Key() string                             { return "" }
func (e *elsewhere[T]) Why() string                             { return "" }
func (e *elsewhere[T]) Cancelled(cell.State, error, *cell.Wave) {}

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
