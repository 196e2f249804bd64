package codec_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

// fuzz throws data at one type. What is no encoding gives an error, and neither
// costs memory beyond what so much data can stand for; what is one can be encoded
// again, and is the same then.
func fuzz[T any](f *testing.F, seeds ...T) {
	for _, v := range seeds {
		data, err := codec.Append(nil, &v)
		require.NoError(f, err)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(append(bytes.Clone(data), data...))
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		var v T
		allocs := heapAllocs()
		err := codec.Decode(data, &v)
		// A nil slice is 1 byte there and 24 here; a small map is 2 there, and
		// some 100 here.
		require.Less(t, heapAllocs()-allocs, uint64(1<<20+128*len(data)))
		require.Equal(t, before, data)
		if err != nil {
			require.Zero(t, v)
			return
		}
		again, err := codec.Append(nil, &v)
		lost, malformed := new(codec.ValueError), new(cbor.MarshalerError)
		if errors.As(err, &lost) || errors.As(err, &malformed) {
			return // nobody would have sent it
		}
		require.NoError(t, err)
		var w T
		require.NoError(t, codec.DecodeOwned(again, &w))
		require.True(t, same(reflect.ValueOf(&v).Elem(), reflect.ValueOf(&w).Elem()), "%#v\n%#v", v, w)
		third, err := codec.Append(nil, &w)
		require.NoError(t, err)
		require.Equal(t, again, third)
	})
}

var allocSample = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}

func heapAllocs() uint64 {
	metrics.Read(allocSample)
	return allocSample[0].Value.Uint64()
}

func FuzzInt(f *testing.F) { fuzz(f, 0, -1, math.MaxInt) }

func FuzzString(f *testing.F) { fuzz(f, "", "text", "\xff") }

func FuzzFloats(f *testing.F) {
	fuzz(f, nil, []float64{}, []float64{1, math.NaN(), math.Inf(1)})
}

func FuzzPacked(f *testing.F) { fuzz(f, nil, []padded{}, []padded{{A: 1, C: true}, {}}) }

func FuzzRecord(f *testing.F) {
	fuzz(f, record{}, record{Name: "n", At: time.Unix(1, 2).In(zones[2]), Tags: []string{"", "t"}, Body: []byte{1}, Grid: [][]float32{{1}, nil}, Next: &pair{}})
}

type nested struct {
	Maps   map[string]map[int8][]pair
	Ptr    *nested
	Opt    []int `cbor:",omitempty"`
	Bytes  []byte
	Array  [2]float32
	Keys   map[pair]*string
	Flag   bool
	U16    uint16
	Secret secret
	Level  map[level]struct{}
	Tight  []asArray
	Big    map[bool]float64
}

func FuzzNested(f *testing.F) {
	fuzz(f, nested{}, nested{
		Maps: map[string]map[int8][]pair{"a": {1: {{2, 3}}, -1: nil}, "b": nil}, Ptr: &nested{Opt: []int{1, -300}}, Bytes: []byte("b"),
		Keys: map[pair]*string{{1, 2}: nil, {2, 1}: new("s")}, Flag: true, U16: 65535, Secret: secret{1, 2}, Level: map[level]struct{}{3: {}},
		Tight: []asArray{{A: 5}, {B: map[string]int{"x": 1}}}, Big: map[bool]float64{true: -1.5},
	})
}

func FuzzGeneral(f *testing.F) {
	fuzz(f, general{}, general{Died: new(time.Unix(1, 2).UTC()), Names: map[string]int{"": 1}, Tree: &tree{Left: &tree{}}})
}

func FuzzTree(f *testing.F) {
	fuzz(f, tree{}, tree{Value: 1, Kids: []*tree{nil, {Index: map[string]*tree{"x": {}}}}, Left: &tree{}})
}

func FuzzItself(f *testing.F) {
	fuzz(f, []itself{{[]byte{1}}, {[]byte{0x82, 1, 0x61, 'a'}}, {[]byte{0xc2, 0x41, 5}}})
}

func FuzzReferences(f *testing.F) {
	v := withRefs{
		One: &ref[int]{}, Many: []*ref[string]{nil, {}}, Named: map[string]*ref[int]{"a": {}, "b": nil},
		Inner: map[int]struct {
			F *ref[int]
			G []*ref[int]
		}{1: {F: &ref[int]{}}},
	}
	fuzz(f, withRefs{}, v)
}

// A reference for each that was sent, and in the same order.
func FuzzReplace(f *testing.F) {
	f.Add([]byte("c\x82\xa0\xf6"))
	f.Fuzz(func(t *testing.T, data []byte) {
		typ := codec.TypeFor[[]*refTree]()
		var v []*refTree
		if codec.Decode(data, &v) != nil {
			return
		}
		n := 0
		typ.References(reflect.ValueOf(v), func(reflect.Value) { n++ })
		require.NoError(t, typ.Replace(reflect.ValueOf(&v).Elem(), func(i int, _ reflect.Type) (reflect.Value, error) {
			n--
			return reflect.ValueOf(&ref[int]{i + 1}), nil
		}))
		require.Zero(t, n)
		typ.References(reflect.ValueOf(v), func(r reflect.Value) { require.NotZero(t, r.Interface().(*ref[int]).id) })
	})
}
