package codec

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// The first byte of every encoding. Scalars, slices of numbers, and records have
// one language; they are told apart because it costs nothing.
const (
	formScalar  = 's' // a bool, number or time
	formBytes   = 'b' // a string or []byte
	formPacked  = 'p' // a slice of what is as long as any other
	formRecord  = 'r' // whatever else has no maps, references, recursion, and methods for encoding
	formGeneral = 'c' // the rest, in CBOR
)

// form is the first byte for the values of a program.
func (g *program) form(s *shape) byte {
	switch s.class {
	case classBool, classInt, classUint, classFloat, classComplex, classTime:
		return formScalar
	case classString, classBytes:
		return formBytes
	case classSlice:
		if g.ops[0].elem.exact {
			return formPacked
		}
	}
	return formRecord
}

// Append is TypeFor[T]().Append for who has a pointer. Scalars and strings, which
// the short tasks are about, do without the table of types.
func Append[T any](dst []byte, v *T) ([]byte, error) {
	switch p := any(v).(type) {
	case *int:
		return appendScalar(dst, uint64(*p)), nil
	case *int64:
		return appendScalar(dst, uint64(*p)), nil
	case *uint64:
		return appendScalar(dst, *p), nil
	case *float64:
		return appendScalar(dst, math.Float64bits(*p)), nil
	case *bool:
		b := byte(0)
		if *p {
			b = 1
		}
		return append(dst, formScalar, b), nil
	case *string:
		dst = binary.AppendUvarint(append(dst, formBytes), uint64(len(*p)))
		return append(dst, *p...), nil
	}
	return TypeFor[T]().append(dst, unsafe.Pointer(v))
}

// Decode is TypeFor[T]().Decode for who has a pointer.
func Decode[T any](data []byte, v *T) error {
	switch p := any(v).(type) {
	case *int:
		if n, ok := scalar(data); ok && int64(int(n)) == int64(n) {
			*p = int(n)
			return nil
		}
	case *int64:
		if n, ok := scalar(data); ok {
			*p = int64(n)
			return nil
		}
	case *uint64:
		if n, ok := scalar(data); ok {
			*p = n
			return nil
		}
	case *float64:
		if n, ok := scalar(data); ok {
			*p = math.Float64frombits(n)
			return nil
		}
	case *string:
		if len(data) > 0 && data[0] == formBytes {
			n, size := binary.Uvarint(data[1:])
			if size > 0 && n == uint64(len(data)-1-size) {
				*p = string(data[1+size:])
				return nil
			}
		}
	}
	return TypeFor[T]().decode(data, unsafe.Pointer(v), false)
}

// DecodeOwned is TypeFor[T]().DecodeOwned for who has a pointer.
func DecodeOwned[T any](data []byte, v *T) error {
	return TypeFor[T]().decode(data, unsafe.Pointer(v), true)
}

// DecodeSlice decodes a slice as Decode does, but into the memory of room if the slice has
// no more elements than room has capacity; what was there is overwritten. On an error that
// memory is zeroed, and the slice is nil.
func DecodeSlice[T any](data []byte, room []T) ([]T, error) {
	t := TypeFor[[]T]()
	room = room[:cap(room)]
	if t.err != nil || t.raw == nil || t.raw.ops[0].kind != opSlice || len(data) == 0 || data[0] != t.form {
		var v []T
		if err := t.decode(data, unsafe.Pointer(&v), false); err != nil {
			clear(room)
			return nil, err
		}
		if len(v) == 0 || len(v) > len(room) {
			return v, nil
		}
		return room[:copy(room, v)], nil
	}
	u := unpacker{data: data[1:]}
	v := slice{data: unsafe.Pointer(unsafe.SliceData(room)), cap: len(room)}
	err := u.sliceIn(t.raw.ops[0].elem, &v)
	if err == nil && len(u.data) != 0 {
		err = errExtra
	}
	if err != nil {
		clear(room)
		return nil, decodeError(t.rtype, err)
	}
	return *(*[]T)(unsafe.Pointer(&v)), nil
}

func appendScalar(dst []byte, n uint64) []byte {
	return append(dst, formScalar, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56))
}

// scalar is the number in an encoding of 8 bytes. Decode takes the long way with
// others, and says there what is wrong with them.
func scalar(data []byte) (n uint64, ok bool) {
	if len(data) != 9 || data[0] != formScalar {
		return 0, false
	}
	return binary.LittleEndian.Uint64(data[1:]), true
}
