package executor

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// A plain call needs nothing but to be sent, run, and its value brought back: it was
// submitted without options, its argument is small, and no futures are in it or in its
// result. That is what the short tasks are, of which there are many, so a backend may
// take such calls by a way of their own, that makes nothing for them: the task's memory
// has what must be known. Whatever happens to it beside that turns it into a call like
// any other, by Promote.

// A Plainer is a backend that takes plain calls by a way of their own.
type Plainer interface {
	// EnqueuePlain is Enqueue of a plain call of the function that is registered by that name.
	EnqueuePlain(c *Call, function string)
	// PlainEnded is told that a ctx has ended, under which plain calls were
	// submitted that are not through: it has Call.Under find them, and Call.End end them.
	PlainEnded(ctx *Ctx)
}

// A Seat is where the backend has a plain call: its own to use, guarded by a lock of its own,
// but for ID.
type Seat struct {
	ID     int64 // of the task
	Worker int32
	Place  uint32
}

const maxPlain = 8 << 10 // bytes of an argument, encoded

// A plainTask is a task whose call is plain. Its argument holds no pointers, so that it can
// be encoded when it is sent, as it was when it was submitted.
type plainTask[A, R any] struct {
	task[A, R]
	seat Seat
	left atomic.Bool // it does not count in its scope any more

	unwatched bool // its ctx had ended before it was promoted
}

// A packedTask is one whose argument was encoded when it was submitted.
type packedTask[A, R any] struct {
	plainTask[A, R]
	data []byte
}

type plainWork interface {
	work
	at() *Seat
	promote() bool
	append(b []byte) []byte
	deliverPlain(data []byte)
}

// A route is how the calls of a function travel.
type route struct {
	id    funcID
	fn    *function
	plain bool // if they are small enough
	pack  bool // the argument is encoded at once
}

// routeOf is the route of fn's calls.
func routeOf[A, R any](b *Base, fn func(context.Context, A) (R, error)) *route {
	id := funcID{codeOf(fn), reflect.TypeFor[A](), reflect.TypeFor[R]()}
	if r := b.route.Load(); r != nil && r.id == id {
		return r
	}
	f := functionOf(fn)
	arg, result := codec.TypeFor[A](), codec.TypeFor[R]()
	r := &route{id: id, fn: f}
	r.plain = canTravel[A, R](f) == nil && !arg.HasReferences() && !result.HasReferences()
	if n, fixed := arg.Fixed(); r.plain && (!fixed || n > maxPlain) {
		r.pack = true
	}
	b.route.Store(r)
	return r
}

// submitPlain submits a call if it is plain; else the future is nil.
func submitPlain[A, R any](ctx context.Context, ex Executor, b *Base, fn func(context.Context, A) (R, error), arg A) *futures.Future[R] {
	r := routeOf(b, fn)
	if !r.plain {
		return nil
	}
	if !r.pack {
		t := &plainTask[A, R]{}
		t.fn, t.arg = fn, arg
		t.enter(ctx, ex, b, t, r)
		return &t.Future
	}
	data, err := codec.Append(nil, &arg)
	if err != nil || len(data) > maxPlain {
		return nil // which is told, or sent, by the other way
	}
	t := &packedTask[A, R]{data: data}
	t.fn = fn
	t.enter(ctx, ex, b, t, r)
	return &t.Future
}

func (t *plainTask[A, R]) enter(ctx context.Context, ex Executor, b *Base, owner plainWork, r *route) {
	c := t.core()
	c.Owner, c.Scope = owner, b.scopeOf(ctx, ex)
	t.seat.ID = b.ids.Add(1)
	b.submitted.Add(1)
	switch {
	case !hostOf(c.Scope).enterPlain():
		t.left.Store(true)
		c.Ended()
	case b.closed.Load():
		fail(c, ErrClosed)
		t.leave()
	default:
		b.plainer.EnqueuePlain((*Call)(c), r.fn.registered)
		c.Ended() // it may have, before the backend had the call
	}
}

func (t *plainTask[A, R]) at() *Seat { return &t.seat }

func (t *plainTask[A, R]) append(b []byte) []byte {
	b, _ = codec.Append(b, &t.arg) // of a type that has no values that cannot be
	return b
}

func (t *packedTask[A, R]) append(b []byte) []byte { return append(b, t.data...) }

func (t *packedTask[A, R]) forget() { t.data = nil }

func (t *packedTask[A, R]) sources(*more) (Source, []Source, error) {
	return Source{Data: t.data}, nil, nil
}

