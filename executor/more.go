package executor

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
)

// more is what only some tasks have: options, inputs, a key, an observer who wants
// to know; or a ctx that was asked for something.
type more struct {
	core *cell.Core
	base *Base
	opts *options  // shared by what was submitted together; never nil
	fn   *function // the task's

	// special says that the task is run by runAttempt. Set before the task is
	// shared.
	special bool

	first Attempt // the ctx of a task without special needs

	id      atomic.Int64 // 0 until somebody asks
	attempt atomic.Int32 // the one that runs, or ran last
	arg     []byte       // encoded, in strict mode and far
	ready   func()       // what to do when the inputs are done, if not to queue it
	hidden  bool         // the run behind a key: no task of its own to the outside
	whole   bool         // a Map, whose chunks are told to an observer, not it
	run     *keyRun      // that it is the run of, if any

	tag    any                    // the backend's. Guarded by mu
	stored any                    // what the backend knows the value by, that stays there
	where  atomic.Pointer[string] // the worker that runs it, or ran it last; nil near
	gone   atomic.Bool            // counts as abandoned, elsewhere

	watch     cell.Watch   // of the ctx: the cancellation is known at once
	admitted  atomic.Bool  // counts against MaxPending
	missing   atomic.Int32 // inputs that are not done, and one while they are listed
	over      atomic.Bool  // settled, and cleaned up after
	forgotten atomic.Bool  // see forget
	held      heldNode     // in Base.held while it waits for inputs or its next attempt

	mu         sync.Mutex
	current    *Attempt                // whose function runs. Guarded by mu
	describing bool                    // its Request is being made. Guarded by mu
	inputs     []cell.Value            // pinned. Guarded by mu
	needed     map[*cell.Core]struct{} // those of inputs, made when somebody asks. Guarded by mu
	hooks      []cell.Hook             // at the inputs, once they are all in. Guarded by mu
	timer      *time.Timer             // of the next attempt. Guarded by mu
}

var noOptions options

func newMore(c *cell.Core, fn *function) *more {
	up := hostOf(c.Scope)
	m := &more{core: c, base: up.base, opts: &noOptions, fn: fn}
	m.first.init(c, (*callContext)(c), up)
	return m
}

// catchUp ends a ctx that came too late: the task was over before m could be seen.
func (m *more) catchUp() {
	if !m.core.State().Done() {
		return
	}
	cause := m.core.Err()
	if e, ok := cause.(*futures.CancelError); ok {
		cause = e.Cause
	}
	var w cell.Wave
	m.first.end(cause, &w)
	w.Run()
}

// ID is the task's name to the outside.
func (m *more) ID() string {
	id := m.id.Load()
	if id == 0 {
		if id = m.base.ids.Add(1); !m.id.CompareAndSwap(0, id) {
			id = m.id.Load()
		}
	}
	return "task-" + strconv.FormatInt(id, 10)
}

// name is the task's name: of WithName, else the function's.
func (m *more) name() string {
	if m.opts.name != "" {
		return m.opts.name
	}
	return m.fn.name()
}

func (m *more) info() TaskInfo {
	worker := m.base.worker
	if w := m.where.Load(); w != nil {
		worker = *w
	}
	return TaskInfo{
		ID: m.ID(), Key: m.opts.key, Name: m.name(), Worker: worker,
		Attempt: max(1, int(m.attempt.Load())),
	}
}

// needs reports whether c is one of the inputs.
func (m *more) needs(c *cell.Core) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.needed == nil {
		m.needed = make(map[*cell.Core]struct{}, len(m.inputs))
		for _, in := range m.inputs {
			m.needed[in.Base()] = struct{}{}
		}
	}
	_, ok := m.needed[c]
	return ok
}
