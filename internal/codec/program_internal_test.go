package codec

import (
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

type mixed struct {
	A bool
	B int8
	C uint16
	D int32
	E float32
	F complex64
	G int
	H uint
	I float64
	J complex128
	K [3]int
	L [2]struct {
		X int16
		Y uint8
	}
	M []int
	N []uint
	O []uint16
	P []float32
	Q []complex128
	R [2][2]bool
	S []bool
	T time.Time
	U *[]int64
	V []struct {
		A bool
		B uint32
	}
}

// Machines that are not little-endian, or have ints of 4 bytes, go number by
// number. They must make the same bytes, and read them.
func TestNumberByNumberIsTheSameAsInBulk(t *testing.T) {
	if !bulk {
		t.Skip("this machine has no other way to compare with")
	}
	v := mixed{
		A: true, B: -1, C: 2, D: -3, E: 4.5, F: complex(5, -6), G: math.MinInt, H: math.MaxUint, I: -7.5, J: complex(8, 9), K: [3]int{1, -2, 3},
		M: []int{-1, math.MaxInt}, N: []uint{1}, O: []uint16{1, 65535}, P: []float32{1.5, 2.5}, Q: []complex128{1, 2i}, R: [2][2]bool{{true}, {false, true}},
		S: []bool{true, false}, T: time.Unix(1, 2).UTC(), U: &[]int64{5, -6},
	}
	v.L[1].X, v.L[1].Y = -9, 9
	v.V = append(v.V, v.V...)
	v.V = append(v.V, struct {
		A bool
		B uint32
	}{true, 1 << 31})
	s := For(reflect.TypeFor[mixed]()).shape
	inBulk, single := compile(s, true), compile(s, false)
	require.Less(t, len(inBulk.ops), len(single.ops))
	require.Equal(t, inBulk.least, single.least)
	data := inBulk.pack(nil, unsafe.Pointer(&v))
	require.Equal(t, data, single.pack(nil, unsafe.Pointer(&v)))
	for _, g := range []*program{inBulk, single} {
		var to mixed
		u := unpacker{data: data}
		require.NoError(t, u.unpack(g, unsafe.Pointer(&to)))
		require.Empty(t, u.data)
		require.Equal(t, v, to)
		for n := range data {
			u := unpacker{data: data[:n]}
			require.Error(t, u.unpack(g, unsafe.Pointer(&to)))
		}
	}
}

func TestWhatIsContiguousIsCopiedAtOnce(t *testing.T) {
	if !bulk {
		t.Skip("not on this machine")
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[struct{ A, B int }](), reflect.TypeFor[struct {
			A [3]float32
			B struct{ C, D int16 }
		}](), reflect.TypeFor[[5][4]complex128](), reflect.TypeFor[uint8](),
	} {
		g := For(typ).raw
		require.True(t, g.plain, "%s", typ)
		require.Equal(t, int(typ.Size()), g.least)
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[struct {
			A int8
			B int
		}](), reflect.TypeFor[bool](), reflect.TypeFor[time.Time](), reflect.TypeFor[string](),
		reflect.TypeFor[struct {
			A int
			_ int
		}](),
	} {
		require.False(t, For(typ).raw.plain, "%s", typ)
	}
}

// Which path a type takes is decided by the type, and not by the machine.
func TestPathsOfTypes(t *testing.T) {
	for form, list := range map[byte][]any{
		formScalar:  {0, 1.5, true, 1i, time.Time{}, time.Second},
		formBytes:   {"", []byte{}},
		formPacked:  {[]int{}, []bool{}, []struct{ A, B int }{}, [][2]float64{}, []time.Time{}, []complex64{}},
		formRecord:  {struct{ A int }{}, [2]int{}, []string{}, [][]byte{}, [][]float64{}, new(int), struct{ S string }{}, []*int{}, struct{}{}},
		formGeneral: {map[string]int{}, []map[int]int{}, []struct{}{}, struct{ M map[int]int }{}, []error(nil)},
	} {
		for _, v := range list {
			typ := For(reflect.TypeOf(v))
			if typ.err == nil {
				require.Equal(t, string(form), string(typ.form), "%T", v)
			}
		}
	}
}
