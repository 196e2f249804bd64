package remote_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func countFloats(_ context.Context, b []byte) (int, error) { return len(b), nil }

// spun is an item that costs about as many ns, of CPU alone.
func spun(_ context.Context, ns int) (int, error) {
	for start := time.Now(); time.Since(start) < time.Duration(ns); {
	}
	return ns, nil
}

func made(_ context.Context, n int) ([]float64, error) { return make([]float64, n), nil }

func shape(_ context.Context, v []float64) (int, error) { return len(v), nil }

func init() {
	executor.Register(countFloats)
	executor.Register(spun)
	executor.Register(made)
	executor.Register(shape)
}

// transports are two workers of one thread each.
var transports = []struct{ name, dsn string }{
	{"tcp", "proc://?workers=2&threads=1"},
	{"unix", "proc://?workers=2&threads=1&transport=unix"},
}

func openFor(b *testing.B, dsn string) executor.Executor {
	ex, err := executor.Open(b.Context(), dsn)
	require.NoError(b, err)
	b.Cleanup(func() { ex.Close() })
	return ex
}

// BenchmarkSubmit is trivial tasks, 100,000 in flight.
func BenchmarkSubmit(b *testing.B) {
	const n = 100_000
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			ex := openFor(b, tr.dsn)
			b.ReportAllocs()
			for b.Loop() {
				fs := make([]*futures.Future[int], n)
				for i := range fs {
					fs[i] = executor.Submit(b.Context(), ex, squared, i)
				}
				if _, err := futures.Gather(b.Context(), fs...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/task")
		})
	}
}

// BenchmarkTrip is a trivial task at a time.
func BenchmarkTrip(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			ex := openFor(b, tr.dsn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := executor.Submit(b.Context(), ex, squared, 3).Result(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMap is a million trivial items.
func BenchmarkMap(b *testing.B) {
	const n = 1_000_000
	ex := openFor(b, transports[0].dsn)
	items := make([]int, n)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := executor.Map(b.Context(), ex, squared, items).Results(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
}

// BenchmarkSend is an argument of 64 MiB one way.
func BenchmarkSend(b *testing.B) {
	const n = 64 << 20
	body := make([]byte, n)
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			ex := openFor(b, tr.dsn)
			b.SetBytes(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := executor.Submit(b.Context(), ex, countFloats, body).Result(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkShape asks for the length of a value of 8 MB that stays at its worker, and in turn for
// nothing: x/trip is how much longer that takes, and moved/op the bytes that it moves.
func BenchmarkShape(b *testing.B) {
	ex := openFor(b, transports[0].dsn)
	v := executor.Submit(b.Context(), ex, made, 1_000_000)
	require.NoError(b, v.Wait(b.Context()))
	before := bytesOf(ex)
	var asked, empty []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := executor.Then(b.Context(), ex, shape, v).Result(b.Context()); err != nil {
			b.Fatal(err)
		}
		asked = append(asked, time.Since(start))
		empty = append(empty, trip(b, ex))
	}
	b.ReportMetric(quantile(asked, 0.5)/quantile(empty, 0.5), "x/trip")
	b.ReportMetric(float64(bytesOf(ex)-before)/float64(b.N), "moved/op")
}

// BenchmarkTripBesideBulk is a trivial task at a time on a worker that is sent an argument of
// 256 MiB meanwhile: x/alone is how much longer the slowest hundredth takes than without.
func BenchmarkTripBesideBulk(b *testing.B) {
	const n, trips = 256 << 20, 2000
	ex := openFor(b, "proc://?workers=1&threads=2")
	body := make([]byte, n)
	var alone, beside []time.Duration
	for b.Loop() {
		for range trips {
			alone = append(alone, trip(b, ex))
		}
		f := executor.Submit(b.Context(), ex, countFloats, body)
		for f.State() == futures.Pending {
			beside = append(beside, trip(b, ex))
		}
		if _, err := f.Result(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(quantile(beside, 0.99)/quantile(alone, 0.99), "x/alone")
	b.ReportMetric(quantile(alone, 0.99), "alone-p99-ns")
	b.ReportMetric(quantile(beside, 0.99), "beside-p99-ns")
	b.ReportMetric(float64(len(beside))/float64(b.N), "trips-beside/op")
}

// trip is how long a trivial task takes, there and back.
func trip(b *testing.B, ex executor.Executor) time.Duration {
	start := time.Now()
	if _, err := executor.Submit(b.Context(), ex, squared, 3).Result(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func bytesOf(ex executor.Executor) int64 {
	s := ex.Stats()
	return s.BytesSent + s.BytesReceived + s.BytesMoved
}

// quantile is in ns.
func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[int(q*float64(len(times)-1))])
}

// BenchmarkMapItems is a tenth of a second of items of one cost, on the best chunk sizes and
// on those that are chosen; the metric is the share of the two workers' time that was work.
func BenchmarkMapItems(b *testing.B) {
	ex := openFor(b, transports[0].dsn)
	for _, item := range []time.Duration{time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond} {
		items := make([]int, max(int(400*time.Millisecond/item), 40))
		for i := range items {
			items[i] = int(item)
		}
		for _, chunk := range []int{0, 1, 16, 256, 4096} {
			if chunk > len(items)/2 || chunk > 0 && item*time.Duration(chunk) < 10*time.Microsecond {
				continue
			}
			name := fmt.Sprintf("%v/chunk=%d", item, chunk)
			var opts []executor.Option
			if chunk > 0 {
				opts = append(opts, executor.WithChunkSize(chunk))
			} else {
				name = fmt.Sprintf("%v/auto", item)
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if _, err := executor.Map(b.Context(), ex, spun, items, opts...).Results(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(items))*float64(item)*float64(b.N)/float64(b.Elapsed()), "speed-up")
			})
		}
	}
}
