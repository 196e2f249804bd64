package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/child"
	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/internal/wire"
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

// Fetch brings the encoding of a value.
func (ex *Executor) Fetch(ctx context.Context, v any) ([]byte, error) {
	s := v.(*stored)
	head := binary.AppendVarint([]byte{callFetch}, s.id)
	for tries := 0; ; {
		ex.mu.Lock()
		if ex.closed {
			ex.mu.Unlock()
			return nil, fmt.Errorf("%w: the value was not home when its executor closed", executor.ErrClosed)
		}
		var w *worker
		if len(s.holders) > 0 {
			w = s.holders[0]
		}
		var made chan struct{}
		err, data := s.err, s.data
		if w == nil && err == nil && data == nil {
			if !ex.restore(s) {
				made = s.made
				ex.pump()
			}
			err = s.err
		}
		ex.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if w == nil && data != nil {
			return bytes.Clone(data), nil
		}
		if made != nil {
			select {
			case <-made:
			case <-ctx.Done():
				return nil, cell.ContextError(ctx)
			}
			continue
		}
		_, data, err = w.wire.Call(ctx, head)
		if err == nil {
			ex.mu.Lock()
			ex.received += int64(len(data))
			ex.mu.Unlock()
			ex.tellMoved("", w.name, int64(len(data)))
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, cell.ContextError(ctx)
		}
		var theirs *wire.CallError
		if tries++; errors.As(err, &theirs) || tries == maxTries {
			return nil, fmt.Errorf("remote: value %d on %s: %w", s.id, w.name, err)
		}
		if err := w.settle(ctx, err); err != nil {
			return nil, err
		}
	}
}

// maxTries is how often a call to a worker that seems alive may fail for want of a
// connection.
const maxTries = 10

// settle waits, after a call has failed, until the schedule knows that the worker is
// gone; or, where only the second connection could not be made, which may be the first
// sign of that, a moment.
func (w *worker) settle(ctx context.Context, err error) error {
	var moment <-chan time.Time
	if !errors.Is(err, wire.ErrGone) {
		moment = time.After(100 * time.Millisecond)
	}
	select {
	case <-w.lost:
	case <-moment:
	case <-ctx.Done():
		return cell.ContextError(ctx)
	}
	return nil
}

