package futures

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
)

// A trip is a gate that opens when one of many futures is resolved, or fails, or
// when the last is resolved.
type trip struct {
	until Until
	gate  cell.Core
	left  atomic.Int64

	mu      sync.Mutex
	hooks   []cell.Hook // guarded by mu until they are listed
	stopped bool        // guarded by mu
}

// Fire opens the gate if h's core is what until waits for.
func (t *trip) Fire(h *cell.Hook, w *cell.Wave) { t.saw(h.Core(), w) }

func (t *trip) saw(c *cell.Core, w *cell.Wave) {
	last := t.left.Add(-1) == 0
	if last || t.until == FirstCompleted || t.until == FirstFailed && c.Err() != nil {
		t.gate.Open(w)
	}
}

// list lists a hook at each of fs. It may run while stop does.
func list[F Waiter](t *trip, fs []F) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.left.Store(int64(len(fs)))
	t.hooks = make([]cell.Hook, len(fs))
	for i, f := range fs {
		c := f.core()
		t.hooks[i].Do = t
		if !c.AddHook(&t.hooks[i]) {
			var w cell.Wave
			t.saw(c, &w)
			w.Run()
		}
		if t.gate.Settled() {
			return
		}
	}
}

// stop takes the hooks out.
func (t *trip) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	for i := range t.hooks {
		t.hooks[i].RemoveHook()
	}
}

// alarm opens a gate when one of fs fails, beginning a while from now: listing a
// hook costs about 100 ns a future, so it waits until as much time has been spent
// on waiting, and at most doubles the cost of a Gather that has nothing to report.
func alarm[F Waiter](fs []F) (gate *cell.Core, stop func()) {
	t := &trip{until: FirstFailed}
	after := max(time.Millisecond, time.Duration(len(fs))*100)
	timer := time.AfterFunc(after, func() { list(t, fs) })
	return &t.gate, func() {
		timer.Stop()
		t.stop()
	}
}
