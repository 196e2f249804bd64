package codec

import (
	"bytes"
	"reflect"
	"sync"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// A Codec encodes the values that no raw path takes. Both methods get a pointer
// to the value. Decode gets data that was checked against the type, and a zero
// value to decode into; it keeps nothing of data.
type Codec interface {
	Name() string
	Append(dst []byte, v any) ([]byte, error)
	Decode(data []byte, v any) error
}

// MaxDepth is how deep structs, slices, arrays and maps may be nested in a value,
// which only matters to recursive types: a linked list may be so long.
//
// The decoder's stack is 16 MiB then (TestDepthCostsLittleStack): more levels would
// let few bytes claim a lot of memory.
const MaxDepth = 10_000

// The decoder counts all levels, and MaxDepth those of recursive types: no type
// nests so many others around and inside them.
const allLevels = MaxDepth + 1000

// general is the codec behind the raw paths.
var general Codec = newCBOR()

type cborCodec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

func newCBOR() cborCodec {
	enc, err := cbor.EncOptions{
		// Maps in the order of their encoded keys, so that equal values have
		// equal encodings, and references are met in one order on both sides.
		Sort: cbor.SortBytewiseLexical,
		// No float becomes a shorter one: NaNs keep their bits, and an
		// encoded float tells the width of its type.
		ShortestFloat: cbor.ShortestFloatNone,
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		// The only mode with nanoseconds and the zone's offset. The tag tells
		// a time from a string.
		Time:    cbor.TimeRFC3339Nano,
		TimeTag: cbor.EncTagRequired,
		// Lengths come first, so that they can be checked.
		IndefLength: cbor.IndefLengthForbidden,
		// omitempty must not leave out structs of which only some fields are
		// empty: that is decided field by field.
		OmitEmpty: cbor.OmitEmptyGoValue,
		// An array of bytes in one piece, and with its length.
		ByteArray: cbor.ByteArrayToByteSlice,
		// Text is the only way of many types with unexported fields. Binary,
		// which is on by default, goes first.
		TextMarshaler: cbor.TextMarshalerTextString,
	}.UserBufferEncMode()
	if err != nil {
		panic(err) // the options contradict each other: no program gets past its start
	}
	dec, err := cbor.DecOptions{
		// A key or field that comes twice is an error, not a choice.
		DupMapKey: cbor.DupMapKeyEnforcedAPF,
		TimeTag:   cbor.DecTagRequired,
		// The defaults of 32 levels and 131,072 elements are less than what
		// people send. No length is believed before as many bytes were seen.
		MaxNestedLevels:  allLevels,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		IndefLength:      cbor.IndefLengthForbidden,
		// Both sides have the same type, so that a field that is unknown, or
		// known by another case, is a mistake.
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		// Strings of Go hold any bytes.
		UTF8:            cbor.UTF8DecodeInvalid,
		TextUnmarshaler: cbor.TextUnmarshalerTextString,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return cborCodec{enc, dec}
}

func (cborCodec) Name() string { return "cbor" }

// buffers are kept warm for the encoder, which grows its own slowly.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keepBuffer = 1 << 20 // larger buffers are left to the collector

func (c cborCodec) Append(dst []byte, v any) ([]byte, error) {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= keepBuffer {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	if err := c.enc.MarshalToBuffer(v, buf); err != nil {
		return dst, err
	}
	return append(dst, buf.Bytes()...), nil
}

func (c cborCodec) Decode(data []byte, v any) error { return c.dec.Unmarshal(data, v) }

// appendGeneral encodes the value at p by the general codec, after a look at what
// that would not keep.
func (t *Type) appendGeneral(dst []byte, p unsafe.Pointer) (out []byte, err error) {
	out = dst
	defer caught(t.rtype, "encode", &err)
	v := reflect.NewAt(t.rtype, p)
	if t.shape.watched {
		if err := watch(t, p); err != nil {
			return dst, err
		}
	}
	done, err := general.Append(append(dst, formGeneral), v.Interface())
	if err != nil {
		return dst, encodeError(t.rtype, err)
	}
	if t.shape.blobs {
		// What a CBOR marshaler wrote may be nested deeper than can be read.
		s := scanner{data: done[len(dst)+1:]}
		if err := s.whole(t.shape); err != nil {
			return dst, encodeError(t.rtype, err)
		}
	}
	return done, nil
}

// decodeGeneral decodes by the general codec, which is lenient: it takes null for
// anything, an array of another length, a struct without its fields, a bignum for
// an int. What is not exactly what the type is encoded as is found before.
func (t *Type) decodeGeneral(data []byte, p unsafe.Pointer) (err error) {
	defer caught(t.rtype, "decode", &err)
	s := scanner{data: data}
	if err := s.whole(t.shape); err != nil {
		return err
	}
	v := reflect.NewAt(t.rtype, p)
	v.Elem().SetZero()
	return general.Decode(data, v.Interface())
}
