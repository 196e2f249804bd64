package pool

import (
	"fmt"
	"runtime/debug"

	"github.com/panjf2000/ants/v2"
)

// A Host starts goroutines for a Pool.
type Host interface {
	Go(f func())
	// Close is called when all of them have ended.
	Close()
}

// antsHost keeps the goroutines in a pool of ants, which uses them again.
type antsHost struct{ pool *ants.Pool }

func newAntsHost() Host {
	// What panics past Broke is a fault of this module, or of a user's method that
	// it had to call. ants would log it and go on with a slot less; a handler that
	// panics ends the program instead.
	pool, err := ants.NewPool(-1, ants.WithPanicHandler(func(v any) {
		panic(fmt.Sprintf("pool: %v\n%s", v, debug.Stack()))
	}))
	if err != nil {
		panic("pool: ants: " + err.Error()) // a size of -1, without limit, is always good
	}
	return antsHost{pool}
}

func (h antsHost) Go(f func()) {
	if err := h.pool.Submit(f); err != nil {
		panic("pool: ants: " + err.Error()) // it has no limit, and is closed last
	}
}

func (h antsHost) Close() { h.pool.Release() }
