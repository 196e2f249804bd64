package codec_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

// wide is large in memory, and could be short in an encoding that leaves things out.
type wide struct {
	A [1000]int
	M map[string]int
}

func TestOtherDataIsAnError(t *testing.T) {
	for _, c := range []struct {
		v    any
		data string
		text string
	}{
		{0, "", "no data"},
		{0, "70", "another way"},
		{0, "73", "ends too early"},
		{0, "7300000000000000", "ends too early"},
		{0, "73000000000000000000", "behind the value"},
		{false, "7302", "neither 0 nor 1"},
		{[]bool{}, "7003000103", "behind the value"},
		{[]bool{}, "7003 01 02", "neither 0 nor 1"},
		{"", "62 03 6162", "ends too early"},
		{"", "62 ffffffffffffffffff01", "ends too early"},
		{"", "62 ffffffffffffffffffff01", "malformed"},
		{"", "62 80", "ends too early"},
		{[]byte{}, "62 ffffffff0f", "ends too early"},
		{[]float64{}, "70 8080808010 0000000000000000", "ends too early"},
		{[]float64{}, "70 03 0000000000000000", "ends too early"},
		{[]string{}, "72 ffffffff0f 00", "ends too early"},
		{[][]int{}, "72 03 00", "ends too early"},
		{new(int), "72 02 0000000000000000", "neither as nil nor as set"},
		{record{}, "72", "ends too early"},
		{[]pair{}, "70 02 00", "ends too early"},
		{map[string]int{}, "63", "too early"},
		{map[string]int{}, "63a1", "too early"},
		{map[string]int{}, "63bb7fffffffffffffff", ""},
		{map[string]int{}, "63bbffffffffffffffff", "not how"},
		{map[string]int{}, "63bf6161 01ff", "not how"},
		{map[string]int{}, "63a161610102", "behind the value"},
		{map[string]int{}, "63a2 616101 616101", "duplicate"},
		{map[string]int{}, "63a1 6161f6", "not how"},
		{map[string]int{}, "63a1 6161c24105", "not how"},
		{map[string]int{}, "63a1 6161e5", "not how"},
		{map[string]int{}, "63a1 4161 01", "not how"},
		{map[string]int{}, "63d9d9f7a1616101", "not how"},
		{map[string]int{}, "63 5f4161ff", "not how"},
		{map[string]int8{}, "63a1 616118ff", "overflows"},
		{map[string]bool{}, "63a1 6161f4f5", "behind the value"},
		{map[string]uint{}, "63a1 616120", "not how"},
		{map[string]float64{}, "63a1 6161 01", "not how"},
		{map[string]float64{}, "63a1 6161 fa00000000", "not how"},
		{map[string]float64{}, "63a1 6161 f97e00", "not how"},
		{map[string][2]int{}, "63a1 6161 8101", "1 elements"},
		{map[string][2]int{}, "63a1 6161 83010101", "3 elements"},
		{map[string][2]byte{}, "63a1 6161 4101", "not how"},
		{map[string][]int{}, "63a1 6161 9a7fffffff 0101", "too early"},
		{map[string][]int{}, "63a1 6161 9b7fffffffffffffff 0101", ""},
		{map[string]wide{}, "63a1 6161 a0", "missing"},
		{map[string]wide{}, "63a1 6161 f6", "not how"},
		{map[string]wide{}, "63a1 6161 a2 6141 80 614d f6", "0 elements"},
		{map[string]pair{}, "63a1 6161 a3 614101 614201 614301", "not its own"},
		{map[string]pair{}, "63a1 6161 a2 614201 614101", "missing"},
		{map[string]pair{}, "63a1 6161 a2 614101 616201", "missing"},
		{map[string]pair{}, "63a1 6161 a2 614101 614101", "missing"},
		{map[string]secret{}, "63a1 6161 820102", "not how"},
		{map[string]secret{}, "63a1 6161 43000000", "no secret"},
		{tree{}, "63" + strings.Repeat("a4 64 4b696473 81", 100000), "nested deeper"},
		{lists{}, "63" + strings.Repeat("81", 1e6), "nested deeper"},
		{[]itself{}, "6381" + strings.Repeat("81", 1e6), "nested deeper"},
		{[]itself{}, "6381" + strings.Repeat("c5", 1e6), "nested deeper"},
		{[]itself{}, "6381 1c", "not how"},
		{withRefs{}, "63a1 634f6e65 a1 626964 01", "not how"},
		{[]*ref[int]{}, "6381 a1 626964 01", "not how"},
		{asArray{}, "6382 01 f6", "missing"},
		{asArray{}, "6384 01 f6 f6 f6", "not its own"},
		{asArray{}, "63a0", "not how"},
	} {
		data, err := hex.DecodeString(strings.ReplaceAll(c.data, " ", ""))
		require.NoError(t, err, c.data)
		typ := codec.For(reflect.TypeOf(c.v))
		into := reflect.New(reflect.TypeOf(c.v)).Elem()
		before := allocated()
		err = typ.Decode(data, into)
		require.Less(t, allocated()-before, 64*len(data)+1<<18)
		require.Error(t, err, "%s for %T", c.data, c.v)
		require.Contains(t, err.Error(), c.text, "%s for %T", c.data[:min(len(c.data), 100)], c.v)
		require.Contains(t, err.Error(), "codec: cannot decode "+reflect.TypeOf(c.v).String())
		require.True(t, into.IsZero())
	}
}

