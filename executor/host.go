package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/pool"
)

// A Host runs calls that came from another process, by their Requests, on slots of
// this one. What their functions submit goes to its Relay.
type Host struct {
	base  Base
	pool  *pool.Pool
	relay Relay
	scope scope
}

// A Relay is where what the tasks of a Host submit goes to: the process they came from.
type Relay interface {
	Store
	Loader
	Scatterer
	Caller
	Importer
	Enqueue(c *Call)
	Cancelled(c *Call)
	// Release is told that nobody needs the value of a call with a key any more.
	Release(c *Call)
	// Lent is told that a task waits with its slot lent, for a call that it may
	// have submitted, and Resumed that it goes on.
	Lent(task int64, awaited *Call)
	Resumed(task int64)
	Slots() int
	Stats() Stats
}

// NewHost makes a host on the slots of p. Of cfg, MaxValueBytes counts.
func NewHost(cfg Config, worker string, p *pool.Pool, relay Relay) *Host {
	h := &Host{pool: p, relay: relay}
	cfg.MaxPending, cfg.Observer = 0, nil
	h.base.init(cfg, hostBackend{h})
	h.base.fussy, h.base.remote, h.base.worker = true, true, worker
	h.scope = scope{ctx: context.Background(), ex: hostExecutor{h}, base: &h.base}
	h.scope.Init(h.scope.ctx, &h.scope)
	return h
}

// Base is the base of the executor that the host's tasks see.
func (h *Host) Base() *Base { return &h.base }

// A Hosted is a call that a Host runs.
type Hosted struct {
	w interface{ value() cell.Value }
	c *cell.Core
}

// An Outcome is what became of a Hosted.
type Outcome struct {
	State futures.State
	Data  []byte   // of Finished: the value, encoded
	Refs  []Source // the values of the futures in it
	Err   error    // of Failed
	Last  bool     // nothing is to be gained from another attempt
	Took  time.Duration
}

type hosted interface {
	work
	start(h *Host, r *Request, done func(Outcome), late func(error))
	value() cell.Value
}

// Start queues a call. late is called if it takes longer than its timeout, and done
// when its function has returned, or will not be called. Neither may block.
func (h *Host) Start(r *Request, done func(Outcome), late func(error)) (*Hosted, error) {
	functions.Lock()
	f := functions.byName[r.Function]
	functions.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: %s, on this worker", ErrNotRegistered, r.Function)
	}
	w := f.host()
	w.start(h, r, done, late)
	c := w.value().Base()
	if !h.pool.Push((*Call)(c), r.Priority, 0) {
		return nil, ErrClosed
	}
	return &Hosted{w, c}, nil
}

// Cancel cancels the call: it does not start, or its ctx ends.
func (hd *Hosted) Cancel(cause error) { cancelWith(hd.c, cause) }

// Withdraw cancels the call if it has not started, and reports whether it did.
func (hd *Hosted) Withdraw() bool {
	var w cell.Wave
	ok := hd.c.CancelPending(cell.CancelError(nil), &w)
	w.Run()
	return ok
}

// Running reports whether the function runs.
func (hd *Hosted) Running() bool { return hd.c.State() == cell.Running }

// Encode encodes the value of a finished call.
func (hd *Hosted) Encode() ([]byte, error) {
	v := reflect.ValueOf(hd.w.value().Pointer()).Elem()
	return codec.For(v.Type()).Append(nil, v)
}

// Value is the value of a finished call, if it is of type t.
func (hd *Hosted) Value(t reflect.Type) (v reflect.Value, ok bool) {
	v = reflect.ValueOf(hd.w.value().Pointer()).Elem()
	return v, v.Type() == t
}

// CallNow calls a function at once, outside the slots, with an encoded argument.
func (h *Host) CallNow(ctx context.Context, function string, arg []byte) (data []byte, err error) {
	functions.Lock()
	f := functions.byName[function]
	functions.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: %s, on this worker", ErrNotRegistered, function)
	}
	returned := make(chan struct{})
	err = futures.ErrGoexit // unless it returns
	go func() {             // ends with the function, which may leave by Goexit
		defer close(returned)
		defer func() {
			if p := recover(); p != nil {
				err = panicError(p, stackOf(p))
			}
		}()
		data, err = f.invoke(ctx, arg)
	}()
	<-returned
	return data, err
}