func (t *plainTask[A, R]) sources(*more) (Source, []Source, error) {
	return Source{Data: t.append(nil)}, nil, nil
}

// more makes of it what other tasks are from the start: one that is watched by itself.
func (t *plainTask[A, R]) more() *more {
	if m := t.rest.Load(); m != nil {
		return m
	}
	c := t.core()
	m := newMore(c, t.function())
	m.id.Store(t.seat.ID)
	m.special = true
	m.watch.On = m
	watched := c.Scope.Watch(&m.watch)
	if !t.rest.CompareAndSwap(nil, m) {
		m.watch.Stop()
		return t.rest.Load()
	}
	t.unwatched = !watched
	t.leave()
	if c.Over() { // others settled it while m could not be seen
		m.settled()
	}
	return m
}

func (t *plainTask[A, R]) promote() bool {
	t.more()
	return !t.unwatched
}

// Cancelled ends what waits for it, and tells the backend.
func (t *plainTask[A, R]) Cancelled(from cell.State, cause error, w *cell.Wave) {
	t.task.Cancelled(from, cause, w)
	t.leave()
}

// leave has the scope count one less.
func (t *plainTask[A, R]) leave() {
	if !t.core().Scope.Endless() && t.left.CompareAndSwap(false, true) {
		hostOf(t.core().Scope).leavePlain()
	}
}

func (t *plainTask[A, R]) deliverPlain(data []byte) {
	c := t.cell()
	b := hostOf(c.Scope).base
	t.leave()
	if c.Ended() || c.Over() {
		return
	}
	if err := codec.Decode(data, c.At()); err != nil {
		fail(&c.Core, fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, *c.At(), err))
		return
	}
	b.finished.Add(1) // before anybody can see that it has
	won, fire := c.FinishPending()
	if !won {
		b.finished.Add(-1)
		return
	}
	if fire {
		c.Fire()
	}
	c.Finished()
}

func (t *packedTask[A, R]) deliverPlain(data []byte) {
	t.data = nil // the backend has no more use for it
	t.plainTask.deliverPlain(data)
}

// IsPlain reports whether the call was enqueued by EnqueuePlain.
func (c *Call) IsPlain() bool { _, ok := c.Owner.(plainWork); return ok }

// Seat is that of a plain call.
func (c *Call) Seat() *Seat { return c.Owner.(plainWork).at() }

// AppendArgument appends the argument of a plain call, encoded.
func (c *Call) AppendArgument(b []byte) []byte { return c.Owner.(plainWork).append(b) }

// Promote makes a plain call one that has a Request, and can have a Tag. It may be called with
// locks held; if it is false, End is to be called without. One goroutine at a time may.
func (c *Call) Promote() bool { return c.Owner.(plainWork).promote() }

// DeliverPlain ends a plain call that was not promoted with its value, encoded.
func (c *Call) DeliverPlain(data []byte) { c.Owner.(plainWork).deliverPlain(data) }

// Under reports whether the call was submitted under ctx.
func (c *Call) Under(ctx *Ctx) bool { return c.Scope == ctx.scope }

// End ends the call if its ctx has ended.
func (c *Call) End() { c.core().Ended() }

// Doomed reports whether the call's ctx has ended, and changes nothing: it may be asked with
// locks held.
func (c *Call) Doomed() bool { return c.Scope.Err() != nil }

// A Ctx is one that calls were submitted under.
type Ctx struct{ scope *cell.Scope }

// plainCount counts the plain calls under a ctx that can end, so that the backend is told:
// one watch for all of them, as long as there are any.
type plainCount struct {
	mu    sync.Mutex
	n     int        // guarded by mu
	watch cell.Watch // listed while n > 0. Guarded by mu
}

// enterPlain is false if the ctx has ended.
func (s *scope) enterPlain() bool {
	if s.Endless() {
		return true
	}
	p := s.plain.Load()
	if p == nil {
		p = &plainCount{}
		p.watch.On = plainWatch{}
		if !s.plain.CompareAndSwap(nil, p) {
			p = s.plain.Load()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 && !s.Watch(&p.watch) {
		return false
	}
	p.n++
	return true
}

func (s *scope) leavePlain() {
	if s.Endless() {
		return
	}
	p := s.plain.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n--; p.n == 0 {
		p.watch.Stop()
	}
}

type plainWatch struct{}

// ScopeEnded has the backend end the calls.
func (plainWatch) ScopeEnded(s *cell.Scope, _ *cell.Wave) {
	hostOf(s).base.plainer.PlainEnded(&Ctx{s})
}