// An int is 8 bytes wherever it comes from, and not everywhere it goes to.
func TestIntsHaveToFitTheMachine(t *testing.T) {
	v := int64(math.MaxInt64)
	data, err := codec.Append(nil, &v)
	require.NoError(t, err)
	list := append([]byte("p\x02"), data[1:]...)
	var n int
	var u uint
	var many []int
	for _, err := range []error{codec.Decode(data, &n), codec.Decode(data, &u), codec.Decode(list, &many)} {
		if unsafe.Sizeof(n) == 8 {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "too large for this machine")
		}
	}
}

// allocated is roughly how many bytes were allocated since the program began.
func allocated() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.TotalAlloc)
}

// Without a look at the type, a byte an element would be enough for these.
func TestFewBytesDoNotBecomeLargeValues(t *testing.T) {
	for _, item := range []string{"\xa0", "\xf6", "\x80"} {
		data := []byte("c\xa1\x61a\x9a\x00\x01\x00\x00" + strings.Repeat(item, 1<<16))
		before := allocated()
		require.Error(t, codec.Decode(data, new(map[string][]wide)))
		require.Less(t, allocated()-before, 1<<20)
	}
}

func TestDepthCostsLittleStack(t *testing.T) {
	long := &list{}
	for range codec.MaxDepth - 1 {
		long = &list{Next: long}
	}
	data, err := codec.Append(nil, &long)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan error)
	go func() {
		var to *list
		err := codec.Decode(data, &to)
		runtime.ReadMemStats(&after)
		done <- err
	}()
	require.NoError(t, <-done)
	require.LessOrEqual(t, int64(after.StackInuse)-int64(before.StackInuse), int64(32<<20))
}

func TestLongSlicesArrive(t *testing.T) {
	n := 10_000_000
	if testing.Short() {
		n = 500_000
	}
	floats := make([]float64, n)
	floats[n-1] = 1
	data, err := codec.Append(nil, &floats)
	require.NoError(t, err)
	var to []float64
	require.NoError(t, codec.Decode(data, &to))
	require.True(t, slices.Equal(floats, to))

	ints := map[string][]int{"": make([]int, n/5)} // in the general codec
	ints[""][n/5-1] = 1
	data, err = codec.Append(nil, &ints)
	require.NoError(t, err)
	var back map[string][]int
	require.NoError(t, codec.Decode(data, &back))
	require.True(t, slices.Equal(ints[""], back[""]))
}

func TestDecodeForgetsWhatWasThere(t *testing.T) {
	v := map[string][]int{"new": {1}}
	data, err := codec.Append(nil, &v)
	require.NoError(t, err)
	old := []int{7, 8, 9}
	to := map[string][]int{"old": nil, "new": old}
	was := to
	require.NoError(t, codec.Decode(data, &to))
	require.Equal(t, v, to)
	require.Len(t, was, 2)

	g := general{Opt: old, Zero: 5, Names: map[string]int{"x": 1}, Tree: &tree{Value: 3}}
	kept := g.Tree
	data, err = codec.Append(nil, &general{Tree: &tree{Value: 4}})
	require.NoError(t, err)
	require.NoError(t, codec.Decode(data, &g))
	require.Equal(t, general{Tree: &tree{Value: 4}}, g)
	require.Equal(t, 3, kept.Value)
	require.Equal(t, []int{7, 8, 9}, old)
}

