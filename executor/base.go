package executor

import (
	"sync"
	"sync/atomic"

	"github.com/nearfar/nearfar/internal/cell"
)

// A Base is what this package keeps for an executor: a Backend has one and gives it
// out. Make it with NewBase.
type Base struct {
	cfg     Config
	backend Backend
	worker  string // what tasks are told of where they run
	near    bool   // functions run in this process, on arguments as they are
	fussy   bool   // no task is plain
	remote  bool   // the backend is a Store: what runs there is not this process's to count

	recent atomic.Pointer[scope] // the one of the last Submit. One ctx, at most, is kept by it
	plans  atomic.Pointer[plan]  // the last argument type that was looked at
	route  atomic.Pointer[route] // of the last plain call

	plainer Plainer // the backend, if plain calls are to take their own way; else nil

	closed atomic.Bool  // refuses new tasks
	shut   atomic.Bool  // Close has begun: what is held is cancelled
	ids    atomic.Int64 // of tasks, given when somebody asks

	room admission
	keys keyTable

	mu      sync.Mutex
	held    heldNode       // a ring: tasks that are neither queued nor running
	heldN   int            // how many
	groups  map[*Group]int // how many functions of each run
	changed chan struct{}  // closed when something above went down; nil if nobody waits

	idlers atomic.Int32 // who waits for the pool to run idle, too

	// What slots do not count themselves.
	submitted, finished, failed, cancelled, retried, abandoned, lost atomic.Int64
	groupRunning                                                     atomic.Int64
}

// Counters of a pool's runners.
const countFinished = 0

// NewBase makes the base of an executor that a backend runs the calls of. The
// configuration's MaxPending, Observer and MaxValueBytes are honoured here.
func NewBase(cfg Config, backend Backend) *Base {
	b := &Base{}
	b.init(cfg, backend)
	b.fussy = true // its calls are run by an attempt, which asks for no slot
	_, b.remote = backend.(Store)
	if cfg.MaxPending == 0 && cfg.Observer == nil { // which are for calls that have what they need
		b.plainer, _ = backend.(Plainer)
	}
	return b
}

func (b *Base) init(cfg Config, backend Backend) {
	b.cfg, b.backend = cfg.WithDefaults(), backend
	b.worker = "local"
	b.held.next, b.held.prev = &b.held, &b.held
	b.room.limit = cfg.MaxPending
}

// travels reports whether arguments and results are encoded.
func (b *Base) travels() bool { return b.cfg.Strict || !b.near }

// A heldNode is a task in Base.held: one that waits for inputs, for its next attempt,
// or for its key, so that Close finds it.
type heldNode struct {
	next, prev *heldNode // guarded by Base.mu
	core       *cell.Core
}

// hold lists a task that waits. Close may have looked before: ask shut after.
func (b *Base) hold(n *heldNode, c *cell.Core) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.core = c
	n.next, n.prev = &b.held, b.held.prev
	n.prev.next, n.next.prev = n, n
	b.heldN++
}

// unlist takes it out, on its way to the backend. It is false if it was not in.
func (b *Base) unlist(n *heldNode) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return n.unlistLocked()
}

func (n *heldNode) unlistLocked() bool {
	if n.next == nil {
		return false
	}
	n.prev.next, n.next.prev = n.next, n.prev
	n.next, n.prev = nil, nil
	return true
}

// landed says that what unlist took out has reached the backend.
func (b *Base) landed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heldN--
	b.changedLocked()
}

// unhold takes it out for good, if it is in.
func (b *Base) unhold(n *heldNode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.unlistLocked() {
		b.heldN--
		b.changedLocked()
	}
}

// holds reports whether it is in.
func (b *Base) holds(n *heldNode) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return n.next != nil
}

// heldCores are the tasks that wait.
func (b *Base) heldCores() []*cell.Core {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*cell.Core
	for n := b.held.next; n != &b.held; n = n.next {
		list = append(list, n.core)
	}
	return list
}

// changedLocked wakes Shutdown, if it waits for the executor to run empty.
func (b *Base) changedLocked() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}