// Close cancels all that the host runs.
func (h *Host) Close(cause error, running []*Hosted) {
	h.base.closed.Store(true)
	h.base.shut.Store(true)
	for _, c := range h.base.heldCores() {
		cancelWith(c, cause)
	}
	for _, hd := range running {
		hd.Cancel(cause)
	}
	h.base.endGroups()
}

// A hostedTask is a task that came from elsewhere.
type hostedTask[A, R any] struct {
	task[A, R]
	request *Request
	done    func(Outcome)
	late    func(error)
	hook    cell.Hook
	data    []byte
	refs    []Source
	last    bool
	began   time.Time
}

func (t *hostedTask[A, R]) start(h *Host, r *Request, done func(Outcome), late func(error)) {
	c := t.core()
	c.Owner, c.Scope = t, &h.scope.Scope
	t.request, t.done, t.late = r, done, late
	m := t.special()
	m.opts = &options{timeout: r.Timeout, name: r.Name, key: r.Key, priority: r.Priority}
	m.id.Store(r.ID)
	m.attempt.Store(int32(r.Attempt - 1))
	if r.Timeout > 0 {
		t.hook.Do = t
		c.AddHook(&t.hook)
	}
}

func (t *hostedTask[A, R]) value() cell.Value { return t.cell() }

// Fire reports a timeout, if the function still runs.
func (t *hostedTask[A, R]) Fire(*cell.Hook, *cell.Wave) {
	m := t.peek()
	m.mu.Lock()
	running := m.current != nil
	m.mu.Unlock()
	if running && t.core().State() == cell.Failed {
		t.late(t.core().Err())
	}
}

// Run runs the task and reports what came of it.
func (t *hostedTask[A, R]) Run(slot any) {
	r, _ := slot.(*pool.Runner)
	if t.core().Runnable() {
		t.began = time.Now()
		runAttempt(t, t.core(), t.peek(), r)
	}
	t.report()
}

func (t *hostedTask[A, R]) broke(r *pool.Runner, recovered any, stack []byte) {
	c, m, err := t.core(), t.peek(), panicError(recovered, stack)
	m.mu.Lock()
	a := m.current
	m.mu.Unlock()
	attemptDone(t, c, m, a, r, err)
	t.report()
}

// Cancelled reports a call that will never start.
func (t *hostedTask[A, R]) Cancelled(from cell.State, cause error, w *cell.Wave) {
	t.task.Cancelled(from, cause, w)
	if from == cell.Pending {
		t.report()
	}
}

// report tells the outcome, once.
func (t *hostedTask[A, R]) report() {
	m := t.peek()
	m.mu.Lock()
	done := t.done
	t.done = nil
	m.mu.Unlock()
	if done == nil {
		return
	}
	c := t.core()
	o := Outcome{State: futures.State(c.Outcome()), Last: t.last}
	if !t.began.IsZero() {
		o.Took = max(1, time.Since(t.began))
	}
	switch o.State {
	case futures.Finished:
		o.Data, o.Refs = t.data, t.refs
	default:
		o.Err = c.Err()
	}
	t.data, t.refs = nil, nil
	done(o)
}

// invoke fetches the argument, runs the function, and encodes its value.
func (t *hostedTask[A, R]) invoke(ctx context.Context) error {
	b := t.peek().base
	r := t.request
	t.request = nil
	var arg A
	if r.Arg.Stored == nil && r.Arg.Made == cell.Whole {
		refs := r.Refs
		if r.Arg.Refs != nil {
			refs = r.Arg.Refs
		}
		if err := decodeWith(b, r.Arg.Data, &arg, refs); err != nil {
			return err
		}
	} else {
		v, err := b.load(ctx, r.Arg, reflect.TypeFor[A]())
		if err != nil {
			return err
		}
		arg = v.Interface().(A)
	}
	t.arg = arg
	v, err := t.call(ctx)
	if err != nil {
		var permanent *permanentError
		t.last = errors.As(err, &permanent)
		return err
	}
	if t.data, err = encode(b, "result", t.peek().fn, &v); err != nil {
		return err
	}
	for _, ref := range references(b, &v) {
		t.refs = append(t.refs, futureSource(b, ref))
	}
	t.cell().Set(v)
	return nil
}

// hostBackend is the driver's side of the executor that hosted tasks see.
type hostBackend struct{ *Host }

func (h hostBackend) Base() *Base { return &h.base }

func (h hostBackend) Enqueue(c *Call) { h.relay.Enqueue(c) }

func (h hostBackend) Cancelled(c *Call) {
	if _, ok := c.Owner.(hosted); ok {
		h.pool.Bury(1)
		return
	}
	h.relay.Cancelled(c)
}

