package codec_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"time"

	"github.com/nearfar/nearfar/internal/codec"
)

// A zoo of types, which the tests share.

type celsius float64

type pair struct{ A, B int }

// Pair is exported for the sake of those who embed a pointer to it.
type Pair struct{ First, Second int }

type padded struct {
	A int8
	B int64
	C bool
	D float32
	E [3]uint16
	F complex64
}

type record struct {
	Name  string
	At    time.Time
	Score float64
	Tags  []string
	Body  []byte
	Grid  [][]float32
	Next  *pair
	Ring  [2]struct{ X, Y []int16 }
	Took  time.Duration
	Temps []celsius
	Deep  **[]*string
}

type base struct {
	ID   int
	Kind string
}

type general struct {
	base
	*Pair
	Names   map[string]int
	ByID    map[int32][]string
	Set     map[pair]struct{}
	Born    time.Time
	Died    *time.Time
	Addr    netip.Addr
	Site    *url.URL
	Big     *big.Int
	Huge    big.Int
	F32     float32
	F64     float64
	F32s    []float32
	U64     uint64
	I8      int8
	Raw     []byte
	Hash    [4]byte
	Level   level
	Levels  []level
	Empty   struct{}
	Flags   [3]bool
	Nums    []int
	Keyed   map[float64]string
	Message json.RawMessage
	Tree    *tree
	Nested  map[string]map[string]*pair
	Renamed string `cbor:"n" json:"other"`
	Opt     []int  `json:"opt,omitempty"`
	Zero    int    `cbor:",omitzero"`
	Gone    int    `cbor:"-"`
}

type tree struct {
	Value int
	Kids  []*tree
	Index map[string]*tree
	Left  *tree
}

type list struct {
	Next *list
	N    int
}

type asArray struct {
	_ struct{} `cbor:",toarray"`
	A int
	B map[string]int
	C *string
}

type byInt struct {
	A int            `cbor:"1,keyasint"`
	B string         `cbor:"-2,keyasint"`
	C map[int]string `cbor:"300,keyasint,omitempty"`
}

type level uint8

func (l level) MarshalText() ([]byte, error) { return []byte{'l', '0' + byte(l)}, nil }
func (l *level) UnmarshalText(b []byte) error {
	if len(b) != 2 {
		return errors.New("no level")
	}
	*l = level(b[1] - '0')
	return nil
}

// secret has only unexported fields and encodes itself.
type secret struct{ a, b int32 }

func (s secret) MarshalBinary() ([]byte, error) { return []byte{byte(s.a), byte(s.b)}, nil }
func (s *secret) UnmarshalBinary(b []byte) error {
	if len(b) != 2 {
		return errors.New("no secret")
	}
	s.a, s.b = int32(int8(b[0])), int32(int8(b[1]))
	return nil
}

// itself encodes itself in CBOR, as the bytes it holds.
type itself struct{ raw []byte }

func (i itself) MarshalCBOR() ([]byte, error) { return i.raw, nil }
func (i *itself) UnmarshalCBOR(b []byte) error {
	i.raw = append([]byte(nil), b...)
	return nil
}

type faulty struct{ How string }

func (f faulty) MarshalBinary() ([]byte, error) {
	if f.How == "panic out" {
		panic("out")
	}
	if f.How == "fail out" {
		return nil, errFaulty
	}
	return []byte(f.How), nil
}

func (f *faulty) UnmarshalBinary(b []byte) error {
	if string(b) == "panic in" {
		panic(errFaulty)
	}
	f.How = string(b)
	return nil
}

var errFaulty = errors.New("faulty")

// ref stands for a future.
type ref[T any] struct{ id int }

func (*ref[T]) NearfarReference() (self, value reflect.Type) {
	return reflect.TypeFor[*ref[T]](), reflect.TypeFor[T]()
}

var _ codec.Reference = (*ref[int])(nil)

type withRefs struct {
	One   *ref[int]
	Many  []*ref[string]
	Named map[string]*ref[int]
	Inner map[int]struct {
		F *ref[int]
		G []*ref[int]
	}
	Pair *struct{ A, B *ref[float64] }
	Ring [2]*ref[int]
	Text string
}

type refTree struct {
	F    *ref[int]
	Kids []*refTree
	Up   *refTree `cbor:",omitempty"`
}

// same is reflect.DeepEqual for values that travelled: NaNs are equal if their
// bits are, and times if instant and offset are. Unexported fields of types that
// encode themselves are compared by DeepEqual.
func same(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Float32:
		return float32Bits(a) == float32Bits(b)
	case reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	case reflect.Complex64, reflect.Complex128:
		x, y := a.Complex(), b.Complex()
		return math.Float64bits(real(x)) == math.Float64bits(real(y)) && math.Float64bits(imag(x)) == math.Float64bits(imag(y))
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.IsNil() != b.IsNil() {
			return false
		}
		fallthrough
	case reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key())
			if !other.IsValid() || !same(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		var content any
		if a.CanInterface() { // not if it is embedded and not exported
			content = a.Interface()
		}
		switch x := content.(type) {
		case time.Time:
			y := b.Interface().(time.Time)
			_, xo := x.Zone()
			_, yo := y.Zone()
			return x.Equal(y) && xo == yo
		case big.Int:
			y := b.Interface().(big.Int)
			return x.Cmp(&y) == 0
		case netip.Addr, url.URL, secret, itself:
			return reflect.DeepEqual(a.Interface(), b.Interface())
		}
		for i := range a.NumField() {
			if f := a.Type().Field(i); (f.IsExported() || f.Anonymous) && f.Tag.Get("cbor") != "-" && !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func float32Bits(v reflect.Value) uint32 {
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return *(*uint32)(c.UnsafePointer())
}
