package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/pool"
)

// Strict mode rehearses a journey: arguments, results and errors are encoded and
// decoded, so that the function gets copies, and what could not travel fails here.

// ErrArgumentChanged is the error, in strict mode, of a task whose function changed its
// argument, which other tasks may be reading.
var ErrArgumentChanged = errors.New("executor: the function changed its argument, which is not its own")

// pack checks that the task may travel, and encodes its argument.
func (t *task[A, R]) pack(m *more) error {
	if err := canTravel[A, R](m.fn); err != nil {
		return err
	}
	var err error
	m.arg, err = encode(m.base, "argument", m.fn, &t.arg)
	return err
}

// pack checks that the task may travel. Its argument is not there yet.
func (t *thenTask[A, R]) pack(m *more) error { return canTravel[A, R](m.fn) }

func (t *nodeTask[T]) pack(m *more) error { return canTravel[[]T, T](m.fn) }

func (j *mapJob[A, R]) pack() error { return canTravel[A, R](j.more.fn) }

// canTravel checks that a function is registered, and that its types can be encoded.
func canTravel[A, R any](f *function) error {
	if f.registered == "" {
		return errNotRegistered(f)
	}
	if err := codec.TypeFor[A]().Err(); err != nil {
		return fmt.Errorf("%w: the argument of %s: %w", ErrNotEncodable, f.name(), err)
	}
	if err := codec.TypeFor[R]().Err(); err != nil {
		return fmt.Errorf("%w: the result of %s: %w", ErrNotEncodable, f.name(), err)
	}
	return nil
}

// encode encodes a value, of what is said to be what of f.
func encode[T any](b *Base, what string, f *function, v *T) ([]byte, error) {
	data, err := codec.Append(nil, v)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s of %s: %w", ErrNotEncodable, what, f.name(), err)
	}
	if limit := b.cfg.MaxValueBytes; int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: the %s of %s has %d bytes encoded, and MaxValueBytes is %d; make it smaller, or the limit larger",
			ErrTooLarge, what, f.name(), len(data), limit)
	}
	return data, nil
}

// decode decodes a value, with the references that original holds.
func decode[T any](data []byte, v, original *T) error {
	if err := codec.Decode(data, v); err != nil {
		return fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, *v, err)
	}
	t := codec.TypeFor[T]()
	if !t.HasReferences() {
		return nil
	}
	var refs []reflect.Value
	t.References(reflect.ValueOf(original).Elem(), func(ref reflect.Value) { refs = append(refs, ref) })
	return t.Replace(reflect.ValueOf(v).Elem(), func(i int, _ reflect.Type) (reflect.Value, error) { return refs[i], nil })
}

// strictCall calls fn with a copy of *arg, and returns a copy of its result. packed is
// *arg encoded, or nil.
func strictCall[A, R any](ctx context.Context, b *Base, f *function, fn func(context.Context, A) (R, error), arg *A, packed []byte) (result R, err error) {
	if packed == nil {
		if packed, err = encode(b, "argument", f, arg); err != nil {
			return result, err
		}
	}
	var copied A
	if err := decode(packed, &copied, arg); err != nil {
		return result, err
	}
	v, err := fn(ctx, copied)
	if now, cerr := codec.Append(nil, &copied); cerr != nil || !bytes.Equal(now, packed) {
		return result, fmt.Errorf("%w (%s)", ErrArgumentChanged, f.name())
	}
	if err != nil {
		return result, strictError(b, err)
	}
	data, err := encode(b, "result", f, &v)
	if err != nil {
		return result, err
	}
	err = decode(data, &result, &v)
	return result, err
}

// strictError is err as it would arrive.
func strictError(b *Base, err error) error {
	var permanent *permanentError
	arrived := throughWire(plainError(err), b.worker)
	if errors.As(err, &permanent) {
		return &permanentError{arrived}
	}
	return arrived
}

// doEncoded is Do in strict mode.
func (j *mapJob[A, R]) doEncoded(r *pool.Runner, a *Attempt, lo, hi int) int {
	signal := r.Signal()
	for i := lo; i < hi; i++ {
		if i > lo && j.core.Ended() {
			return i
		}
		r.At = i
		v, err := strictCall(a, j.base, j.more.fn, j.fn, &j.items[i], nil)
		if err == nil {
			j.out[i] = v
		} else if j.itemFailed(i, err) {
			return i + 1
		}
		if a.used.Load() != 0 {
			if a = j.renew(r, a); a == nil {
				return i + 1
			}
		}
		if signal.Load() != 0 {
			return i + 1
		}
	}
	return hi
}

// throughCodec makes *v a copy, as Scatter would leave it elsewhere.
func throughCodec[T any](b *Base, v *T) error {
	t := codec.TypeFor[T]()
	if err := t.Err(); err != nil {
		return fmt.Errorf("%w: the value of Scatter: %w", ErrNotEncodable, err)
	}
	data, err := encode(b, "value", &function{registered: "Scatter"}, v)
	if err != nil {
		return err
	}
	var copied T
	if err := decode(data, &copied, v); err != nil {
		return err
	}
	*v = copied
	return nil
}

// invokeEncoded is a registered function for encoded arguments: what a worker runs.
func invokeEncoded[A, R any](ctx context.Context, fn func(context.Context, A) (R, error), arg []byte) ([]byte, error) {
	var a A
	if err := codec.Decode(arg, &a); err != nil {
		return nil, fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, a, err)
	}
	v, err := fn(ctx, a)
	if err != nil {
		return nil, err
	}
	data, err := codec.Append(nil, &v)
	if err != nil {
		return nil, fmt.Errorf("%w: the result: %w", ErrNotEncodable, err)
	}
	return data, nil
}