// Drop frees a value on the workers.
func (ex *Executor) Drop(v any) {
	s, ok := v.(*stored)
	if !ok {
		return
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if s.dropped {
		return
	}
	s.dropped = true
	ex.free(s)
}

// free frees a value on the workers. mu is held.
func (ex *Executor) free(s *stored) {
	delete(ex.values, s.id)
	s.data = nil
	for _, w := range s.holders {
		w.stored--
		w.storedBytes -= s.size
		w.wire.Send(frameDrop, binary.AppendVarint(nil, s.id), nil)
	}
	s.holders = nil // it may have to be made again, for what was made of it
}

// Scatter puts a value on workers: on all, or on the one that has the least. One that is
// lost meanwhile is passed over.
func (ex *Executor) Scatter(ctx context.Context, data []byte, workers []string, all bool) (any, error) {
	s := &stored{id: ex.base.NewID(), size: int64(len(data))}
	head := binary.AppendVarint([]byte{callPut}, s.id)
	for tries := 0; ; tries++ {
		to, err := ex.shelves(workers, all)
		if err != nil {
			return nil, err
		}
		for _, w := range to {
			_, _, failed := w.wire.Call(ctx, head, data)
			if failed == nil {
				ex.mu.Lock()
				ex.sent += s.size
				if !w.gone {
					ex.keep(s, w)
				}
				ex.mu.Unlock()
				continue
			}
			if ctx.Err() != nil {
				return nil, cell.ContextError(ctx)
			}
			var theirs *wire.CallError
			if err = fmt.Errorf("%w: %s: %w", ErrWorkerLost, w.name, failed); errors.As(failed, &theirs) || tries == maxTries {
				return nil, err
			}
			if failed := w.settle(ctx, failed); failed != nil {
				return nil, failed
			}
		}
		ex.mu.Lock()
		kept := len(s.holders) > 0
		ex.mu.Unlock()
		if kept {
			return s, nil
		}
	}
}

// shelves are the workers to scatter a value to.
func (ex *Executor) shelves(workers []string, all bool) (to []*worker, err error) {
	probe := &entry{req: &executor.Request{Workers: workers}}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	for _, w := range ex.workers {
		if ex.suits(w, probe) && !w.draining {
			to = append(to, w)
		}
	}
	if !all && len(to) > 1 {
		best := to[0]
		for _, w := range to[1:] {
			if w.storedBytes < best.storedBytes {
				best = w
			}
		}
		to = []*worker{best}
	}
	return to, ex.misfitNames(workers, to)
}

func (ex *Executor) misfitNames(workers []string, to []*worker) error {
	switch {
	case len(to) > 0:
		return nil
	case len(ex.workers) == 0:
		return ErrNoWorkers
	}
	return fmt.Errorf("%w: WithWorkers(%q): there is none of that name", executor.ErrConfig, workers)
}

// keep notes that w has s. mu is held.
func (ex *Executor) keep(s *stored, w *worker) {
	s.holders = append(s.holders, w)
	ex.values[s.id] = s
	w.stored++
	w.storedBytes += s.size
}

// CallAll calls a function in each worker process at once.
func (ex *Executor) CallAll(ctx context.Context, function string, arg []byte) (map[string]executor.Called, error) {
	return ex.callAll(ctx, function, arg, nil)
}

// callAll is CallAll, by a task of a worker if that is not nil.
func (ex *Executor) callAll(ctx context.Context, function string, arg []byte, by *worker) (map[string]executor.Called, error) {
	ex.mu.Lock()
	workers := append([]*worker(nil), ex.workers...)
	closed := ex.closed
	ex.busy++
	for _, w := range workers {
		if w != by { // else it is what that task does
			w.calls++
		}
	}
	ex.mu.Unlock()
	defer ex.rest()
	switch {
	case closed:
		return nil, executor.ErrClosed
	case len(workers) == 0:
		return nil, ErrNoWorkers
	}
	all := make(map[string]executor.Called, len(workers))
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, w := range workers {
		calls.Go(func() { // ends with the call, or ctx
			// What was sent before it comes before it, though calls have a connection of their own.
			mark := ex.marks.Add(1)
			w.wire.Send(frameMark, binary.AppendUvarint(nil, mark), nil)
			head, data, err := w.wire.Call(ctx, appendString(binary.AppendUvarint([]byte{callRun}, mark), function), arg)
			var theirs *wire.CallError
			if err != nil && ctx.Err() == nil && !errors.As(err, &theirs) {
				_ = w.settle(ctx, err) // that it was under way counts when the worker is lost
			}
			if w != by {
				ex.mu.Lock()
				w.calls--
				ex.mu.Unlock()
			}
			switch {
			case ctx.Err() != nil && err != nil:
				err = cell.ContextError(ctx)
			case err != nil:
				err = fmt.Errorf("%w: %s: %w", ErrWorkerLost, w.name, err)
			case len(head) == 1 && head[0] == 1:
				data, err = nil, executor.UnpackError(data, w.name)
			}
			mu.Lock()
			defer mu.Unlock()
			all[w.name] = executor.Called{Data: data, Err: err}
		})
	}
	calls.Wait()
	return all, nil
}

// rest ends a busy.
func (ex *Executor) rest() {
	ex.mu.Lock()
	ex.busy--
	ex.mu.Unlock()
	ex.base.Changed()
}

// The Executor.

// Slots is how many tasks run at a time: as configured on proc, else as connected.
func (ex *Executor) Slots() int {
	if ex.cfg.Backend == "proc" {
		return ex.cfg.Workers * ex.cfg.Threads
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	n := 0
	for _, w := range ex.workers {
		n += w.threads
	}
	return n
}

// tellSlots tells the workers how many slots there are, if that can change. mu is held.
func (ex *Executor) tellSlots() {
	if ex.cfg.Backend == "proc" {
		return
	}
	n := 0
	for _, w := range ex.workers {
		n += w.threads
	}
	for _, w := range ex.workers {
		w.wire.Send(frameSlots, binary.AppendUvarint(nil, uint64(n)), nil)
	}
}

// Stats is the client's own account.
func (ex *Executor) Stats() executor.Stats {
	var calls []*executor.Call
	var lots []*lot
	ex.mu.Lock()
	var waiting int64
	var rows []executor.WorkerStats
	now := time.Now()
	for _, w := range ex.workers {
		row := executor.WorkerStats{
			Name: w.name, Addr: w.addr, PID: w.pid, Threads: w.threads, Stored: w.stored, StoredBytes: w.storedBytes,
			Finished: w.finished, LastSeen: now,
		}
		for _, e := range w.out {
			switch {
			case e.waiting:
				waiting++
			case e.begun && e.lot != nil:
				row.Running++
				lots = append(lots, e.lot)
			case e.call == nil:
			case e.begun:
				row.Running++
				calls = append(calls, e.call)
			}
		}
		rows = append(rows, row)
	}
	s := ex.base.Account()
	s.BytesSent, s.BytesReceived, s.BytesMoved = ex.sent, ex.received, ex.bytesMoved
	s.Retried += ex.retried
	s.Lost += ex.lost
	ex.mu.Unlock()
	s.Workers = rows
	for _, c := range calls {
		if !c.Over() {
			s.Running++
		}
	}
	for _, l := range lots {
		if !l.items.Over() {
			s.Running++
		}
	}
	s.Waiting = waiting
	s.Pending = max(0, s.Submitted-s.Running-s.Waiting-s.Finished-s.Failed-s.Cancelled)
	return s
}

// Shutdown refuses new tasks, waits for the rest, and closes. See executor.Executor.
func (ex *Executor) Shutdown(ctx context.Context) error {
	ex.base.Refuse()
	idle := func() bool {
		ex.mu.Lock()
		defer ex.mu.Unlock()
		return ex.nothing() && ex.busy == 0
	}
	if ex.base.WaitIdle(ctx, idle) == nil {
		return ex.Close()
	}
	ended := fmt.Errorf("executor: Shutdown: %w", cell.ContextError(ctx))
	left := ex.stop()
	<-ex.over
	if *left == 0 {
		return fmt.Errorf("%w; what was left has been cancelled", ended)
	}
	return fmt.Errorf("%w; %d functions still run", ended, *left)
}

// Close refuses new tasks, cancels the rest, waits for what runs to return for
// CloseGrace, and ends or leaves the workers.
func (ex *Executor) Close() error {
	ex.stop()
	<-ex.over
	return nil
}

// stop closes ex, once. Left is how many functions had not returned, once over is closed.
func (ex *Executor) stop() (left *int) {
	left = new(int)
	ex.closing.Do(func() {
		ex.base.CancelHeld()
		ex.mu.Lock()
		ex.closed = true
		if ex.noWorkers != nil {
			ex.noWorkers.Stop()
		}
		var calls []*executor.Call
		var lots []*executor.Lot
		ex.plainCalls(func(c *executor.Call) { calls = append(calls, c) })
		ex.dropRuns()
		for _, e := range ex.tasks {
			if e.lot != nil {
				lots = append(lots, e.lot.items)
			} else if e.call != nil {
				calls = append(calls, e.call)
			} else {
				ex.remove(e)
				if e.w == nil {
					ex.queue.remove(e)
				}
				ex.remade(e, nil, executor.ErrClosed)
			}
		}
		ex.mu.Unlock()
		for _, c := range calls {
			c.Cancel(executor.ErrClosed)
		}
		for _, l := range lots {
			l.Cancel(executor.ErrClosed)
		}
		ex.bg.Go(func() { *left = ex.finish() }) // ends within CloseGrace and the time to kill
		go func() {                              // ends when the last function of a Group has returned
			ex.bg.Wait()
			ex.base.WaitGroups()
			close(ex.over)
		}()
	})
	return left
}

// finish waits for what runs, and ends the workers.
func (ex *Executor) finish() (left int) {
	ex.mu.Lock()
	emptied := make(chan struct{})
	if ex.emptied = emptied; ex.nothing() {
		close(emptied)
		ex.emptied = nil
	}
	ex.mu.Unlock()
	grace := time.NewTimer(ex.cfg.CloseGrace)
	select {
	case <-emptied:
	case <-grace.C:
	}
	grace.Stop()
	ex.cancel(executor.ErrClosed)
	ex.mu.Lock()
	left = len(ex.tasks) + int(ex.plain.Load())
	workers := append([]*worker(nil), ex.workers...)
	ex.mu.Unlock()
	var closing sync.WaitGroup
	for _, w := range workers {
		closing.Go(func() { // ends within a second
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if left > 0 {
				w.wire.Kill(executor.ErrClosed)
			} else {
				_ = w.wire.Close(ctx)
			}
			<-w.lost
		})
	}
	closing.Wait()
	ex.endWorkers(left)
	return left
}

// nothing reports whether no call waits or is at a worker. mu is held.
func (ex *Executor) nothing() bool { return len(ex.tasks) == 0 && ex.plain.Load() == 0 }

// empty says that nothing is left, if so. mu is held.
func (ex *Executor) empty() {
	if ex.nothing() && ex.emptied != nil {
		close(ex.emptied)
		ex.emptied = nil
	}
}

// moved counts bytes that go from worker to worker. mu is held.
func (ex *Executor) moved(e *entry, to *worker, n int64) {
	ex.bytesMoved += n
	if o := ex.cfg.Observer; o != nil && o.Moved != nil {
		id := strconv.FormatInt(e.id, 10)
		ex.later(func() { ex.tellMoved(id, to.name, n) })
	}
}

// tellMoved tells the Observer of a value that went to a worker for a task, or, without
// one, from a worker to here.
func (ex *Executor) tellMoved(id, worker string, n int64) {
	if o := ex.cfg.Observer; o != nil && o.Moved != nil {
		o.Moved(executor.Event{Time: time.Now(), ID: id, Worker: worker, Bytes: n})
	}
}

// statsData is Stats, encoded.
func (ex *Executor) statsData() ([]byte, error) {
	s := ex.Stats()
	return codec.Append(nil, &s)
}
