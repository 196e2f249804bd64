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

// finished makes a cell that has a value.
func finished(v string) *cell.Cell[string] {
	c := &cell.Cell[string]{}
	c.Owner = &owner{}
	wave(func(w *cell.Wave) { c.OpenWith(v, w) })
	return c
}

func TestValueOfACell(t *testing.T) {
	c := finished("v")
	v, ok := c.Get()
	assert.True(t, ok)
	assert.Equal(t, "v", v)
	assert.Same(t, &c.Core, c.Base())

	for name, settle := range map[string]func(*cell.Core){
		"pending": func(*cell.Core) {}, "running": func(c *cell.Core) { c.Start(0) },
		"failed": settlers["fail"], "cancelled": settlers["cancel"],
	} {
		c := &cell.Cell[string]{}
		c.Set("v")
		settle(&c.Core)
		_, ok := c.Get()
		assert.False(t, ok, name)
		_, ok = c.GetPinned()
		assert.False(t, ok, name)
	}
}

func TestFinishWithIsOfARunningCell(t *testing.T) {
	try := func(c *cell.Cell[string]) (ok bool) {
		wave(func(w *cell.Wave) { ok = c.FinishWith("v", w) })
		return ok
	}
	c := &cell.Cell[string]{}
	assert.False(t, try(c), "pending")
	c.Start(0)
	p := newProbe()
	c.AddHook(&p.Hook)
	assert.True(t, try(c))
	assert.Equal(t, 1, p.fired())
	assert.False(t, try(c), "twice")
	wave(func(w *cell.Wave) { assert.False(t, c.OpenWith("w", w)) })
	v, _ := c.Get()
	assert.Equal(t, "v", v)
}

// A value is dropped when it was released and nobody has it pinned any more.
func TestRelease(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(t *testing.T, c *cell.Cell[string])
		dropped bool
	}{
		"at once": {func(_ *testing.T, c *cell.Cell[string]) { c.Release() }, true},
		"twice":   {func(_ *testing.T, c *cell.Cell[string]) { c.Release(); c.Release() }, true},
		"pinned": {func(t *testing.T, c *cell.Cell[string]) {
			assert.True(t, c.Pin())
			c.Release()
		}, false},
		"pinned, unpinned": {func(_ *testing.T, c *cell.Cell[string]) {
			c.Pin()
			c.Release()
			c.Unpin()
		}, true},
		"pinned twice, unpinned once": {func(_ *testing.T, c *cell.Cell[string]) {
			c.Pin()
			c.Pin()
			c.Release()
			c.Unpin()
		}, false},
		"a pin that came too late": {func(t *testing.T, c *cell.Cell[string]) {
			c.Pin()
			c.Release()
			assert.False(t, c.Pin())
			v, ok := c.GetPinned()
			assert.True(t, ok)
			assert.Equal(t, "v", v, "the first pin still holds")
			c.Unpin()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := finished("v")
			c.do(t, f)
			_, ok := f.Get()
			assert.False(t, ok)
			assert.True(t, f.Released())
			assert.Equal(t, 1, f.Owner.(*owner).released)
			v, _ := f.GetPinned()
			assert.Equal(t, c.dropped, v == "")
			assert.Equal(t, cell.Finished, f.State(), "the state is unaffected")
		})
	}
}

func TestReleaseBeforeTheValueComes(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		c := &cell.Cell[string]{}
		if pinned {
			require.True(t, c.Pin())
		}
		c.Release()
		c.Start(0)
		c.Set("v")
		finish(&c.Core)
		c.Finished()
		v, ok := c.GetPinned()
		assert.True(t, ok)
		assert.Equal(t, pinned, v == "v")
		if pinned {
			c.Unpin()
			v, _ = c.GetPinned()
		}
		assert.Empty(t, v)
	}
}

// Whoever reads or has pinned the value reads all of it, while others release it; after
// them it is gone.
func TestReadersAgainstRelease(t *testing.T) {
	watch(t)
	type pair struct{ a, b *int }
	for range 3000 {
		c := &cell.Cell[pair]{}
		one := 1
		var wg sync.WaitGroup
		var got atomic.Int32
		for i := range 3 {
			wg.Go(func() {
				switch {
				case i == 0:
					if c.Pin() {
						<-c.Done()
						if v, ok := c.GetPinned(); !ok || v.a != &one || v.b != &one {
							panic("a pinned value was dropped")
						}
						c.Unpin()
					}
				default:
					if v, ok := c.Get(); ok {
						got.Add(1)
						if v.a != &one || v.b != &one {
							panic("half a value")
						}
					}
				}
			})
		}
		wg.Go(func() {
			c.Start(0)
			c.Set(pair{&one, &one})
			finish(&c.Core)
			c.Finished()
		})
		wg.Go(c.Release)
		wg.Wait()
		v, ok := c.GetPinned()
		require.True(t, ok)
		require.Nil(t, v.a, "nobody needs it")
		_, ok = c.Get()
		require.False(t, ok)
	}
}

func TestReadersAgainstCancel(t *testing.T) {
	watch(t)
	for range 2000 {
		ctx, end := context.WithCancel(context.Background())
		c := &cell.Cell[string]{}
		c.Scope = under(ctx)
		c.Start(0)
		var wg sync.WaitGroup
		wg.Go(func() {
			c.Set("v")
			finish(&c.Core)
		})
		wg.Go(end)
		wg.Go(func() {
			if v, ok := c.Get(); ok && v != "v" {
				panic("no value")
			}
		})
		wg.Wait()
		_, ok := c.Get()
		require.Equal(t, c.State() == cell.Finished, ok)
	}
}
