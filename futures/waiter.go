package futures

import (
	"context"

	"github.com/nearfar/nearfar/internal/cell"
)

// A Waiter is a *Future or a *Batch: what can be waited for without its value.
type Waiter interface {
	Done() <-chan struct{}
	State() State
	Err() error
	Wait(context.Context) error
	Cancel(error) bool
	Key() string

	core() *cell.Core
}

func (f *Future[T]) core() *cell.Core { return &f.cell.Core }

// callback is the hook of OnDone.
type callback struct {
	cell.Hook
	fn func()
}

func (cb *callback) Fire(*cell.Hook, *cell.Wave) { go cb.fn() }

func onDone(c *cell.Core, fn func()) (stop func() bool) {
	cb := &callback{fn: fn}
	cb.Do = cb
	if !c.AddHook(&cb.Hook) {
		go fn()
		return func() bool { return false }
	}
	return cb.RemoveHook
}
