package codec_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/internal/codec"
)

// What types are made of.
var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](),
	reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](),
	reflect.TypeFor[complex128](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[[3]byte](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[big.Int](), reflect.TypeFor[*big.Int](),
	reflect.TypeFor[netip.Addr](), reflect.TypeFor[url.URL](), reflect.TypeFor[secret](), reflect.TypeFor[level](), reflect.TypeFor[celsius](),
	reflect.TypeFor[struct{}](), reflect.TypeFor[tree](), reflect.TypeFor[lists](), reflect.TypeFor[record](), reflect.TypeFor[asArray](),
	reflect.TypeFor[byInt](), reflect.TypeFor[padded](), reflect.TypeFor[general](), reflect.TypeFor[omits](), reflect.TypeFor[name](),
}

var tags = []reflect.StructTag{"", "", "", `cbor:",omitempty"`, `json:",omitempty"`, `cbor:",omitzero"`, `cbor:"x"`, `cbor:"1,keyasint"`, `json:"é"`, `cbor:"-"`}

func anyType(t *rapid.T, depth int) reflect.Type {
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	if depth == 0 || kind < 3 {
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	}
	switch kind {
	case 3:
		return reflect.PointerTo(anyType(t, depth-1))
	case 4:
		return reflect.SliceOf(anyType(t, depth-1))
	case 5:
		return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(t, "len"), anyType(t, depth-1))
	case 6, 7:
		key := anyType(t, 1)
		if !key.Comparable() {
			key = reflect.TypeFor[string]()
		}
		return reflect.MapOf(key, anyType(t, depth-1))
	}
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("F%d", i),
			Type: anyType(t, depth-1),
			Tag:  rapid.SampledFrom(tags).Draw(t, "tag"),
		})
	}
	return reflect.StructOf(fields)
}

var zones = []*time.Location{time.UTC, time.Local, time.FixedZone("", -5*3600), time.FixedZone("", 53*60+28), time.FixedZone("", 0)}

func fill(t *rapid.T, v reflect.Value, depth int) {
	few := func() int {
		if depth <= 0 {
			return 0
		}
		return rapid.IntRange(0, 3).Draw(t, "n")
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		at := time.Unix(rapid.Int64Range(-65e9, 260e9).Draw(t, "s"), rapid.Int64Range(0, 1e9).Draw(t, "ns"))
		if rapid.IntRange(0, 5).Draw(t, "zero") == 0 {
			at = time.Time{}
		}
		*x = at.In(rapid.SampledFrom(zones).Draw(t, "zone"))
		return
	case *big.Int:
		x.SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "big"))
		if rapid.Bool().Draw(t, "sign") {
			x.Neg(x)
		}
		return
	case *netip.Addr:
		*x, _ = netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))
		return
	case *url.URL:
		x.Path = rapid.StringMatching(`/[a-z]*`).Draw(t, "path")
		return
	case *level:
		*x = level(rapid.IntRange(0, 9).Draw(t, "level"))
		return
	case *secret:
		x.a = int32(rapid.Int8().Draw(t, "a"))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int") >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint") >> (64 - v.Type().Bits()))
	case reflect.Float32:
		*(*uint32)(v.Addr().UnsafePointer()) = rapid.OneOf(rapid.Uint32(),
			rapid.SampledFrom([]uint32{0, 1 << 31, 0x7f800000, 0x7fc00001, 0x7f800001})).Draw(t, "f32")
	case reflect.Float64:
		v.SetFloat(math.Float64frombits(rapid.OneOf(rapid.Uint64(),
			rapid.SampledFrom([]uint64{0, 1 << 63, 0x7ff0 << 48, 0x7ff8<<48 | 1, 0x7ff0<<48 | 1})).Draw(t, "f64")))
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(rapid.Float64().Draw(t, "re"), rapid.Float64().Draw(t, "im")))
	case reflect.String:
		v.SetString(string(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "string")))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") && depth > -3 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if n := few(); n > 0 || rapid.Bool().Draw(t, "empty") {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1)
		}
	case reflect.Map:
		n := few()
		if n > 0 || rapid.Bool().Draw(t, "empty") {
			v.Set(reflect.MakeMap(v.Type()))
		}
		for range n {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, depth-1)
			fill(t, value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Tag.Get("cbor") != "-" {
				fill(t, f, depth-1)
			}
		}
	}
}

// Whatever is not refused arrives as it left, with a fingerprint that does not
// depend on anything but the type.
func TestWhatIsNotRefusedArrives(t *testing.T) {
	refused, lost, arrived := 0, 0, 0
	check := func(t *rapid.T) {
		goType := anyType(t, 3)
		typ := codec.For(goType)
		require.NotEmpty(t, typ.Describe())
		v := reflect.New(goType).Elem()
		fill(t, v, 4)
		if typ.Err() != nil {
			refused++
			return
		}
		data, err := typ.Append(nil, v)
		if err != nil {
			fault := new(codec.ValueError)
			if errors.As(err, &fault) {
				lost++
				return
			}
		}
		require.NoError(t, err)
		again, err := typ.Append(nil, v)
		require.NoError(t, err)
		require.Equal(t, data, again)
		into := reflect.New(goType).Elem()
		require.NoError(t, typ.Decode(data, into), "%s %x", goType, data)
		require.True(t, same(v, into), "%s arrived as\n%#v, not\n%#v", goType, into, v)
		arrived++

		// And nothing shorter or longer does.
		require.Error(t, typ.Decode(data[:len(data)-1], into))
		require.True(t, into.IsZero())
		require.Error(t, typ.Decode(append(data, 0), into))
	}
	for range 10 { // a run of 100 is over in 10 ms
		rapid.Check(t, check)
	}
	t.Logf("%d types were refused, %d values, and %d arrived", refused, lost, arrived)
	require.Greater(t, arrived, refused)
}
