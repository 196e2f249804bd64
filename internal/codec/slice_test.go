package codec_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

func TestDecodeSlice(t *testing.T) {
	decodesSlice(t, []int{1, -2, 3})
	decodesSlice(t, []byte("abc"))
	decodesSlice(t, []string{"one", "", "three"})
	decodesSlice(t, []*int{new(int), nil})
	decodesSlice(t, []record{{Name: "a", Tags: []string{"b"}}, {}})
	decodesSlice(t, []map[string]int{{"a": 1}, nil})
	decodesSlice(t, []struct{}{{}, {}})
	decodesSlice(t, []int{})
	decodesSlice[int](t, nil)
}

// decodesSlice decodes v into rooms of all sizes, none of which is empty before.
func decodesSlice[T any](t *testing.T, v []T) {
	t.Helper()
	data, err := codec.Append(nil, &v)
	require.NoError(t, err)
	other := append([]T{}, v...)
	for size := range len(v) + 3 {
		room := make([]T, 0, size)
		if len(v) > 0 {
			for i := range size {
				room = append(room, v[(i+1)%len(v)])
			}
		}
		last := append([]T(nil), room...)
		got, err := codec.DecodeSlice(data, room[:0])
		require.NoError(t, err)
		require.Equal(t, v, got, "%T, room for %d", v, size)
		if len(v) > 0 && size >= len(v) {
			require.Same(t, unsafe.SliceData(room), unsafe.SliceData(got), "%T: it has room for %d", v, size)
			require.Equal(t, last[len(v):], room[len(v):], "behind the last element")
		}
		for i := range data { // which somebody else's may be in from now on
			data[i] ^= 0xff
		}
		require.Equal(t, v, got, "%T shares memory with the data", v)
		for i := range data {
			data[i] ^= 0xff
		}
		require.Equal(t, other, append([]T{}, v...))
	}
}

func TestDecodeSliceOfOtherData(t *testing.T) {
	good := []bool{true, true, true}
	data, err := codec.Append(nil, &good)
	require.NoError(t, err)
	bad := map[string][]byte{
		"nothing":    nil,
		"a form":     append([]byte{'c'}, data[1:]...),
		"cut short":  data[:len(data)-1],
		"too long":   append(append([]byte{}, data...), 1),
		"no bool":    append(append([]byte{}, data[:len(data)-1]...), 2),
		"a length":   {data[0], 0xff, 0xff, 0xff, 0x0f, 1},
		"a bad size": {data[0], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	}
	for name, data := range bad {
		room := []bool{true, true, true, true}
		got, err := codec.DecodeSlice(data, room)
		require.Error(t, err, name)
		require.Nil(t, got, name)
		require.Equal(t, make([]bool, 4), room, "%s: what was half decoded is zeroed", name)
	}
	_, err = codec.DecodeSlice[chan int](data, nil)
	require.Error(t, err)
}
