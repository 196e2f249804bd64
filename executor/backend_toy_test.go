package executor_test

import (
	"context"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// A toy is an executor with a Backend of its own: a goroutine a call, and a count of
// slots. Written with what package executor exports, it shows what is no backend's
// business: options, keys, retries, timeouts, inputs, batches and groups.
type toy struct {
	base  *executor.Base
	slots int
	calls sync.WaitGroup

	mu    sync.Mutex
	free  int                     // guarded by mu
	back  []toyWaiter             // who wants a slot back. Guarded by mu
	fresh []chan struct{}         // who wants one to begin with. Guarded by mu
	lent  map[*executor.Call]bool // guarded by mu
}

type toyWaiter struct {
	call *executor.Call
	wake executor.Waker
}

func newToy(t *testing.T, slots int, cfg executor.Config) *toy {
	b := &toy{slots: slots, free: slots, lent: map[*executor.Call]bool{}}
	b.base = executor.NewBase(cfg, b)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// The Executor.

func (b *toy) Slots() int                { return b.slots }
func (b *toy) Backend() executor.Backend { return b }

func (b *toy) Stats() executor.Stats {
	return executor.Stats{Workers: []executor.WorkerStats{{Name: "local", PID: os.Getpid(), Threads: b.slots}}}
}

// Close waits until all calls have been run.
func (b *toy) Close() error {
	b.calls.Wait()
	return nil
}

func (b *toy) Shutdown(context.Context) error { return b.Close() }

// The Backend.

func (b *toy) Base() *executor.Base     { return b.base }
func (b *toy) Cancelled(*executor.Call) {} // Dead says so, in its turn
func (b *toy) Release(c *executor.Call) {} // what is here, the collector takes
func (b *toy) Enqueue(c *executor.Call) {
	b.calls.Add(1)
	turn := b.turn()
	go func() { // ends when the call has run
		defer b.calls.Done()
		<-turn
		b.run(c)
	}()
}

func (b *toy) run(c *executor.Call) {
	returned := false
	defer func() {
		if !returned {
			v := recover()
			var stack []byte // nil after a Goexit
			if v != nil {
				stack = debug.Stack()
			}
			c.Broke(nil, v, stack)
		}
		b.returned(c)
	}()
	if !c.Dead() {
		c.Run(nil)
	}
	returned = true
}

// turn queues for a slot. It is closed when there is one.
func (b *toy) turn() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	turn := make(chan struct{})
	b.fresh = append(b.fresh, turn)
	if b.free > 0 {
		b.free--
		b.passLocked()
	}
	return turn
}

// passLocked hands on a slot that became free.
func (b *toy) passLocked() {
	switch {
	case len(b.back) > 0:
		w := b.back[0]
		b.back = b.back[1:]
		delete(b.lent, w.call)
		w.wake.Wake()
	case len(b.fresh) > 0:
		close(b.fresh[0])
		b.fresh = b.fresh[1:]
	default:
		b.free++
	}
}

// returned gives back the slot of a call, if it has one.
func (b *toy) returned(c *executor.Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lent[c] {
		b.passLocked()
		return
	}
	delete(b.lent, c) // a goroutine that it left behind waits; it goes on without a slot
	b.back = slices.DeleteFunc(b.back, func(w toyWaiter) bool {
		if w.call == c {
			w.wake.Wake()
		}
		return w.call == c
	})
}

func (b *toy) Lend(a *executor.Attempt, _ *executor.Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent[a.Call()] = true
	b.passLocked()
}

func (b *toy) Resume(a *executor.Attempt, w executor.Waker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back = append(b.back, toyWaiter{a.Call(), w})
	if b.free > 0 {
		b.free--
		b.passLocked()
	}
}
