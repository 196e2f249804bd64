package executor

import (
	"context"
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// deliver keeps a value that came encoded.
func (t *task[A, R]) deliver(m *more, data []byte, refs []Source) error {
	var v R
	if err := decodeWith(m.base, data, &v, refs); err != nil {
		return err
	}
	t.cell().Set(v)
	return nil
}

// decodeWith decodes a value, with the futures of refs in it.
func decodeWith[T any](b *Base, data []byte, v *T, refs []Source) error {
	if err := codec.DecodeOwned(data, v); err != nil {
		return fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, *v, err)
	}
	return replaceWith(b, codec.TypeFor[T](), reflect.ValueOf(v).Elem(), refs)
}

// decodeSliceWith is decodeWith for a slice, which is put into room if that has room for it.
func decodeSliceWith[T any](b *Base, data []byte, room []T, refs []Source) ([]T, error) {
	v, err := codec.DecodeSlice(data, room)
	if err != nil {
		return nil, fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, v, err)
	}
	return v, replaceWith(b, codec.TypeFor[[]T](), reflect.ValueOf(&v).Elem(), refs)
}

// replaceWith puts futures of refs in the places of the references in v.
func replaceWith(b *Base, t *codec.Type, v reflect.Value, refs []Source) error {
	if !t.HasReferences() {
		return nil
	}
	return t.Replace(v, func(i int, ref reflect.Type) (reflect.Value, error) {
		if i >= len(refs) {
			return reflect.Value{}, fmt.Errorf("%w: %d futures came with a %v that has more", ErrNotEncodable, len(refs), t)
		}
		src := refs[i]
		if src.Live != nil || src.Err != nil {
			return b.future(ref, src), nil
		}
		return futures.Away(ref, func(ctx context.Context, t reflect.Type) (reflect.Value, error) {
			return b.load(ctx, src, t)
		}, func() cell.Source { return b.cellSource(src) }), nil
	})
}

// future makes a future that has failed, or has no outcome yet.
func (b *Base) future(t reflect.Type, src Source) reflect.Value {
	var cancel func(error)
	v, finish := futures.Later(t, func(cause error) {
		if cancel != nil {
			cancel(cause)
		}
	})
	done := func(src Source) {
		var err error
		if src.Err != nil {
			err = UnpackError(src.Err, b.worker)
		}
		finish(func(ctx context.Context, t reflect.Type) (reflect.Value, error) { return b.load(ctx, src, t) },
			func() cell.Source { return b.cellSource(src) }, err, src.Cancelled)
	}
	if src.Live == nil {
		done(src)
	} else {
		cancel = b.backend.(Importer).Import(src.Live, done)
	}
	return v
}

// A Loader is a Store that has some of the values in this process.
type Loader interface {
	Load(ctx context.Context, stored any, t reflect.Type) (v reflect.Value, ok bool, err error)
}

// load makes a value of type t from where it is.
func (b *Base) load(ctx context.Context, src Source, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	switch {
	case src.Stored != nil:
		if e, ok := src.Stored.(encoded); ok {
			return b.load(ctx, Source{Data: e.data, Refs: e.refs}, t)
		}
		if l, ok := b.backend.(Loader); ok {
			if v, ok, err := l.Load(ctx, src.Stored, t); ok || err != nil {
				return v, err
			}
		}
		data, err := b.backend.(Store).Fetch(ctx, src.Stored)
		if err != nil {
			return v, err
		}
		return v, codec.For(t).DecodeOwned(data, v)
	case src.Made == cell.Whole:
		if err := codec.For(t).DecodeOwned(src.Data, v); err != nil {
			return v, fmt.Errorf("%w: decoding %v: %w", ErrNotEncodable, t, err)
		}
		return v, replaceWith(b, codec.For(t), v, src.Refs)
	}
	for i, part := range src.Parts {
		pt := t
		switch {
		case src.Made == cell.Slice && t.Kind() == reflect.Slice:
			pt = t.Elem()
		case src.Made == cell.Struct && t.Kind() == reflect.Struct && i < t.NumField():
			pt = t.Field(i).Type
		case src.Made != cell.Concat || t.Kind() != reflect.Slice:
			return v, fmt.Errorf("%w: a %v is not made of %d parts", ErrNotEncodable, t, len(src.Parts))
		}
		p, err := b.load(ctx, part, pt)
		if err != nil {
			return v, err
		}
		switch src.Made {
		case cell.Slice:
			v = reflect.Append(v, p)
		case cell.Struct:
			v.Field(i).Set(p)
		case cell.Concat:
			v = reflect.AppendSlice(v, p)
		}
	}
	return v, nil
}

// A task as the keeper of a value that stays elsewhere.

// Fetch brings the value home.
func (t *task[A, R]) Fetch(ctx context.Context) error {
	m := t.peek()
	v, err := m.base.load(ctx, Source{Stored: m.stored}, reflect.TypeFor[R]())
	if err != nil {
		return err
	}
	t.cell().Arrive(v.Interface().(R))
	return nil
}

// Source is where the value is.
func (t *task[A, R]) Source() cell.Source {
	m := t.peek()
	return cell.Source{Stored: &storedAt{m.base, m.stored}}
}

// Dropped lets it go there.
func (t *task[A, R]) Dropped() {
	if m := t.peek(); m != nil && m.stored != nil {
		m.base.backend.(Store).Drop(m.stored)
	}
}

// finished drops a value that was released before it came.
func (t *task[A, R]) finished() {
	dropWhenCollected(t, t.peek().base, t.peek().stored)
	t.cell().Finished()
}
