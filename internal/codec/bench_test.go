package codec_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/codec"
)

// The figures in the comments of the package come from
//
//	go test -run '^$' -bench . ./internal/codec/

func BenchmarkFor(b *testing.B) {
	t := reflect.TypeFor[pair]()
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			codec.For(t)
		}
	})
	b.Run("sync.Map", func(b *testing.B) {
		var m sync.Map
		m.Store(t, codec.For(t))
		for b.Loop() {
			if known, ok := m.Load(t); !ok || known.(*codec.Type) == nil {
				b.Fatal("lost")
			}
		}
	})
}

func BenchmarkScalars(b *testing.B) {
	b.Run("int", roundTrip(42))
	b.Run("float64", roundTrip(4.2))
	b.Run("bool", roundTrip(true))
	b.Run("int32", roundTrip(int32(42)))
	b.Run("string", roundTrip("some twenty letters."))
	b.Run("pair", roundTrip(pair{1, 2}))
	b.Run("bytes", roundTrip([]byte("some twenty letters.")))
}

func BenchmarkFloats(b *testing.B) {
	b.Run("codec", roundTrip(make([]float64, 131072)))
	b.Run("cbor", plainCBOR(make([]float64, 131072)))
}

func BenchmarkPairs(b *testing.B) {
	b.Run("codec", roundTrip(make([]pair, 1000)))
	b.Run("cbor", plainCBOR(make([]pair, 1000)))
}

func BenchmarkStrings(b *testing.B) {
	s := make([]string, 1000)
	for i := range s {
		s[i] = fmt.Sprintf("string number %d", i)
	}
	b.Run("codec", roundTrip(s))
	b.Run("cbor", plainCBOR(s))
}

func BenchmarkRecords(b *testing.B) {
	r := make([]record, 1000)
	for i := range r {
		r[i] = record{Name: "a name", At: time.Unix(int64(i), 5).UTC(), Score: 1.5, Tags: []string{"a", "b"}, Took: 7}
	}
	b.Run("codec", roundTrip(r))
	b.Run("cbor", plainCBOR(r))
}

// What the general codec costs beyond cbor itself, which is what makes it faithful.
func BenchmarkGeneral(b *testing.B) {
	type job struct {
		ID     int
		Name   string
		Labels map[string]string
		Parent *int
		Sizes  []int
		At     time.Time
	}
	v := job{1, "a name", map[string]string{"a": "b", "c": "d"}, new(int), []int{1, 2, 3, 4}, time.Unix(1, 2).UTC()}
	b.Run("codec", roundTrip(v))
	b.Run("cbor", plainCBOR(v))
	t := &tree{}
	for i := range 1000 {
		t = &tree{Value: i, Left: t, Kids: []*tree{nil}}
	}
	b.Run("tree/codec", roundTrip(t))
	b.Run("tree/cbor", plainCBOR(t))
}

func BenchmarkReferences(b *testing.B) {
	b.Run("none", func(b *testing.B) {
		t, v := codec.TypeFor[record](), reflect.ValueOf(new(record)).Elem()
		for b.Loop() {
			if t.HasReferences() {
				t.References(v, func(reflect.Value) {})
			}
		}
	})
	b.Run("two", func(b *testing.B) {
		type two struct{ A, B *ref[int] }
		t, v := codec.TypeFor[two](), reflect.ValueOf(&two{new(ref[int]), new(ref[int])}).Elem()
		n := 0
		for b.Loop() {
			if t.HasReferences() {
				t.References(v, func(reflect.Value) { n++ })
			}
		}
	})
}

func roundTrip[T any](v T) func(*testing.B) {
	return func(b *testing.B) {
		var data []byte
		var err error
		b.Run("encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if data, err = codec.Append(data[:0], &v); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(data)))
		})
		var to T
		b.Run("decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.Decode(data, &to); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(data)))
		})
		// As a message is: into fresh memory on both sides.
		b.Run("both", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				data, err := codec.Append(nil, &v)
				if err != nil {
					b.Fatal(err)
				}
				if err := codec.Decode(data, &to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func plainCBOR[T any](v T) func(*testing.B) {
	return func(b *testing.B) {
		dec, err := cbor.DecOptions{MaxArrayElements: 1 << 30, MaxNestedLevels: 10000}.DecMode()
		require.NoError(b, err)
		enc, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical, Time: cbor.TimeRFC3339Nano}.EncMode()
		require.NoError(b, err)
		var data []byte
		b.Run("encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if data, err = enc.Marshal(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var to T
				if err := dec.Unmarshal(data, &to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
