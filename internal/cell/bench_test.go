package cell_test

import (
	"context"
	"testing"

	"github.com/nearfar/nearfar/internal/cell"
)

func BenchmarkFinish(b *testing.B) {
	b.ReportAllocs()
	s := under(context.Background())
	for b.Loop() {
		c := cell.Cell[int]{}
		c.Scope = s
		c.Start(0)
		c.Set(1)
		c.Finish()
		c.Finished()
	}
}

// As the slot that runs a task does it: three looks at its ctx.
func BenchmarkFinishUnderACtx(b *testing.B) {
	b.ReportAllocs()
	ctx := b.Context()
	s := under(ctx)
	for b.Loop() {
		c := cell.Cell[int]{}
		c.Scope = s
		if c.Runnable() && c.Start(0) && !c.Ended() {
			c.Set(1)
			c.Finish()
			c.Finished()
		}
	}
}

// The same for a task of a task, ten deep, of which each waits.
func BenchmarkEndedTenDeep(b *testing.B) {
	ctx := b.Context()
	s := under(ctx)
	for range 10 {
		c := &cell.Core{Scope: s}
		c.Start(0)
		s = taskScope(c)
	}
	s.Watch(&newTold().Watch)
	c := &cell.Core{Scope: s}
	for b.Loop() {
		if c.Ended() {
			b.Fatal("it has not")
		}
	}
}

type nothing struct{}

func (nothing) Fire(*cell.Hook, *cell.Wave) {}

func BenchmarkHookAddFire(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var c cell.Core
		h := cell.Hook{Do: nothing{}}
		c.AddHook(&h)
		c.Claim()
		if c.FinishClaimed() {
			c.Fire()
		}
	}
}

func BenchmarkHookAddRemove(b *testing.B) {
	b.ReportAllocs()
	var c cell.Core
	for b.Loop() {
		h := cell.Hook{Do: nothing{}}
		c.AddHook(&h)
		h.RemoveHook()
	}
}

func BenchmarkGet(b *testing.B) {
	c := finished("v")
	for b.Loop() {
		if _, ok := c.Get(); !ok {
			b.Fatal("no value")
		}
	}
}

// A round trip: one goroutine waits, another finishes what it waits for.
func BenchmarkWaitPending(b *testing.B) {
	ctx := b.Context()
	for name, in := range map[string]context.Context{"background": context.Background(), "ctx": ctx} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := under(in)
			next := make(chan *cell.Core)
			go func() {
				for c := range next {
					c.Start(0)
					finish(c)
				}
			}()
			for b.Loop() {
				c := &cell.Core{Scope: s}
				next <- c
				if err := c.Wait(in); err != nil {
					b.Fatal(err)
				}
			}
			close(next)
		})
	}
}
