package executor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/pool"
)

// A PlainSink is told what became of plain calls that a Host runs. Its methods may not block.
// Data is the caller's again when they return.
type PlainSink interface {
	// Value is told of a value, encoded, and, of some calls, how long the function took.
	Value(c *Call, h *HostedPlain, data []byte, took time.Duration)
	// Failed is told of an error.
	Failed(h *HostedPlain, err error, last bool)
	// None is told that the function will not start, or that it was cancelled and has returned.
	None(h *HostedPlain)
}

// A PlainArg is a plain call as it arrives. Arg is not kept.
type PlainArg struct {
	ID    int64
	Place uint32
	Arg   []byte
}

// A HostedPlain is what is to be known of a plain call that a Host runs.
type HostedPlain struct {
	ID    int64
	Place uint32
	Began atomic.Uint32 // the host's Ticks when it started
}

type hostedPlainer interface {
	work
	value() cell.Value
	plain() *HostedPlain
}

// Hosted is the call as a Host has it, which made it.
func (c *Call) Hosted() *Hosted { return &Hosted{c.Owner.(hostedPlainer), c.core()} }

// Plain is what is to be known of a plain call that a Host has made.
func (c *Call) Plain() *HostedPlain { return c.Owner.(hostedPlainer).plain() }

// A PlainFunction makes plain calls of a function.
type PlainFunction struct{ f *function }

// PlainFunctionOf is that of a registered name.
func PlainFunctionOf(name string) (*PlainFunction, error) {
	functions.Lock()
	defer functions.Unlock()
	f := functions.byName[name]
	if f == nil {
		return nil, fmt.Errorf("%w: %s, on this worker", ErrNotRegistered, name)
	}
	return &PlainFunction{f}, nil
}

// A PlainHost is a Host of plain calls.
type PlainHost struct {
	*Host
	Sink PlainSink
	// Ticks is a clock of the sink's, that never shows 0.
	Ticks atomic.Uint32

	took atomic.Int64 // by a call, in ns: a moving average
	gave atomic.Int64 // when a slot last gave way to those who read and write, in ns
}

// Make makes calls of what arrived, which Push queues: they are of type *Call. The sink is told
// of those whose argument cannot be decoded.
func (f *PlainFunction) Make(h *PlainHost, args []PlainArg) []pool.Task { return f.f.plain(h, args) }

// Push queues what Make has made. It is false if the pool is closed.
func (h *PlainHost) Push(made []pool.Task) bool { return h.pool.PushAll(made, 0) }

// A plainHosted is a plain call that came from elsewhere. It is a task like those of this
// process, and has no more until its function asks something of its ctx.
type plainHosted[A, R any] struct {
	task[A, R]
	HostedPlain
	host *PlainHost
}

func makePlain[A, R any](fn func(context.Context, A) (R, error)) func(*PlainHost, []PlainArg) []pool.Task {
	return func(h *PlainHost, args []PlainArg) []pool.Task {
		made := make([]pool.Task, 0, len(args))
		slab := make([]plainHosted[A, R], len(args)) // they come together, and none lives long
		for i := range slab {
			t := &slab[i]
			c := t.task.core()
			c.Owner, c.Scope = t, &h.scope.Scope
			t.fn, t.host = fn, h
			t.ID, t.Place = args[i].ID, args[i].Place
			if err := codec.Decode(args[i].Arg, &t.arg); err != nil {
				h.Sink.Failed(&t.HostedPlain, fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, t.arg, err), true)
				continue
			}
			made = append(made, (*Call)(c))
		}
		return made
	}
}

func (t *plainHosted[A, R]) value() cell.Value   { return t.cell() }
func (t *plainHosted[A, R]) plain() *HostedPlain { return &t.HostedPlain }

// more is that of a task with the number that the client gave it.
func (t *plainHosted[A, R]) more() *more {
	if m := t.rest.Load(); m != nil {
		return m
	}
	m := newMore(t.task.core(), t.function())
	m.id.Store(t.ID)
	if !t.rest.CompareAndSwap(nil, m) {
		return t.rest.Load()
	}
	m.catchUp()
	return m
}

