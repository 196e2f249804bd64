package executor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
