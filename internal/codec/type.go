package codec

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"unsafe"
)

// A Type is what package codec knows about one Go type: how its values are
// encoded, or why they cannot be, where references are in them, and what
// identifies the type to the other side. It is made once and never changes.
type Type struct {
	rtype reflect.Type
	err   error    // nil, or *TypeError
	form  byte     // the first byte of every encoding
	raw   *program // how, if a raw path takes the type; else the general codec does
	shape *shape
	loops bool // the way to references can be endless

	describe sync.Once // guards text and print, which few types are asked for
	text     string
	print    Fingerprint
}

// For is the plan of t. It never fails: what is wrong with t is in its Err.
func For(t reflect.Type) *Type {
	if t == nil {
		t = reflect.TypeFor[any]() // what reflect.TypeOf of a nil interface means
	}
	if known := types.find(t); known != nil {
		return known
	}
	return types.add(newType(t))
}

// TypeFor is For the type T.
func TypeFor[T any]() *Type { return For(reflect.TypeFor[T]()) }

func newType(t reflect.Type) *Type {
	b := builder{root: t, shapes: make(map[reflect.Type]*shape)}
	s := b.build()
	nt := &Type{rtype: t, shape: s}
	nt.loops = slices.ContainsFunc(b.order, func(s *shape) bool { return s.recursive && s.refers })
	if b.hard == nil && !s.bound {
		nt.raw = compile(s, bulk)
	}
	switch {
	case b.hard != nil:
		nt.err = b.hard
	case nt.raw != nil:
		nt.form = nt.raw.form(s)
	case b.soft != nil:
		nt.err = b.soft
	default:
		nt.form = formGeneral
	}
	return nt
}

// Err is nil, or a *TypeError that says why values of the type cannot be encoded.
func (t *Type) Err() error { return t.err }

// String is the name of the type.
func (t *Type) String() string { return fmt.Sprint(t.rtype) }

// Append appends the encoding of v to dst. On an error it returns dst as it was.
// v must be of exactly this type; if it is not addressable, it is copied first.
func (t *Type) Append(dst []byte, v reflect.Value) ([]byte, error) {
	if t.err != nil {
		return dst, t.err
	}
	if v.Type() != t.rtype {
		return dst, fmt.Errorf("codec: cannot encode a %s as %s", v.Type(), t.rtype)
	}
	if !v.CanAddr() {
		c := reflect.New(t.rtype).Elem()
		c.Set(v)
		v = c
	}
	return t.append(dst, v.Addr().UnsafePointer())
}

// Decode decodes data, which must be one whole encoding, into the settable value
// into. What into held is not looked at, nothing in it aliases data, and after an
// error it is the zero value. A slice, map or pointer that was nil or empty when
// it was encoded is that again. The monotonic reading of a time, the capacity of
// slices, and that two pointers pointed to one thing do not travel.
func (t *Type) Decode(data []byte, into reflect.Value) error {
	return t.decodeInto(data, into, false)
}

// DecodeOwned is Decode by a caller that gives data up: a []byte or string of more
// than 32 KiB is not copied out of it.
func (t *Type) DecodeOwned(data []byte, into reflect.Value) error {
	return t.decodeInto(data, into, true)
}

func (t *Type) decodeInto(data []byte, into reflect.Value, owned bool) error {
	if t.err != nil {
		return t.err
	}
	if into.Type() != t.rtype || !into.CanSet() {
		return fmt.Errorf("codec: cannot decode %s into a %s that must be settable", t.rtype, into.Type())
	}
	return t.decode(data, into.Addr().UnsafePointer(), owned)
}

func (t *Type) append(dst []byte, p unsafe.Pointer) ([]byte, error) {
	if t.err != nil {
		return dst, t.err
	}
	if g := t.raw; g != nil {
		if !g.plain {
			return g.pack(append(dst, t.form), p), nil
		}
		if cap(dst)-len(dst) <= g.least {
			dst = slices.Grow(dst, 1+g.least)
		}
		return append(append(dst, t.form), unsafe.Slice((*byte)(p), g.size)...), nil
	}
	return t.appendGeneral(dst, p)
}

func (t *Type) decode(data []byte, p unsafe.Pointer, owned bool) error {
	if t.err != nil {
		return t.err
	}
	var err error
	switch {
	case len(data) == 0:
		err = errEmpty
	case data[0] != t.form:
		err = errForm
	case t.raw != nil:
		err = t.decodeRaw(data[1:], p, owned)
	default:
		err = t.decodeGeneral(data[1:], p)
	}
	if err == nil {
		return nil
	}
	reflect.NewAt(t.rtype, p).Elem().SetZero()
	return decodeError(t.rtype, err)
}

func (t *Type) decodeRaw(data []byte, p unsafe.Pointer, owned bool) error {
	if g := t.raw; g.plain && len(data) == g.least {
		copy(unsafe.Slice((*byte)(p), g.size), data)
		return nil
	}
	u := unpacker{data: data, lend: owned && t.form == formBytes}
	if err := u.unpack(t.raw, p); err != nil {
		return err
	}
	if len(u.data) != 0 {
		return errExtra
	}
	return nil
}