// Run runs the task and reports what came of it.
func (t *plainHosted[A, R]) Run(slot any) {
	r, _ := slot.(*pool.Runner)
	c := t.cell()
	if !c.Runnable() || !c.Start(r.SlotID()) {
		return // whoever cancelled it has reported that
	}
	t.Began.Store(t.host.Ticks.Load())
	if code := codeOf(t.fn); r.Tag != code {
		tag(r, code, func() string { return functionOf(t.fn).name() })
	}
	var began time.Time
	timed := t.ID%sampled == 0 || t.host.took.Load() > longTask
	if timed {
		began = time.Now()
	}
	v, err := t.call((*callContext)(&c.Core))
	var took time.Duration
	if timed {
		took = t.host.sample(began)
	}
	t.returned(r, v, err, took)
	if timed {
		t.host.giveWay(began.Add(took))
	}
}

// Reading the clock costs 60 ns: of short calls some are measured.
const (
	sampled  = 16
	longTask = int64(4 * time.Microsecond)
)

func (h *PlainHost) sample(began time.Time) time.Duration {
	took := max(1, time.Since(began))
	old := h.took.Load()
	h.took.Store(old + (int64(took)-old)/4) // of slots that come together one is as good as the other
	return took
}

func (t *plainHosted[A, R]) returned(r *pool.Runner, v R, err error, took time.Duration) {
	c := t.cell()
	m := t.rest.Load()
	if m != nil {
		m.first.returned(r)
	}
	t.forget()
	switch {
	case c.Settled():
		t.host.Sink.None(&t.HostedPlain)
	case err != nil:
		t.failed(err)
	default:
		if r.Scratch, err = codec.Append(r.Scratch[:0], &v); err != nil {
			t.failed(fmt.Errorf("%w: the result of %s: %w", ErrNotEncodable, t.function().name(), err))
			break
		}
		if limit := t.host.base.cfg.MaxValueBytes; int64(len(r.Scratch)) > limit {
			t.failed(fmt.Errorf("%w: the result of %s has %d bytes encoded, and MaxValueBytes is %d; make it smaller, or the limit larger",
				ErrTooLarge, t.function().name(), len(r.Scratch), limit))
			break
		}
		if len(r.Scratch) > keepScratch {
			c.Set(v) // it may stay here
		}
		if won, fire := c.Finish(); !won {
			t.host.Sink.None(&t.HostedPlain)
			break
		} else if fire {
			c.Fire()
		}
		t.host.Sink.Value((*Call)(&c.Core), &t.HostedPlain, r.Scratch, took)
		if len(r.Scratch) > keepScratch {
			r.Scratch = nil
		}
	}
	if m == nil { // a goroutine that the function left behind may have used its ctx since
		if m = t.rest.Load(); m != nil {
			m.first.returned(r)
		}
	}
}

const keepScratch = 16 << 10

func (t *plainHosted[A, R]) failed(err error) {
	var permanent *permanentError
	last := errors.As(err, &permanent)
	if !fail(t.task.core(), err) {
		t.host.Sink.None(&t.HostedPlain)
		return
	}
	t.host.Sink.Failed(&t.HostedPlain, plainError(err), last)
}

func (t *plainHosted[A, R]) broke(r *pool.Runner, recovered any, stack []byte) {
	var zero R
	t.returned(r, zero, panicError(recovered, stack), 0)
}

// Settling has nothing to count: that is the client's to do.
func (t *plainHosted[A, R]) Settling(cell.State, cell.State) {}

// Cancelled ends the ctx of the function, or reports a call that will never start.
func (t *plainHosted[A, R]) Cancelled(from cell.State, cause error, w *cell.Wave) {
	if from == cell.Running {
		t.more().first.end(cause, w)
		return
	}
	t.host.pool.Bury(1)
	t.host.Sink.None(&t.HostedPlain)
}

// Released is never told.
func (t *plainHosted[A, R]) Released() {}

// giveWay lets those run who read and write, if none has had a chance for a while: a slot that
// always has a next call never blocks, and there may be no other processor.
func (h *PlainHost) giveWay(now time.Time) {
	if n := now.UnixNano(); n-h.gave.Load() > int64(giveWayAfter) {
		h.gave.Store(n)
		runtime.Gosched()
	}
}

const giveWayAfter = 100 * time.Microsecond
