package remote

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/child"
)

// An Executor runs tasks in worker processes.
type Executor struct {
	base      *executor.Base
	cfg       executor.Config
	key       string // by which workers, and they among themselves, know it
	token     []byte
	tls       *tls.Config
	log       *slog.Logger
	functions map[string]string // fingerprints of what is registered here
	keeper    *child.Keeper     // of proc
	dir       string            // of proc's sockets

	ctx    context.Context // of what goes on in the background
	cancel context.CancelCauseFunc
	bg     sync.WaitGroup

	closing sync.Once
	over    chan struct{} // closed when all has ended

	marks atomic.Uint64 // that were sent: see frameMark

	mu         sync.Mutex
	workers    []*worker
	met        map[string]bool // names of workers there ever were
	queue      queue
	restoring  []*entry // that are to be queued
	lineage    lineage
	tasks      map[int64]*entry // that wait, or are at a worker
	values     map[int64]*stored
	ahead      int     // calls that wait at a slot
	took       float64 // by a call, in ns: a moving average
	scratch    []byte
	noWorkers  *time.Timer
	closed     bool
	secluded   int     // workers that run a suspect alone
	clearing   *worker // gets no more calls, so that a suspect can run there
	clearedFor *entry
	busy       int           // goroutines that use workers, or may yet add tasks: Shutdown waits for them
	emptied    chan struct{} // closed when nothing is at workers; nil if nobody waits

	sent, received, bytesMoved, retried, lost int64

	// Of plain calls: see lane.go.
	plain   atomic.Int64 // that are not over, and not promoted
	full    bool         // no worker has room
	dead    int          // cancelled while they waited, since bury
	one     plainRun     // to be sent at once
	indexed []*worker    // by worker.index
}

// newExecutor makes one without workers.
func newExecutor(cfg executor.Config) (*Executor, error) {
	token, err := readToken(cfg.Token, cfg.TokenFile)
	if err != nil {
		return nil, err
	}
	ex := &Executor{
		cfg: cfg, key: rand.Text(), token: token, log: cfg.Logger, functions: executor.Registered(),
		over: make(chan struct{}), met: map[string]bool{}, tasks: map[int64]*entry{}, values: map[int64]*stored{}, ahead: 1, indexed: []*worker{nil},
	}
	ex.ctx, ex.cancel = context.WithCancelCause(context.Background())
	ex.base = executor.NewBase(cfg, ex)
	return ex, nil
}

// The Backend.

// Base is what package executor keeps.
func (ex *Executor) Base() *executor.Base { return ex.base }

// Backend is ex itself.
func (ex *Executor) Backend() executor.Backend { return ex }

// newEntry makes an entry of a call.
func (ex *Executor) newEntry(c *executor.Call) (*entry, error) {
	r, err := c.Request()
	if err != nil {
		return nil, err
	}
	e := &entry{id: r.ID, call: c, req: r}
	if r.Arg.Data == nil || r.Refs != nil {
		visit := func(v any) { e.inputs = append(e.inputs, v.(*stored)) }
		storedIn([]executor.Source{r.Arg}, visit)
		storedIn(r.Refs, visit)
	}
	return e, nil
}

// Enqueue takes a call.
func (ex *Executor) Enqueue(c *executor.Call) {
	e, err := ex.newEntry(c)
	if err != nil {
		c.Fail(err)
		return
	}
	ex.submit(e, false)
}

func (ex *Executor) submit(e *entry, front bool) {
	c := e.call
	if e.req.Kill > 0 && ex.cfg.Backend != "proc" {
		c.Fail(fmt.Errorf("%w: WithKillAfter: workers that listen are not this executor's to kill; use proc", executor.ErrConfig))
		return
	}
	c.SetTag(e)
	if c.Over() {
		return
	}
	ex.mu.Lock()
	err := ex.misfit(e)
	closed := ex.closed
	if err == nil && !closed {
		ex.add(e, front)
		ex.pump()
	}
	ex.mu.Unlock()
	switch {
	case err != nil:
		c.Fail(err)
	case closed:
		c.Cancel(executor.ErrClosed)
	case c.Over():
		ex.Cancelled(c)
	}
}

// Cancelled tells the worker, if the call was sent to one.
func (ex *Executor) Cancelled(c *executor.Call) {
	e, _ := c.Tag().(*entry)
	ex.mu.Lock()
	if e == nil && c.IsPlain() {
		if e, _ = c.Tag().(*entry); e == nil {
			e = ex.plainCancelled(c)
		}
	}
	if e == nil || e.call != c {
		ex.mu.Unlock()
		return
	}
	back := false
	switch {
	case e.gone:
	case e.w == nil:
		if ex.tasks[e.id] == e {
			ex.queue.remove(e)
			ex.remove(e)
			if ex.clearedFor == e {
				ex.pump()
			}
			back = true // it may have been at a worker before
		}
	default:
		w := e.w
		w.wire.Send(frameCancel, appendCall(nil, e), appendBytes(nil, executor.PackError(cancelCause(c))))
		if e.req.Kill > 0 && e.kill == nil {
			e.kill = time.AfterFunc(e.req.Kill, func() { w.kill(e) })
		}
	}
	empty := ex.nothing()
	ex.empty()
	ex.mu.Unlock()
	if back {
		c.Returned()
	}
	if empty {
		ex.base.Changed()
	}
}

// Import is told what becomes of a future of a worker.
func (ex *Executor) Import(live any, done func(executor.Source)) (cancel func(error)) {
	return live.(*imported).table.Import(live, done)
}

// Withdraw cancels a call if it has not begun.
func (ex *Executor) Withdraw(c *executor.Call) {
	e, _ := c.Tag().(*entry)
	if e == nil {
		c.CancelPending()
		return
	}
	ex.mu.Lock()
	queued := e.w == nil
	if !queued && !e.begun {
		e.unwanted = true
		e.w.wire.Send(frameTake, appendCall(nil, e), nil)
	}
	ex.mu.Unlock()
	if queued {
		c.CancelPending()
	}
}

// cancelCause is what a call was cancelled with.
func cancelCause(c *executor.Call) error {
	if err := c.Err(); err != nil {
		return unwrapped(err)
	}
	return context.Canceled
}

// unwrapped is the cause of a cancellation.
func unwrapped(err error) error {
	var cancelled *futures.CancelError
	if errors.As(err, &cancelled) && cancelled.Cause != nil {
		return cancelled.Cause
	}
	return err
}

// later does something without the lock, which is held.
func (ex *Executor) later(f func()) { go f() }

// Lend and Resume are for attempts in this process, of which there are none.
func (ex *Executor) Lend(*executor.Attempt, *executor.Call) {}

// Resume wakes w: no slot was lent.
func (ex *Executor) Resume(_ *executor.Attempt, w executor.Waker) { w.Wake() }

// Release has nothing to do: Drop is told when a value goes.
func (ex *Executor) Release(*executor.Call) {}

// Position is how many calls are queued before c, or -1.
func (ex *Executor) Position(c *executor.Call) int {
	e, _ := c.Tag().(*entry)
	if e == nil && !c.IsPlain() {
		return -1
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if e == nil {
		return ex.plainPosition(c)
	}
	if n := ex.queue.position(e); n >= 0 {
		return n
	}
	if e.w == nil || e.begun {
		return -1
	}
	n := 0
	for _, o := range e.w.out {
		if o.id < e.id && !o.begun {
			n++
		}
	}
	return n
}
