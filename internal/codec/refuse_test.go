package codec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

type job struct {
	Meta map[string]detail
}

type detail struct {
	Notify chan int
}

type hidden struct {
	A int
	b int
}

type hiddenDeep struct{ List []map[int]*hidden }

type onlyMarshal struct{ a int }

func (onlyMarshal) MarshalBinary() ([]byte, error) { return nil, nil }

type onlyUnmarshal struct{ A int }

func (*onlyUnmarshal) UnmarshalText([]byte) error { return nil }

type onlyJSON struct{ a int }

func (onlyJSON) MarshalJSON() ([]byte, error) { return nil, nil }
func (*onlyJSON) UnmarshalJSON([]byte) error  { return nil }

type promotes struct {
	time.Time
	Name string
}

type onlyPromotes struct{ time.Time }

type overrides struct {
	time.Time
	Name string
}

func (o overrides) MarshalBinary() ([]byte, error)  { return []byte(o.Name), nil }
func (o *overrides) UnmarshalBinary(b []byte) error { o.Name = string(b); return nil }

type halfOverrides struct {
	time.Time
	Name string
}

func (o halfOverrides) MarshalBinary() ([]byte, error) { return []byte(o.Name), nil }

type ambiguous struct {
	time.Time
	*big.Int
}

type inner1 struct{ X int }
type inner2 struct{ X int }

type conflict struct {
	inner1
	inner2
}

type shadows struct {
	inner1
	X string
}

type sameTag struct {
	A int `cbor:"x"`
	B int `json:"x"`
}

type sameInt struct {
	A int `cbor:"1,keyasint"`
	B int `cbor:"+1,keyasint"`
}

type Self struct {
	*Self
	A int
}

type unexportedPointer struct {
	*inner1
	B int
}

type Maybe struct {
	X int `cbor:",omitempty"`
}

type vanishing struct {
	*Maybe
	B map[string]int
}

type lists []lists

type loop *loop

type embedsRef struct {
	*ref[int]
	N int
}

type EmbedsRef struct {
	*Ref
	N int
}

// Ref is exported, to be embedded.
type Ref struct{ id int }

func (*Ref) NearfarReference() (self, value reflect.Type) {
	return reflect.TypeFor[*Ref](), reflect.TypeFor[string]()
}

type glassRef struct{ Open int }

func (*glassRef) NearfarReference() (self, value reflect.Type) {
	return reflect.TypeFor[*glassRef](), nil
}

type keyHolder [1]*keyNode
type keyNode struct{ M map[keyHolder]int }

