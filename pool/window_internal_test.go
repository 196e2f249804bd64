package pool

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// In one goroutine a window is two bounds.
func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		lo, hi, begun := uint32(0), uint32(0), uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				lo = rapid.Uint32Range(0, 20).Draw(t, "lo")
				hi = lo + rapid.Uint32Range(0, 20).Draw(t, "n")
				begun = lo
				w.set(lo, hi)
			},
			"take": func(t *rapid.T) {
				n := rapid.Uint32Range(1, 30).Draw(t, "n")
				at, got := w.take(n)
				if at != lo || got != min(n, hi-lo) {
					t.Fatalf("take(%d) of [%d, %d): %d at %d", n, lo, hi, got, at)
				}
				begun, lo = lo, lo+got
			},
			"untake": func(t *rapid.T) {
				lo = rapid.Uint32Range(begun, lo).Draw(t, "to")
				w.untake(lo)
			},
			"cut half": func(t *rapid.T) {
				at, got := w.cut(false)
				if n := hi - lo; got != n-n/2 || at != hi-got {
					t.Fatalf("cut of [%d, %d): %d at %d", lo, hi, got, at)
				}
				hi = at
			},
			"cut all": func(t *rapid.T) {
				at, got := w.cut(true)
				if got != hi-lo || at+got != hi {
					t.Fatalf("cut all of [%d, %d): %d at %d", lo, hi, got, at)
				}
				hi = at
			},
			"": func(t *rapid.T) {
				if l, h := w.load(); l != lo || h != hi {
					t.Fatalf("[%d, %d), want [%d, %d)", l, h, lo, hi)
				}
			},
		})
	})
}

// One owner, who takes and gives back and sets new runs, against some who cut: every
// position goes to exactly one of them.
func TestWindowAgainstCutters(t *testing.T) {
	const rounds, n = 3000, 97
	var w window
	var mu sync.Mutex // the pool's: runs are set, and windows cut, with it held
	var went [n]atomic.Int32
	var over atomic.Bool
	var cutters sync.WaitGroup
	for k := range 2 {
		cutters.Go(func() {
			for !over.Load() {
				mu.Lock()
				at, got := w.cut(k == 0)
				for i := at; i < at+got; i++ {
					went[i].Add(1)
				}
				mu.Unlock()
				runtime.Gosched()
			}
		})
	}
	for range rounds {
		mu.Lock()
		for i := range went {
			went[i].Store(0)
		}
		w.set(0, n)
		mu.Unlock()
		for {
			at, got := w.take(1 + rand.Uint32N(20))
			if got == 0 {
				break
			}
			did := got
			if rand.IntN(3) == 0 {
				did = rand.Uint32N(got + 1)
			}
			for i := at; i < at+did; i++ {
				went[i].Add(1)
			}
			if did < got {
				w.untake(at + did)
			}
			if rand.IntN(20) == 0 {
				runtime.Gosched()
			}
		}
		mu.Lock()
		for i := range went {
			require.EqualValues(t, 1, went[i].Load(), "position %d", i)
		}
		mu.Unlock()
	}
	over.Store(true)
	cutters.Wait()
}
