package pool_test

import (
	"sync/atomic"
	"testing"

	"github.com/nearfar/nearfar/pool"
)

// A mark counts its run.
type mark struct{ n *atomic.Int64 }

func (m mark) Run(*pool.Runner)              { m.n.Add(1) }
func (mark) Broke(*pool.Runner, any, []byte) {}
func (mark) Dead() bool                      { return false }

// A ball wakes who waits for it.
type ball chan struct{}

func (b ball) Run(*pool.Runner)              { b <- struct{}{} }
func (ball) Broke(*pool.Runner, any, []byte) {}
func (ball) Dead() bool                      { return false }

func drained(b *testing.B, p *pool.Pool) {
	b.Helper()
	p.Close()
	if err := p.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// What the queue and the slots take of a task's cost, without a future.
func BenchmarkPushRun(b *testing.B) {
	const n = 10_000
	p := pool.New(pool.Config{})
	defer drained(b, p)
	var ran atomic.Int64
	var t pool.Task = mark{&ran}
	rounds := int64(0)
	for b.Loop() {
		rounds++
		for range n {
			p.Push(t, 0, 1)
		}
		for ran.Load() < rounds*n {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*n), "ns/task")
}

// One at a time: a slot is woken, and wakes who waits.
func BenchmarkRoundTrip(b *testing.B) {
	p := pool.New(pool.Config{})
	defer drained(b, p)
	done := make(ball, 1)
	var t pool.Task = done
	for b.Loop() {
		p.Push(t, 0, 1)
		<-done
	}
}