func TestTypesThatCannotTravelAreRefused(t *testing.T) {
	for _, c := range []struct {
		v          any
		path, text string
	}{
		{job{}, `job.Meta["..."].Notify`, "is a chan int"},
		{make(chan int), "chan int", "is a chan int"},
		{func() {}, "func()", "is a func()"},
		{struct{ F []func(int) error }{}, "struct { F []func(int) error }.F[i]", "is a func(int) error"},
		{unsafe.Pointer(nil), "Pointer", "address"},
		{uintptr(0), "uintptr", "address"},
		{[]uintptr{}, "[]uintptr[i]", "address"},
		{[]any{}, "[]interface {}[i]", "interface"},
		{new(error), "error", "interface"},
		{map[string]any{}, `map[string]interface {}["..."]`, "interface"},
		{map[any]int{}, `map[interface {}]int(key)`, "interface"},
		{struct{ E io.Reader }{}, "struct { E io.Reader }.E", "io.Reader"},
		{struct{ C context.Context }{}, "struct { C context.Context }.C", "interface"},
		{hidden{b: 1}, "hidden.b", "not exported"},
		{hiddenDeep{}, "hiddenDeep.List[i][...].b", "not exported"},
		{&hiddenDeep{}, "hiddenDeep.List[i][...].b", "not exported"},
		{struct{ M sync.Mutex }{}, "", "not exported"},
		{struct{ B bytes.Buffer }{}, "", "not exported"},
		{onlyMarshal{a: 1}, "onlyMarshal", "has MarshalBinary but no UnmarshalBinary"},
		{onlyUnmarshal{}, "onlyUnmarshal", "has UnmarshalText but no MarshalText"},
		{onlyJSON{a: 1}, "onlyJSON.a", "not exported"},
		{promotes{}, "promotes", "embedded Time"},
		{halfOverrides{}, "halfOverrides", "embedded Time"},
		{ambiguous{}, "ambiguous", "embedded Time"},
		{conflict{}, "conflict.inner2.X", "same name as conflict.inner1.X"},
		{shadows{}, "shadows.X", "same name as shadows.inner1.X"},
		{sameTag{}, "sameTag.B", "same name as sameTag.A"},
		{sameInt{}, "sameInt.B", "same name as sameInt.A"},
		{struct {
			A int `cbor:"a,keyasint"`
		}{}, "", "keyasint"},
		{struct {
			A int `json:"-"`
		}{}, "", `json:"-"`},
		{struct {
			_ struct{} `cbor:",toindefarray"`
			A map[string]int
		}{}, "", "toindefarray"},
		{Self{}, "Self.Self", "embedded twice"},
		{unexportedPointer{}, "unexportedPointer.inner1", "unexported type"},
		{vanishing{}, "vanishing.Maybe", "embedded pointer"},
		{embedsTime{}, "embedsTime.Time", "is embedded, where the methods"},
		{map[string]complex128{}, `map[string]complex128["..."]`, "complex128"},
		{map[string]**int{}, `map[string]**int["..."]`, "would look alike"},
		{map[string]*[]int{}, `map[string]*[]int["..."]`, "would look alike"},
		{map[string]*[]byte{}, `map[string]*[]uint8["..."]`, "would look alike"},
		{map[string]*map[string]int{}, `map[string]*map[string]int["..."]`, "would look alike"},
		{map[*int]string{}, "map[*int]string", "pointers"},
		{map[[2]*int]string{}, "", "pointers"},
		{map[struct{ P *int }]string{}, "", "pointers"},
		{map[time.Time]string{}, "", "times"},
		{map[struct {
			A int
			B int `cbor:"-"`
		}]string{}, "", `cbor:"-"`},
		{keyNode{}, "keyNode.M", "pointers"},
		{cbor.Tag{}, "Tag.Content", "interface"},
		{big.NewFloat(1), "Float", "precision"},
		{embedsRef{}, "embedsRef.ref", "embedded reference"},
		{&EmbedsRef{}, "EmbedsRef.Ref", "embedded reference"},
		{new(*ref[int]), "ref[int]", "would look alike"},
		{[]*glassRef{}, "[]*codec_test.glassRef[i]", "opaque"},
		{loop(nil), "loop", "would look alike"},
	} {
		typ := codec.For(reflect.TypeOf(c.v))
		err := typ.Err()
		require.Error(t, err, "%T", c.v)
		var fault *codec.TypeError
		require.ErrorAs(t, err, &fault)
		require.Equal(t, reflect.TypeOf(c.v), fault.Type)
		require.Contains(t, err.Error(), c.text, "%T", c.v)
		if c.path != "" {
			require.Equal(t, c.path, fault.Path, "%T", c.v)
		}
		_, err = typ.Append(nil, reflect.ValueOf(c.v))
		require.ErrorIs(t, err, fault)
		require.ErrorIs(t, typ.Decode([]byte{1}, reflect.New(reflect.TypeOf(c.v)).Elem()), fault)
		require.NotEmpty(t, typ.Describe())
		typ.References(reflect.ValueOf(c.v), func(reflect.Value) {})
	}
	require.Error(t, codec.For(nil).Err())
	require.Equal(t, `codec: type codec_test.job cannot travel: job.Meta["..."].Notify is a chan int; `+
		`a channel cannot leave its process: send values, or futures`, codec.TypeFor[job]().Err().Error())
}