func (h hostBackend) Lend(a *Attempt, to *Call) {
	if a.runner == nil {
		a.runner = h.pool.Holder(a.core.Slot())
	}
	h.relay.Lent(a.taskID(), to)
	a.runner.Lend(nil)
}

func (h hostBackend) Resume(a *Attempt, w Waker) {
	h.relay.Resumed(a.taskID())
	a.runner.Resume(w)
}

func (h hostBackend) Release(c *Call) {
	if c.Owner.Key() != "" {
		h.relay.Release(c)
	}
}

func (h hostBackend) Fetch(ctx context.Context, stored any) ([]byte, error) {
	return h.relay.Fetch(ctx, stored)
}

func (h hostBackend) Drop(stored any) { h.relay.Drop(stored) }

func (h hostBackend) Import(live any, done func(Source)) (cancel func(error)) {
	return h.relay.Import(live, done)
}

func (h hostBackend) Load(ctx context.Context, stored any, t reflect.Type) (reflect.Value, bool, error) {
	return h.relay.Load(ctx, stored, t)
}

func (h hostBackend) Scatter(ctx context.Context, data []byte, workers []string, all bool) (any, error) {
	return h.relay.Scatter(ctx, data, workers, all)
}

func (h hostBackend) CallAll(ctx context.Context, function string, arg []byte) (map[string]Called, error) {
	return h.relay.CallAll(ctx, function, arg)
}

// taskID is the number of the task.
func (a *Attempt) taskID() int64 {
	switch w := a.core.Owner.(type) {
	case work:
		return w.more().id.Load()
	case interface{ number() int64 }:
		return w.number()
	}
	return 0
}

// hostExecutor is the executor that hosted tasks see: that of the process they came
// from, as far as it reaches.
type hostExecutor struct{ *Host }

func (h hostExecutor) Slots() int       { return h.relay.Slots() }
func (h hostExecutor) Stats() Stats     { return h.relay.Stats() }
func (h hostExecutor) Backend() Backend { return hostBackend(h) }

func (h hostExecutor) Close() error {
	return errors.New("executor: Close inside a task of the same executor, which it would wait for; do it in OnDone, or after")
}

func (h hostExecutor) Shutdown(context.Context) error {
	return errors.New("executor: Shutdown inside a task of the same executor, which it would wait for; do it in OnDone, or after")
}

// A Foreign is a call that another process submitted, which it encoded: what a client
// does for the tasks of its workers. Its value stays encoded.
type Foreign struct {
	task[raw, raw]
	request *Request
	begun   func(*Foreign)
	done    func(*Foreign)
	hook    cell.Hook
	refs    []Source

	run  *keyRun      // that it shares, if it has a key and is not the run itself
	gone *atomic.Bool // counts in run.refs no more
	from cell.Hook    // at the run
}

// raw is an encoded value.
type raw struct{ data []byte }

// SubmitForeign submits a call by its Request, of which ID and Attempt do not count.
// begun is called when it has begun, done when it has its outcome; neither may block.
func (b *Base) SubmitForeign(ctx context.Context, ex Executor, r *Request, begun, done func(*Foreign)) *Foreign {
	t, m, err := b.newForeign(ctx, ex, r, begun, done)
	t.hook.Do = t
	t.core().AddHook(&t.hook)
	if r.Key != "" {
		b.shareForeign(ctx, ex, t, m, err)
		return t
	}
	b.submit(ctx, t, m, err, nil)
	return t
}

func (b *Base) newForeign(ctx context.Context, ex Executor, r *Request, begun, done func(*Foreign)) (*Foreign, *more, error) {
	t := &Foreign{request: r, begun: begun, done: done}
	attach(ctx, ex, t.core(), t)
	m := t.task.special()
	functions.Lock()
	f := functions.byName[r.Function]
	functions.Unlock()
	m.fn = f
	m.opts = &options{
		name: r.Name, key: r.Key, priority: r.Priority, timeout: r.Timeout, workers: r.Workers, killAfter: r.Kill,
	}
	if r.Once {
		m.opts.given |= givenAtMostOnce
	}
	var err error
	if f == nil {
		m.fn = &function{registered: r.Function}
		err = fmt.Errorf("%w: %s, in the process that holds the schedule", ErrNotRegistered, r.Function)
	}
	return t, m, err
}

