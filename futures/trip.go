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
	hooks   [][]cell.Hook // in blocks, guarded by mu until they are listed
	stopped bool          // guarded by mu
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
	var block []cell.Hook // room for more
	for i, f := range fs {
		c := f.core()
		listed := false
		if !c.Settled() {
			if len(block) == 0 {
				block = make([]cell.Hook, min(len(fs)-i, hookBlock))
				t.hooks = append(t.hooks, block)
			}
			h := &block[0]
			block = block[1:]
			h.Do = t
			listed = c.AddHook(h)
		}
		if !listed {
			var w cell.Wave
			t.saw(c, &w)
			w.Run()
		}
		if t.gate.Settled() {
			return
		}
	}
}

// hookBlock is how many hooks are made at a time: most futures may be resolved already.
const hookBlock = 128

// stop takes the hooks out.
func (t *trip) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	for _, block := range t.hooks {
		for i := range block {
			block[i].RemoveHook()
		}
	}
}

// alarm opens a gate when one of fs fails, beginning a while from now: listing a
// hook costs about 100 ns a future, so it waits until twice as much time has been spent
// on waiting, and adds at most half to the cost of a Gather that has nothing to report.
func alarm[F Waiter](fs []F) (gate *cell.Core, stop func()) {
	t := &trip{until: FirstFailed}
	after := max(time.Millisecond, time.Duration(len(fs))*200)
	timer := time.AfterFunc(after, func() { list(t, fs) })
	return &t.gate, func() {
		timer.Stop()
		t.stop()
	}
}