func TestTypesThatLookRefusableTravel(t *testing.T) {
	there(t, onlyPromotes{time.Unix(1, 2).UTC()})
	there(t, struct {
		_ func()
		A int
		_ [0]func()
		z struct{}
	}{A: 1})
	there(t, struct {
		A int
		b chan int `cbor:"-"`
		C func()   `cbor:"-"`
	}{A: 1})
	there(t, struct {
		A json.Number
		B json.RawMessage `json:"b,omitempty"`
		C map[string]bool `json:",omitempty"`
	}{A: "1.5"})
	there(t, lists{nil, {}, {{}, nil}})
	there(t, struct {
		base `cbor:"b"`
		M    map[string]int
	}{base{1, "k"}, nil})
	there(t, []onlyLevel{1, 2}) // slices of bytes, whatever methods the bytes have

	var o overrides
	data, err := codec.Append(nil, &overrides{Name: "n"})
	require.NoError(t, err)
	require.NoError(t, codec.Decode(data, &o))
	require.Equal(t, "n", o.Name)
}

type onlyLevel uint8

func (onlyLevel) MarshalText() ([]byte, error) { return nil, errors.New("not asked") }

type omits struct {
	M     map[string]int         // makes it a case for the general codec
	Slice []int                  `cbor:",omitempty"`
	Bytes []byte                 `json:",omitempty"`
	Map   map[int]int            `cbor:",omitempty"`
	Float float64                `cbor:",omitempty"`
	Text  name                   `cbor:",omitempty"`
	Zero  odd                    `cbor:",omitzero"`
	When  *time.Time             `cbor:",omitzero"`
	Pair  pair                   `cbor:",omitempty"`
	Minus [1]struct{ F float32 } `cbor:",omitzero"`
}

type name struct{ N string }

// The text of void is empty, but the text of the zero value is not.
func (n name) MarshalText() ([]byte, error) {
	if n.N == "void" {
		return nil, nil
	}
	return []byte("=" + n.N), nil
}

func (n *name) UnmarshalText(b []byte) error {
	n.N = strings.TrimPrefix(string(b), "=")
	if len(b) == 0 {
		n.N = "void"
	}
	return nil
}

// odd says of odd numbers that they are zero.
type odd int

func (o *odd) IsZero() bool { return *o%2 != 0 }