func TestOwnedDataIsNotCopied(t *testing.T) {
	inside := func(data, b []byte) bool {
		from, at := uintptr(unsafe.Pointer(&data[0])), uintptr(unsafe.Pointer(&b[0]))
		return at >= from && at < from+uintptr(len(data))
	}
	for _, n := range []int{1, 1000, 32 << 10, 32<<10 + 1, 1 << 20} {
		v := bytes.Repeat([]byte{7}, n)
		data, err := codec.Append(nil, &v)
		require.NoError(t, err)
		var b []byte
		require.NoError(t, codec.Decode(data, &b))
		require.Equal(t, v, b)
		require.False(t, inside(data, b))
		require.Equal(t, len(b), cap(b))
		require.NoError(t, codec.DecodeOwned(data, &b))
		require.Equal(t, v, b)
		require.Equal(t, n > 32<<10, inside(data, b))
		require.Equal(t, len(b), cap(b))
	}
}

func TestFrontsAndTypesMakeTheSameBytes(t *testing.T) {
	checkFront(t, true)
	checkFront(t, -5)
	checkFront(t, int64(math.MinInt64))
	checkFront(t, uint64(math.MaxUint64))
	checkFront(t, math.Pi)
	checkFront(t, "text")
	checkFront(t, strings.Repeat("text", 100))
	checkFront(t, int32(7))
	checkFront(t, pair{1, 2})
	checkFront(t, []string{"a"})
	checkFront(t, general{})
}

func checkFront[T any](t *testing.T, v T) {
	t.Helper()
	a, err := codec.Append(nil, &v)
	require.NoError(t, err)
	b, err := codec.TypeFor[T]().Append(nil, reflect.ValueOf(v))
	require.NoError(t, err)
	require.Equal(t, a, b)
	var x, y, z T
	require.NoError(t, codec.Decode(a, &x))
	require.NoError(t, codec.DecodeOwned(a, &y))
	require.NoError(t, codec.TypeFor[T]().Decode(a, reflect.ValueOf(&z).Elem()))
	require.Equal(t, v, x)
	require.Equal(t, v, y)
	require.Equal(t, v, z)
	require.Error(t, codec.Decode(a[:len(a)-1], &x))
	require.Zero(t, x)
	require.Error(t, codec.Decode(append(a, 0), &x))
}

func TestTypesAreGuarded(t *testing.T) {
	typ := codec.TypeFor[int]()
	_, err := typ.Append(nil, reflect.ValueOf("text"))
	require.ErrorContains(t, err, "cannot encode a string as int")
	require.ErrorContains(t, typ.Decode([]byte{1}, reflect.ValueOf(0)), "settable")
	require.ErrorContains(t, typ.Decode([]byte{1}, reflect.New(reflect.TypeFor[string]()).Elem()), "settable")
	require.Equal(t, "int", typ.String())
}

func TestForIsTheSameForAll(t *testing.T) {
	got := make([][]*codec.Type, 8)
	var wg sync.WaitGroup
	for g := range got {
		wg.Go(func() {
			for i := range 500 {
				got[g] = append(got[g], codec.For(reflect.ArrayOf(i, reflect.TypeFor[int16]())))
			}
		})
	}
	wg.Wait()
	for g := range got {
		for i := range got[g] {
			require.Same(t, got[0][i], got[g][i])
		}
	}
	require.Same(t, codec.For(reflect.TypeFor[pair]()), codec.TypeFor[pair]())
}

func TestScalarsAllocateNothing(t *testing.T) {
	n, f, s := 1, 1.5, "text"
	buf := make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b, _ := codec.Append(buf, &n)
		_ = codec.Decode(b, &n)
		b, _ = codec.Append(buf, &f)
		_ = codec.Decode(b, &f)
		_, _ = codec.Append(buf, &s)
	}))
	p := pair{1, 2}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b, _ := codec.Append(buf, &p)
		_ = codec.Decode(b, &p)
	}))
}