// shareForeign has t share the run of its key, or begins one.
func (b *Base) shareForeign(ctx context.Context, ex Executor, t *Foreign, m *more, err error) {
	b.submitted.Add(1)
	c := (*Call)(t.core())
	if err != nil {
		c.Fail(err)
		return
	}
	nothing := func(*Foreign) {}
	g, gm, _ := b.newForeign(ctx, ex, t.request, nothing, nothing)
	gm.hidden = true
	run, fresh, err := b.share(ctx, g.task.cell(), g, gm, g.Release)
	if err != nil {
		c.Fail(err)
		return
	}
	t.run, t.gone = run, new(atomic.Bool)
	run.join(t.core())
	if fresh {
		b.submit(ctx, g, gm, nil, nil)
	}
	t.from.Do = follower{t}
	if !run.core.AddHook(&t.from) {
		var w cell.Wave
		follower{t}.Fire(nil, &w)
		w.Run()
	}
}

// A follower gives a Foreign the outcome of the run that it shares.
type follower struct{ t *Foreign }

func (f follower) Fire(_ *cell.Hook, w *cell.Wave) {
	t := f.t
	c := t.core()
	if err := t.run.core.Err(); err != nil {
		if t.run.core.State() == cell.Cancelled {
			c.Cancel(err, err, w)
		} else {
			(*Call)(c).Fail(err)
		}
		return
	}
	m := t.peek()
	src := t.run.value.Source()
	if r, ok := src.Here.(*raw); ok {
		(*Call)(c).Deliver(t.run.worker(), r.data, t.run.core.Owner.(*Foreign).refs)
		return
	}
	s, err := sourceOf(m, src)
	switch {
	case err != nil:
		(*Call)(c).Fail(err)
	case s.Stored == nil:
		(*Call)(c).Deliver(t.run.worker(), s.Data, s.Refs)
	default:
		m.stored = s.Stored
		c.Start(0)
		m.base.count(nil, 1)
		won, fire := c.FinishAway()
		if !won {
			m.base.count(nil, -1)
		}
		if fire {
			c.Fire()
		}
		m.settled()
	}
}

// worker is the worker that ran it, or "".
func (run *keyRun) worker() string {
	if m := run.core.Owner.(work).peek(); m != nil {
		if w := m.where.Load(); w != nil {
			return *w
		}
	}
	return ""
}

// Cancelled ends its share.
func (t *Foreign) Cancelled(from cell.State, cause error, w *cell.Wave) {
	t.task.Cancelled(from, cause, w)
	if t.run != nil {
		if cause == nil {
			cause = context.Canceled
		}
		t.run.cancel(t.gone, cause)
	}
}

// Dropped lets the value go, or its share of it.
func (t *Foreign) Dropped() {
	if t.run != nil {
		t.run.release(t.gone)
		return
	}
	t.task.Dropped()
}

// Fire reports the outcome.
func (t *Foreign) Fire(*cell.Hook, *cell.Wave) { t.done(t) }

// Call is the call.
func (t *Foreign) Call() *Call { return (*Call)(t.core()) }

// Worker is the worker that ran it, or "".
func (t *Foreign) Worker() string {
	if w := t.peek().where.Load(); w != nil {
		return *w
	}
	return ""
}

// Result is the outcome: a value encoded, or what the backend knows it by.
func (t *Foreign) Result() (data []byte, refs []Source, stored any, err error) {
	c := t.cell()
	if err := c.Err(); err != nil {
		return nil, nil, nil, err
	}
	if c.Away() {
		return nil, nil, t.peek().stored, nil
	}
	v, _ := c.GetPinned()
	return v.data, t.refs, nil, nil
}

// Cancel cancels the call.
func (t *Foreign) Cancel(cause error) { cancelWith(t.core(), cause) }

// Release drops its value.
func (t *Foreign) Release() { t.cell().Release() }

func (t *Foreign) pack(*more) error                        { return nil }
func (t *Foreign) function() *function                     { return t.peek().fn }
func (t *Foreign) sources(*more) (Source, []Source, error) { return t.request.Arg, t.request.Refs, nil }
func (t *Foreign) deliver(_ *more, data []byte, refs []Source) error {
	t.refs = refs
	t.cell().Set(raw{bytes.Clone(data)}) // which is the backend's, and may be a buffer
	return nil
}
func (t *Foreign) forget() { t.request = nil }

// dropWhenCollected has a value that stays elsewhere dropped when the future is collected.
func dropWhenCollected[T any](owner *T, b *Base, stored any) {
	runtime.AddCleanup(owner, func(s *storedAt) { s.base.backend.(Store).Drop(s.stored) }, &storedAt{b, stored})
}