func TestValuesThatWouldBeLostAreRefused(t *testing.T) {
	codec.LowerMaxPlaces(t, 1<<20)
	ny := time.FixedZone("NY", -5*3600)
	cycle := &tree{Value: 1}
	cycle.Left = &tree{Kids: []*tree{nil, {Index: map[string]*tree{"x": cycle}}}}
	ring := &list{}
	ring.Next = &list{Next: ring}
	self := lists{nil}
	self[0] = self
	long := &list{}
	for range codec.MaxDepth {
		long = &list{Next: long}
	}
	shared := &tree{}
	for range 60 {
		shared = &tree{Left: shared, Kids: []*tree{shared}}
	}
	zone := func(t time.Time) map[string]time.Time { return map[string]time.Time{"t": t} }
	for _, c := range []struct {
		v          any
		path, text string
	}{
		{cycle, `tree.Left.Kids[1].Index["x"]`, "leads back"},
		{*ring, "list.Next.Next.Next", "leads back"},
		{self, "lists[0]", "leads back"},
		{long, "list", "nested deeper than 10000"},
		{shared, "tree", "unfolds"},
		{zone(time.Time{}.In(ny)), `map[string]time.Time["t"]`, "zero time"},
		{zone(time.Unix(0, 0).In(time.FixedZone("", 90))), `map[string]time.Time["t"]`, "seconds in its offset"},
		{zone(time.Unix(0, 0).In(time.FixedZone("", 24*3600))), `map[string]time.Time["t"]`, "a day or more"},
		{zone(time.Date(-1, 12, 31, 23, 59, 59, 0, ny)), `map[string]time.Time["t"]`, "four digits"},
		{zone(time.Date(10000, 1, 1, 0, 0, 0, 0, ny)), `map[string]time.Time["t"]`, "four digits"},
		{map[int]*time.Time{7: {}}, "map[int]*time.Time[7]", "zero time"},
		{map[float64]int{math.NaN(): 1}, "", "NaN as a key"},
		{map[struct{ F [1]float32 }]int{{[1]float32{float32(math.NaN())}}: 1}, "", "NaN as a key"},
		{map[string]float32{"f": math.Float32frombits(0x7f800001)}, `map[string]float32["f"]`, "signalling"},
		{map[string][]float32{"f": {0, math.Float32frombits(0xff800001)}}, `map[string][]float32["f"][1]`, "signalling"},
		{map[string]*itself{"i": {[]byte{0xf6}}}, `map[string]*codec_test.itself["i"]`, "null"},
		{omits{Slice: []int{}}, "omits.Slice", "omitempty"},
		{omits{Bytes: []byte{}}, "omits.Bytes", "omitempty"},
		{omits{Map: map[int]int{}}, "omits.Map", "omitempty"},
		{omits{Float: math.Copysign(0, -1)}, "omits.Float", "omitempty"},
		{omits{Text: name{"void"}}, "omits.Text", "omitempty"},
		{omits{Zero: 3}, "omits.Zero", "omitzero"},
		{omits{Minus: [1]struct{ F float32 }{{float32(math.Copysign(0, -1))}}}, "omits.Minus", "omitzero"},
		{omits{When: &time.Time{}}, "omits.When", "omitzero"},
	} {
		typ := codec.For(reflect.TypeOf(c.v))
		require.NoError(t, typ.Err())
		prefix := []byte("before")
		got, err := typ.Append(prefix, reflect.ValueOf(c.v))
		require.Error(t, err, "%T %s", c.v, c.path)
		require.Equal(t, "before", string(got))
		var fault *codec.ValueError
		require.ErrorAs(t, err, &fault)
		require.Contains(t, err.Error(), c.text)
		if c.path != "" {
			require.Equal(t, c.path, fault.Path)
		}
	}
	there(t, omits{Slice: []int{1}, Bytes: []byte{1}, Map: map[int]int{1: 2}, Float: -1, Text: name{"n"}, Zero: 2, When: new(time.Unix(1, 0).UTC())})
	there(t, omits{})
	there(t, zone(time.Date(0, 1, 1, 0, 0, 0, 0, ny)))
	there(t, zone(time.Date(9999, 12, 31, 23, 59, 59, 0, ny)))

	for long.N = 0; long.Next.Next != nil && long.N < 1; long.N++ {
		long = long.Next
	}
	there(t, long) // exactly as deep as allowed
	shared = &tree{}
	for range 10 {
		shared = &tree{Left: shared, Kids: []*tree{shared}}
	}
	there(t, shared)
}

func TestMarshalersThatFailOrPanicAreNamed(t *testing.T) {
	for _, c := range []struct{ how, text string }{
		{"panic out", "faulty.MarshalBinary panicked: out"},
		{"fail out", "faulty"},
		{"panic in", "(*faulty).UnmarshalBinary panicked: faulty"},
	} {
		in := map[string]faulty{"f": {c.how}}
		data, err := codec.Append([]byte("before"), &in)
		if c.how == "panic in" {
			require.NoError(t, err)
			var out map[string]faulty
			err = codec.Decode(data[6:], &out)
			require.Nil(t, out)
			require.ErrorIs(t, err, errFaulty)
		} else {
			require.Equal(t, "before", string(data))
		}
		require.ErrorContains(t, err, c.text)
		require.ErrorContains(t, err, "map[string]codec_test.faulty")
	}
	deep := itself{append(bytes.Repeat([]byte{0x81}, 2*codec.MaxDepth), 0)}
	_, err := codec.Append(nil, &deep)
	require.ErrorContains(t, err, "nested deeper")
	_, err = codec.Append(nil, &itself{[]byte{0xd9, 0xd9, 0xf7, 1}})
	require.ErrorContains(t, err, "55799")
	_, err = codec.Append(nil, &itself{[]byte{0x81}})
	require.Error(t, err)
}

// embedsTime gets no methods for encoding from either: they are ambiguous.
type embedsTime struct {
	time.Time
	netip.Addr
}
