package codec_test

import (
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

func TestTypesThatDifferHaveDifferentFingerprints(t *testing.T) {
	type linked struct {
		V    int
		Next *linked
	}
	type linkedTwice struct {
		V    int
		Next **linkedTwice
	}
	type deepSlices []deepSlices
	type deepMaps map[string]deepMaps
	seen := make(map[codec.Fingerprint]reflect.Type)
	for _, v := range []any{
		0, int64(0), uint(0), "", []byte{}, []int8{}, [3]int{}, [4]int{}, []int{}, [][]int{}, map[string]int{}, map[int]string{}, new(int), new(*int),
		struct{}{}, struct{ A int }{}, struct{ B int }{}, struct{ A int64 }{}, struct{ A, B int }{}, struct{ B, A int }{},
		struct {
			A int `cbor:"a"`
		}{}, struct {
			A int `cbor:"a,omitempty"`
		}{}, struct {
			_ struct{} `cbor:",toarray"`
			A int
		}{},
		struct{ a int }{}, struct{ pair }{}, pair{}, linked{}, &linked{}, linkedTwice{}, deepSlices{}, deepMaps{}, tree{}, list{}, general{},
		time.Time{}, time.Second, secret{}, itself{}, level(0), celsius(0), new(error), new(any), new(io.Reader), new(io.Writer),
		make(chan int), make(<-chan int), func() {}, func(int) {}, new(ref[int]), new(ref[string]), new(ref[linked]), new(Ref), new(refTree),
	} {
		typ := codec.For(reflect.TypeOf(v))
		f := typ.Fingerprint()
		if other, taken := seen[f]; taken && other != reflect.TypeOf(v) {
			// Names do not matter.
			require.Contains(t, []any{reflect.TypeFor[celsius](), reflect.TypeFor[time.Duration](), reflect.TypeFor[pair]()}, reflect.TypeOf(v), "%s", other)
		}
		seen[f] = reflect.TypeOf(v)
		require.Equal(t, f, typ.Fingerprint())
	}
	require.Equal(t, codec.TypeFor[float64]().Fingerprint(), codec.TypeFor[celsius]().Fingerprint(), "names do not matter")
	type other struct{ A, B int }
	require.Equal(t, codec.TypeFor[pair]().Fingerprint(), codec.TypeFor[other]().Fingerprint())

	i, s := reflect.TypeFor[int](), reflect.TypeFor[string]()
	require.NotEqual(t, codec.FuncFingerprint(i, s), codec.FuncFingerprint(s, i))
	require.Equal(t, codec.FuncFingerprint(i, s), codec.FuncFingerprint(i, s))
}

// What is written here is what other builds must come to. A change to it is a
// change of the protocol: layout in fingerprint.go has to change as well.
func TestFingerprintsAreTheSameInEveryBuild(t *testing.T) {
	typ := codec.TypeFor[record]()
	require.Equal(t, `struct 1 {
  Name string
  At time.Time by MarshalBinary
  Score float64
  Tags []string
  Body []uint8
  Grid [][]float32
  Next *struct 2 {
    A int
    B int
  }
  Ring [2]struct 3 {
    X []int16
    Y []int16
  }
  Took int64
  Temps []float64
  Deep **[]*string
}`, typ.Describe())
	require.Equal(t, "854b4bb8ac3993f549e9209d8f840245", typ.Fingerprint().String())
	require.Equal(t, `struct 1 {
  F reference github.com/nearfar/nearfar/internal/codec_test.ref to int
  Kids []*struct 1
  Up *struct 1 ",omitempty"
}`, codec.TypeFor[refTree]().Describe())
	type slices []map[string]slices
	require.Equal(t, `[]map[string]^0`, codec.TypeFor[slices]().Describe())
	require.Equal(t, `struct 1 {
  embedded Time time.Time by MarshalBinary
  Name string
}`, codec.TypeFor[promotes]().Describe())
	require.Equal(t, `interface io.Reader { Read func([]uint8) (int, error); }`, codec.TypeFor[io.Reader]().Describe())
}
