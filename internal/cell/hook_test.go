package cell_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/cell"
)

// settlers end a core in each of the ways there are.
var settlers = map[string]func(*cell.Core){
	"finish":  func(c *cell.Core) { c.Start(0); finish(c) },
	"promise": func(c *cell.Core) { promise(c) },
	"open":    func(c *cell.Core) { wave(func(w *cell.Wave) { c.Open(w) }) },
	"fail":    func(c *cell.Core) { fail(c, errStop) },
	"cancel":  func(c *cell.Core) { cancel(c, errStop) },
}

func TestHooksFireOnceInOrder(t *testing.T) {
	for name, settle := range settlers {
		for n := range 4 {
			t.Run(name, func(t *testing.T) {
				c := &cell.Core{}
				var order []int
				for i := range n {
					h := &cell.Hook{Do: fireFunc(func(*cell.Hook, *cell.Wave) { order = append(order, i) })}
					require.True(t, c.AddHook(h))
				}
				settle(c)
				settle(c)
				require.Len(t, order, n)
				assert.IsNonDecreasing(t, order, "in the order in which they were listed")
				late := newProbe()
				assert.False(t, c.AddHook(&late.Hook))
				assert.False(t, late.RemoveHook())
				assert.Zero(t, late.fired())
			})
		}
	}
}

type fireFunc func(*cell.Hook, *cell.Wave)

func (f fireFunc) Fire(h *cell.Hook, w *cell.Wave) { f(h, w) }

func TestRemovedHooksDoNotFire(t *testing.T) {
	for out := range 3 { // the first, the middle, the last of the ring
		c := &cell.Core{}
		ps := []*probe{newProbe(), newProbe(), newProbe()}
		for _, p := range ps {
			require.True(t, c.AddHook(&p.Hook))
		}
		assert.True(t, ps[out].RemoveHook())
		assert.False(t, ps[out].RemoveHook(), "twice")
		fail(c, errStop)
		for i, p := range ps {
			want := 1
			if i == out {
				want = 0
			}
			assert.Equal(t, want, p.fired(), i)
			assert.False(t, p.RemoveHook())
		}
	}
	c, p := &cell.Core{}, newProbe()
	assert.False(t, p.RemoveHook(), "never listed")
	assert.False(t, p.Listed())
	require.True(t, c.AddHook(&p.Hook))
	assert.True(t, p.RemoveHook(), "the only one")
	assert.True(t, p.Listed())
	fail(c, errStop)
	assert.Zero(t, p.fired())
}

// A hook that AddHook refused may be taken out like any other: there is nothing to take
// out, whatever the reason was.
func TestRemoveOfARefusedHook(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	cores := map[string]*cell.Core{
		"settled":                   {},
		"pending, its ctx ended":    {Scope: under(ended)},
		"finished before ctx did":   {Scope: under(ended)},
		"under a task that is over": {Scope: taskScope(&cell.Core{Scope: under(ended)})},
	}
	fail(cores["settled"], errStop)
	promise(cores["finished before ctx did"])
	for name, c := range cores {
		t.Run(name, func(t *testing.T) {
			p := newProbe()
			require.False(t, c.AddHook(&p.Hook))
			assert.False(t, p.RemoveHook())
			assert.False(t, p.RemoveHook())
			assert.Zero(t, p.fired())
			assert.True(t, c.Settled())
		})
	}
}

// A chain of any length is walked, not recursed into.
func TestLongChains(t *testing.T) {
	const n = 200_000
	cores := make([]cell.Core, n)
	links := make([]cell.Hook, n)
	for i := range n - 1 {
		links[i].Do = fireFunc(func(h *cell.Hook, w *cell.Wave) { cores[i+1].Fail(h.Core().Err(), w) })
		require.True(t, cores[i].AddHook(&links[i]))
	}
	fail(&cores[0], errStop)
	assert.Equal(t, errStop, cores[n-1].Err())
}

// Each hook is fired or taken out, never both, never neither, whoever comes first.
func TestHooksAgainstTheEnd(t *testing.T) {
	watch(t)
	for name, settle := range settlers {
		t.Run(name, func(t *testing.T) {
			for range 500 {
				c := &cell.Core{}
				const n = 6
				ps := make([]*probe, n)
				listed, removed := make([]bool, n), make([]bool, n)
				var wg sync.WaitGroup
				for i := range n {
					ps[i] = newProbe()
					wg.Go(func() {
						listed[i] = c.AddHook(&ps[i].Hook)
						if i%2 == 0 {
							removed[i] = ps[i].RemoveHook()
						}
					})
				}
				wg.Go(func() { settle(c) })
				wg.Wait()
				for i, p := range ps {
					want := 0
					if listed[i] && !removed[i] {
						want = 1
					}
					require.Equal(t, want, p.fired(), "listed %v, removed %v", listed[i], removed[i])
				}
			}
		})
	}
}

// Cores share locks by address: what happens at one must not be felt at another.
func TestSharedLocks(t *testing.T) {
	watch(t)
	cores := make([]cell.Core, 4096) // 16 to a lock
	fired := make([]atomic.Int32, len(cores))
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < len(cores); i += 4 {
				h := &cell.Hook{Do: fireFunc(func(_ *cell.Hook, w *cell.Wave) {
					fired[i].Add(1)
					cores[(i+1)%len(cores)].Fail(errStop, w) // a neighbour, from within
				})}
				if !cores[i].AddHook(h) {
					fired[i].Add(1)
				}
				if i%64 == 0 {
					fail(&cores[i], errStop)
				}
			}
		})
	}
	wg.Wait()
	for i := range fired {
		fail(&cores[i], errStop) // if no neighbour did
		require.EqualValues(t, 1, fired[i].Load(), i)
	}
}
