package codec_test

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

// there encodes a value and decodes it, in both ways that the package has, and
// checks that they agree.
func there(t require.TestingT, v any) any {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	rv := reflect.ValueOf(v)
	typ := codec.For(rv.Type())
	require.NoError(t, typ.Err())
	prefix := []byte("before")
	data, err := typ.Append(prefix, rv)
	require.NoError(t, err)
	require.Equal(t, "before", string(data[:6]))
	data = data[6:]
	again, err := typ.Append(nil, rv)
	require.NoError(t, err)
	require.Equal(t, data, again, "encoded twice")

	into := reflect.New(rv.Type()).Elem()
	require.NoError(t, typ.Decode(data, into))
	for i := range data {
		data[i] ^= 0x55 // what was decoded must not notice
	}
	owned := reflect.New(rv.Type()).Elem()
	require.NoError(t, typ.DecodeOwned(again, owned))
	require.True(t, same(into, owned), "owned differs")
	require.True(t, same(rv, into), "%s arrived as\n%#v, not\n%#v", rv.Type(), into, rv)
	return into.Interface()
}

func TestValuesArriveAsTheyLeft(t *testing.T) {
	ny := time.FixedZone("NY", -5*3600)
	odd := time.FixedZone("LMT", 53*60+28)
	inf := math.Inf(-1)
	nan := math.Float64frombits(0x7ff8000000abcdef)
	signalling := math.Float64frombits(0x7ff0000000000001)
	nan32 := math.Float32frombits(0x7fc0beef)
	signalling32 := math.Float32frombits(0x7f800001)
	huge, _ := new(big.Int).SetString(strings.Repeat("1234567890", 20), 10)
	site, err := url.Parse("https://u:p@h.example:80/a%2Fb?q=1#f")
	require.NoError(t, err)
	full := general{
		base: base{1, "k"}, Pair: &Pair{3, 4},
		Names: map[string]int{"b": 2, "a": 1, "": math.MinInt}, ByID: map[int32][]string{-1: nil, 2: {}, 3: {"\xff\x00"}},
		Set: map[pair]struct{}{{1, 2}: {}, {2, 1}: {}}, Born: time.Date(1, 2, 3, 4, 5, 6, 789, ny), Died: new(time.Unix(0, 1).UTC()),
		Addr: netip.MustParseAddr("fe80::1%eth0"), Site: site, Big: new(big.Int).Neg(huge), Huge: *huge,
		F32: nan32, F64: nan, F32s: []float32{float32(inf), float32(math.Copysign(0, -1)), 1e-45}, U64: math.MaxUint64, I8: -128,
		Raw: []byte{}, Hash: [4]byte{1, 2, 3, 4}, Level: 3, Levels: []level{1, 2}, Flags: [3]bool{true, false, true},
		Nums: []int{math.MaxInt, math.MinInt, 0, -1, 23, 24, 255, 256}, Keyed: map[float64]string{inf: "inf", math.Copysign(0, -1): "-0"},
		Message: []byte("not json"), Tree: &tree{Kids: []*tree{nil, {Value: 1, Index: map[string]*tree{"x": nil, "y": {}}}}, Left: &tree{}},
		Nested: map[string]map[string]*pair{"a": nil, "b": {}, "c": {"d": {5, 6}, "e": nil}}, Renamed: "r", Opt: []int{0}, Zero: 1,
	}
	for _, v := range []any{
		// scalars
		true, false, 0, -1, math.MaxInt, math.MinInt, int8(-128), int16(-32768), int32(math.MinInt32), int64(math.MaxInt64),
		uint(math.MaxUint), uint8(255), uint16(65535), uint32(math.MaxUint32), uint64(math.MaxUint64),
		1.5, math.Copysign(0, -1), math.Inf(1), inf, nan, signalling, math.SmallestNonzeroFloat64, float32(0.1), nan32, signalling32,
		complex(1, -2), complex64(complex(nan32, 3)), celsius(-273.15), time.Second, level(3),
		time.Time{}, time.Time{}.In(ny), time.Unix(1, 2).UTC(), time.Unix(1, 2).In(odd), time.Date(-20000, 1, 2, 3, 4, 5, 6, time.UTC),
		time.Date(200000, 1, 2, 3, 4, 5, 6, odd), time.Now().Round(0), time.Unix(1<<62, 5).UTC(), time.Unix(7, 0).In(time.FixedZone("", math.MaxInt)),
		// strings and bytes
		"", "é", "\xff\xfe", strings.Repeat("x", 100000), []byte(nil), []byte{}, []byte("abc"), bytes.Repeat([]byte{7}, 100000),
		[]string(nil), []string{}, []string{"", "a", strings.Repeat("b", 300), "c"}, [][]byte{nil, {}, {1}, bytes.Repeat([]byte{2}, 300)},
		// packed
		[]float64(nil), []float64{}, []float64{nan, signalling, inf, 1}, []float32{signalling32, 1}, []int{1, -1}, []uint{math.MaxUint},
		[]bool{true, false}, []int8{-1}, []uint16{1, 2, 3}, []complex128{complex(nan, 1)}, []celsius{1, 2}, [3]int{1, 2, 3}, [0]int{},
		[]time.Time{{}, time.Unix(5, 6).In(ny), time.Unix(7, 8).In(ny), time.Unix(7, 8).In(odd)}, []time.Duration{1, 2},
		[]pair{{1, 2}, {3, 4}}, pair{5, 6}, padded{-1, 2, true, signalling32, [3]uint16{1, 2, 3}, 4i}, []padded{{}, {A: 1, E: [3]uint16{9, 8, 7}}},
		[][2]pair{{{1, 2}, {3, 4}}}, [2][]pair{{{1, 2}}, nil}, [][]float64{nil, {}, {1, 2}}, [][][]int32{{{1}, nil}, {}},
		// records
		struct{}{}, &struct{}{}, []*struct{}{nil, {}}, record{}, record{
			Name: "n", At: time.Unix(1, 2).In(ny), Tags: []string{"a", ""}, Body: []byte{}, Grid: [][]float32{{1}, nil, {}},
			Next: &pair{1, 2}, Ring: [2]struct{ X, Y []int16 }{{X: []int16{1}}, {Y: []int16{}}}, Temps: []celsius{3},
			Deep: new(new([]*string{nil, new("deep")})),
		},
		[]record{{Name: "1"}, {Name: "2"}}, new(new((*int)(nil))), (*int)(nil), new(0), new([]int(nil)), (*[]int)(nil),
		new(time.Time{}), []*pair{nil, {1, 2}},
		// the general codec
		general{}, full, &full, []general{full, {}}, map[string]int(nil), map[string]int{}, map[string]map[int]string{"a": {1: "b"}, "b": nil},
		map[bool][]byte{true: {}, false: nil}, map[[2]int8]pair{{1, 2}: {3, 4}}, map[celsius]int{1: 2}, map[level]level{1: 2, 3: 4},
		map[netip.Addr]string{netip.MustParseAddr("1.2.3.4"): "a"}, map[string][]float32{"a": {nan32}}, []struct{}{{}, {}}, [][0]int{{}, {}},
		map[string]struct{}{"x": {}}, map[uint64]int64{math.MaxUint64: math.MinInt64}, map[string]*string{"nil": nil, "empty": new("")},
		tree{}, &tree{Left: &tree{Left: &tree{}}}, (*tree)(nil), asArray{}, asArray{A: 1, B: map[string]int{"a": 1}, C: new("c")},
		byInt{}, byInt{A: 1, B: "b", C: map[int]string{1: "x"}}, big.NewInt(-5), *huge, []*big.Int{nil, huge, big.NewInt(0), new(big.Int).SetUint64(math.MaxUint64)},
		secret{1, -2}, []secret{{3, 4}}, map[string]secret{"a": {}}, &secret{5, 6}, itself{[]byte{0x83, 1, 2, 3}}, []itself{{[]byte{0xf6}}},
		url.URL{Host: "h"}, netip.Addr{}, netip.MustParsePrefix("10.0.0.0/8"), faulty{"fine"},
		map[string]time.Time{"zero": {}, "ny": time.Unix(1, 500).In(ny), "late": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		map[string]any(nil) == nil,
	} {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) { there(t, v) })
	}
}
