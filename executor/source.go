package executor

import (
	"context"
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// A Source is where a value is, or what it is made of. One of Data, Stored and Parts
// says it; or, for a future in a value, Err or Live, if it has none.
type Source struct {
	Data      []byte   // its encoding
	Refs      []Source // and the futures in it
	Stored    any      // what the backend knows it by
	Parts     []Source
	Made      cell.Made // how, if it is made of Parts
	Err       []byte    // of PackError: the future has failed, or was
	Cancelled bool
	Live      any // the future has no outcome. Where it is made, a cell.Value; else the backend's
}

// An Importer is a Store that tells of futures in other processes.
type Importer interface {
	// Import has done called with what becomes of a future, now or later. The
	// function it returns cancels the future.
	Import(live any, done func(Source)) (cancel func(cause error))
}

// sources of a task: its argument was encoded when it was submitted.
func (t *task[A, R]) sources(m *more) (Source, []Source, error) {
	refs, err := sourcesOf(m, references(m.base, &t.arg))
	return Source{Data: m.arg}, refs, err
}

func (t *thenTask[A, R]) sources(m *more) (Source, []Source, error) {
	s, err := sourceOf(m, t.in.Source())
	return s, nil, err
}

func (t *nodeTask[T]) sources(m *more) (Source, []Source, error) {
	s := Source{Made: cell.Slice, Parts: make([]Source, len(t.in))}
	for i, c := range t.in {
		part, err := sourceOf(m, c.Source())
		if err != nil {
			return s, nil, err
		}
		s.Parts[i] = part
	}
	return s, nil, nil
}

func sourcesOf(m *more, values []cell.Value) ([]Source, error) {
	if len(values) == 0 {
		return nil, nil
	}
	list := make([]Source, len(values))
	for i, v := range values {
		s, err := sourceOf(m, v.Source())
		if err != nil {
			return nil, err
		}
		list[i] = s
	}
	return list, nil
}

// sourceOf makes the source of a value ready to travel.
func sourceOf(m *more, s cell.Source) (Source, error) {
	switch {
	case s.Here != nil:
		v := reflect.ValueOf(s.Here).Elem()
		t := codec.For(v.Type())
		var refs []Source
		t.References(v, func(ref reflect.Value) {
			refs = append(refs, futureSource(m.base, futures.ValueOf(ref.Interface())))
		})
		data, err := t.Append(nil, v)
		if err != nil {
			return Source{}, fmt.Errorf("%w: an input of %s: %w", ErrNotEncodable, m.fn.name(), err)
		}
		if limit := m.base.cfg.MaxValueBytes; int64(len(data)) > limit {
			return Source{}, fmt.Errorf("%w: an input of %s has %d bytes encoded, and MaxValueBytes is %d; make it smaller, or the limit larger",
				ErrTooLarge, m.fn.name(), len(data), limit)
		}
		return Source{Data: data, Refs: refs}, nil
	case s.Stored != nil:
		if o, ok := s.Stored.(*storedAt); ok {
			if e, ok := o.stored.(encoded); ok {
				return Source{Data: e.data, Refs: e.refs}, nil
			}
			if o.base != m.base { // of another executor: it goes by way of here
				data, err := o.base.backend.(Store).Fetch(context.Background(), o.stored)
				return Source{Data: data}, err
			}
			return Source{Stored: o.stored}, nil
		}
		return Source{Stored: s.Stored}, nil
	}
	parts := make([]Source, len(s.Parts))
	for i := range parts {
		p, err := sourceOf(m, s.Parts[i])
		if err != nil {
			return Source{}, err
		}
		parts[i] = p
	}
	return Source{Made: s.Made, Parts: parts}, nil
}

// futureSource is the source of a future in a value, whatever its state.
func futureSource(b *Base, v cell.Value) Source {
	c := v.Base()
	switch c.State() {
	case cell.Finished:
		if !v.Pin() {
			return Source{Err: PackError(futures.ErrReleased)}
		}
		defer v.Unpin()
		if c.Away() {
			if err := v.Bring(context.Background()); err != nil {
				return Source{Err: PackError(err)}
			}
		}
		p := reflect.ValueOf(v.Pointer()).Elem()
		t := codec.For(p.Type())
		data, err := t.Append(nil, p)
		if err != nil {
			return Source{Err: PackError(fmt.Errorf("%w: %w", ErrNotEncodable, err))}
		}
		s := Source{Data: data}
		t.References(p, func(ref reflect.Value) {
			s.Refs = append(s.Refs, futureSource(b, futures.ValueOf(ref.Interface())))
		})
		return s
	case cell.Failed, cell.Cancelled:
		return Source{Err: PackError(c.Err()), Cancelled: c.State() == cell.Cancelled}
	}
	return Source{Live: v}
}

// FutureSource is the source of a future that was Live, once it has its outcome. It may
// block, to bring its value here.
func FutureSource(b *Base, v cell.Value) Source { return futureSource(b, v) }

// storedAt is what a backend knows a value by, and which backend.
type storedAt struct {
	base   *Base
	stored any
}

// encoded is a value that was not decoded yet, in the place of what a backend knows.
type encoded struct {
	data []byte
	refs []Source
}

// cellSource is src as package cell has it.
func (b *Base) cellSource(src Source) cell.Source {
	switch {
	case src.Stored != nil:
		return cell.Source{Stored: &storedAt{b, src.Stored}}
	case src.Parts != nil || src.Made != cell.Whole:
		parts := make([]cell.Source, len(src.Parts))
		for i := range parts {
			parts[i] = b.cellSource(src.Parts[i])
		}
		return cell.Source{Made: src.Made, Parts: parts}
	}
	return cell.Source{Stored: &storedAt{b, encoded{src.Data, src.Refs}}}
}
