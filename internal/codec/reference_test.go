package codec_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

// send takes a value with references to the other side: it encodes it, collects
// what its references are, and puts those back after decoding.
func send[T any](t *testing.T, v T) T {
	t.Helper()
	typ := codec.TypeFor[T]()
	require.NoError(t, typ.Err())
	require.True(t, typ.HasReferences())
	data, err := codec.Append(nil, &v)
	require.NoError(t, err)
	var refs []reflect.Value
	typ.References(reflect.ValueOf(v), func(r reflect.Value) { refs = append(refs, r) })
	var again []reflect.Value
	typ.References(reflect.ValueOf(&v).Elem(), func(r reflect.Value) { again = append(again, r) })
	require.Equal(t, len(refs), len(again))
	for i := range refs {
		require.Equal(t, refs[i].Pointer(), again[i].Pointer(), "the order is always the same")
	}

	var to T
	require.NoError(t, codec.Decode(data, &to))
	n := 0
	require.NoError(t, typ.Replace(reflect.ValueOf(&to).Elem(), func(i int, rt reflect.Type) (reflect.Value, error) {
		require.Equal(t, n, i)
		n++
		require.Equal(t, refs[i].Type(), rt)
		return refs[i], nil
	}))
	require.Equal(t, len(refs), n)
	return to
}

func TestReferencesArePutBackWhereTheyWere(t *testing.T) {
	r := func(id int) *ref[int] { return &ref[int]{id} }
	s := func(id int) *ref[string] { return &ref[string]{id} }
	v := withRefs{
		One:   r(1),
		Many:  []*ref[string]{s(2), nil, s(3), s(2)},
		Named: map[string]*ref[int]{"z": r(4), "a": r(5), "": nil, "long name": r(6)},
		Inner: map[int]struct {
			F *ref[int]
			G []*ref[int]
		}{-1: {F: r(7)}, 300: {G: []*ref[int]{r(8), nil}}, 5: {}},
		Pair: &struct{ A, B *ref[float64] }{B: &ref[float64]{9}},
		Ring: [2]*ref[int]{1: r(10)},
		Text: "text",
	}
	require.Equal(t, v, send(t, v))
	require.Equal(t, withRefs{}, send(t, withRefs{}))
	require.Equal(t, r(1), send(t, r(1)))
	require.Nil(t, send(t, (*ref[int])(nil)))
	require.Equal(t, []withRefs{v, {}, v}, send(t, []withRefs{v, {}, v}))

	shared := &refTree{F: r(1)}
	tree := refTree{Kids: []*refTree{shared, nil, {F: r(2), Kids: []*refTree{shared}}}}
	got := send(t, tree)
	require.Equal(t, tree, got)
	require.NotSame(t, got.Kids[0], got.Kids[2].Kids[0], "what is shared arrives twice")
}

func TestReferencesAreFoundNearWhateverTheValueIs(t *testing.T) {
	type near struct { // cannot travel
		C    chan int
		F    *ref[int]
		g    *ref[int]
		Gone *ref[int] `cbor:"-"`
		Any  any
		*EmbedsRef
	}
	v := near{F: &ref[int]{1}, g: &ref[int]{2}, Gone: &ref[int]{3}, Any: &ref[int]{4}, EmbedsRef: &EmbedsRef{Ref: &Ref{5}}}
	require.Error(t, codec.TypeFor[near]().Err())
	require.Equal(t, []any{v.F, v.Ref}, found(v))

	// Every node has a way to every other.
	node := &refTree{F: &ref[int]{0}}
	want := []any{node.F}
	for i := range 100 {
		kid := &refTree{F: &ref[int]{i + 1}, Up: node, Kids: []*refTree{node}}
		node.Kids = append(node.Kids, kid)
		want = append(want, kid.F)
		node = kid
	}
	require.ElementsMatch(t, want, found(node))
	require.Equal(t, found(node), found(node))

	// Deeper than any stack, and shared more often than could be visited.
	long := &refTree{F: &ref[int]{1}}
	for range 500_000 {
		long = &refTree{Up: long}
	}
	require.Len(t, found(long), 1)
	wide := &refTree{F: &ref[int]{1}}
	for range 100 {
		wide = &refTree{Kids: []*refTree{wide, wide}}
	}
	require.Len(t, found(wide), 1)
	type self []self
	require.Empty(t, found(self{}))
}

func found(v any) []any {
	var refs []any
	codec.For(reflect.TypeOf(v)).References(reflect.ValueOf(v), func(r reflect.Value) { refs = append(refs, r.Interface()) })
	return refs
}

func TestTypesKnowWhetherTheyHaveReferences(t *testing.T) {
	require.True(t, codec.TypeFor[refTree]().HasReferences())
	require.True(t, codec.TypeFor[map[string][]*[2]refTree]().HasReferences())
	require.False(t, codec.TypeFor[full]().HasReferences())
	require.False(t, codec.TypeFor[tree]().HasReferences())
	require.False(t, codec.TypeFor[ref[int]]().HasReferences(), "only a pointer is a reference")
	require.False(t, codec.TypeFor[*holdsRef]().HasReferences(), "a method that comes from an embedded reference makes none")
}

type full = general

type holdsRef struct {
	ref[int]
	A int
}

func TestReplaceStopsAtAnError(t *testing.T) {
	v := []*ref[int]{{1}, {2}}
	calls := 0
	err := codec.TypeFor[[]*ref[int]]().Replace(reflect.ValueOf(&v).Elem(), func(int, reflect.Type) (reflect.Value, error) {
		calls++
		return reflect.Value{}, errors.New("no such future")
	})
	require.EqualError(t, err, "no such future")
	require.Equal(t, 1, calls)
}
