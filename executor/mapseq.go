package executor

import (
	"context"
	"iter"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// MapSeq has ex call fn for each item of a stream, and yields the results as the loop
// asks for them: in the order of the input, or, WithUnordered, as they come. It holds
// at most WithInFlight items that it has taken from the input and not yielded, by
// default 16 a slot, and takes one only when there is room, in the loop's own turn: a
// panic of the input reaches the loop.
//
// A failed item yields an *ItemError and ends the stream, unless WithKeepGoing. The end
// of ctx is yielded once, as an error that is ctx.Err() and its cause. When the loop is
// left, however that is, the input is stopped, what has not started is cancelled, the
// ctx of what has is ended, and the loop is left when that has returned.
func MapSeq[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), items iter.Seq[A], opts ...Option) iter.Seq2[R, error] {
	if fn == nil {
		panic("executor: MapSeq of a nil function")
	}
	return func(yield func(R, error) bool) {
		s := &stream[A, R]{ctx: ctx, ex: ex, fn: fn, yield: yield, opts: opts}
		if err := s.open(); err != nil {
			var zero R
			yield(zero, err)
			return
		}
		if q := newRing(s); q != nil {
			q.run(items)
			return
		}
		s.flight = make([]*seqTask[A, R], s.window)
		defer s.close()
		for item := range items {
			if !s.put(item) {
				return
			}
		}
		s.flush()
	}
}

// A stream is one loop over a MapSeq.
type stream[A, R any] struct {
	ctx    context.Context
	ex     Executor
	base   *Base
	fn     func(context.Context, A) (R, error)
	yield  func(R, error) bool
	opts   []Option
	o      *options
	plain  bool
	window int // items in flight
	scope  *cell.Scope

	slab   []seqTask[A, R]  // to be used next
	flight []*seqTask[A, R] // items taken and not yielded: ordered, a ring from head on; unordered, the first n
	head   int
	n      int
	count  int // items taken from the input

	running atomic.Int64 // functions that have not returned
	closing atomic.Bool  // the loop waits for them

	mu    sync.Mutex
	ready []*seqTask[A, R] // unordered: done and not yielded. Guarded by mu
	gate  *cell.Core       // opens at the next that is ready, or, when closing, at the last return. Guarded by mu
}

// A seqTask is one item.
type seqTask[A, R any] struct {
	task[A, R]
	of   *stream[A, R]
	i    int        // of the input
	at   int        // of flight, unordered
	hook *cell.Hook // unordered
}

func (s *stream[A, R]) open() (err error) {
	s.base = s.ex.Backend().Base()
	if s.o, err = gather(s.opts, "MapSeq", forMapSeq); err != nil {
		return err
	}
	s.window = 16 * max(1, s.ex.Slots()) // far, there may be no worker for now
	if s.o.inFlight > 0 {
		s.window = s.o.inFlight
	}
	s.scope = s.base.scopeOf(s.ctx, s.ex)
	s.plain = s.o.given&^(givenInFlight|givenUnordered|givenKeepGoing) == 0 && s.base.plain(reflect.TypeFor[A]())
	return nil
}

// put submits an item and yields what is ready, or must be to make room for another.
// It is false if the loop is over.
func (s *stream[A, R]) put(item A) bool {
	if s.ctx.Err() != nil {
		return s.ended()
	}
	s.submit(item)
	for s.n > 0 {
		t, ok := s.next(s.n == len(s.flight))
		if !ok {
			return s.ended()
		}
		if t == nil {
			return true
		}
		if !s.emit(t) {
			return false
		}
	}
	return true
}

// flush yields the rest.
func (s *stream[A, R]) flush() {
	for s.n > 0 {
		t, ok := s.next(true)
		if !ok {
			s.ended()
			return
		}
		if !s.emit(t) {
			return
		}
	}
}

// ended yields the end of ctx.
func (s *stream[A, R]) ended() bool {
	var zero R
	s.yield(zero, cell.ContextError(s.ctx))
	return false
}

func (s *stream[A, R]) submit(item A) {
	if len(s.slab) == 0 {
		s.slab = make([]seqTask[A, R], min(32, len(s.flight)))
	}
	t := &s.slab[0]
	s.slab = s.slab[1:]
	t.of, t.i, t.fn, t.arg = s, s.count, s.fn, item
	c := t.core()
	c.Owner, c.Scope = t, s.scope
	if !s.plain {
		t.special().opts = s.o
	}
	t.at = (s.head + s.n) % len(s.flight)
	s.flight[t.at] = t
	s.n++
	s.count++
	switch {
	case s.plain:
		s.base.enqueue(c)
	default:
		s.base.submit(s.ctx, t, t.peek(), nil, references(s.base, &t.arg))
	}
	if s.o.has(givenUnordered) { // not before: the end of ctx lets go of the argument, which submit reads
		t.hook = &cell.Hook{Do: t}
		if !c.AddHook(t.hook) {
			t.Fire(nil, nil)
		}
	}
}

// next is the next item to yield: nil if there is none yet and it is not to wait, and
// false if ctx ended the wait.
func (s *stream[A, R]) next(wait bool) (*seqTask[A, R], bool) {
	if s.o.has(givenUnordered) {
		return s.nextReady(wait)
	}
	t := s.flight[s.head]
	if !t.core().Settled() {
		if !wait {
			return nil, true
		}
		if t.core().Wait(s.ctx) != nil {
			return nil, false
		}
	}
	return t, true
}

func (s *stream[A, R]) nextReady(wait bool) (*seqTask[A, R], bool) {
	for {
		s.mu.Lock()
		if len(s.ready) > 0 {
			t := s.ready[0]
			s.ready = s.ready[1:]
			s.mu.Unlock()
			return t, true
		}
		if !wait {
			s.mu.Unlock()
			return nil, true
		}
		gate := new(cell.Core)
		s.gate = gate
		s.mu.Unlock()
		first := s.flight[0].core()
		if first.Settled() {
			first = gate // its hook is about to fire
		}
		if first.WaitEither(s.ctx, gate) != nil {
			return nil, false
		}
	}
}

// Fire makes an item ready, in an unordered stream.
// home says that the results of a MapSeq are wanted here.
func (t *seqTask[A, R]) home() bool { return true }

// sent counts the item among those whose functions may run, elsewhere.
func (t *seqTask[A, R]) sent() { t.of.running.Add(1) }

func (t *seqTask[A, R]) Fire(_ *cell.Hook, w *cell.Wave) {
	s := t.of
	s.mu.Lock()
	s.ready = append(s.ready, t)
	gate := s.gate
	s.gate = nil
	s.mu.Unlock()
	open(gate, w)
}

func open(gate *cell.Core, w *cell.Wave) {
	switch {
	case gate == nil:
	case w != nil:
		gate.Open(w)
	default:
		var own cell.Wave
		gate.Open(&own)
		own.Run()
	}
}

// emit yields an item's outcome. It is false if the loop is over.
func (s *stream[A, R]) emit(t *seqTask[A, R]) bool {
	s.n--
	if s.o.has(givenUnordered) {
		last := s.flight[s.n]
		s.flight[t.at], last.at = last, t.at
		s.flight[s.n] = nil
	} else {
		s.flight[s.head] = nil
		s.head = (s.head + 1) % len(s.flight)
	}
	v, ok := t.cell().Get()
	if ok {
		return s.yield(v, nil)
	}
	if s.ctx.Err() != nil {
		return s.ended()
	}
	return s.yield(v, &futures.ItemError{Index: t.i, Err: t.core().Err()}) && s.o.has(givenKeepGoing)
}

// close cancels what is in flight, and returns when what had started has.
func (s *stream[A, R]) close() {
	for _, t := range s.flight {
		if t != nil {
			cancelWith(t.core(), context.Canceled)
		}
	}
	s.closing.Store(true)
	for s.running.Load() > 0 {
		s.mu.Lock()
		gate := new(cell.Core)
		s.gate = gate
		s.mu.Unlock()
		if s.running.Load() > 0 {
			gate.Wait(context.WithoutCancel(s.ctx))
		}
	}
}

// Run runs the item.
func (t *seqTask[A, R]) Run(slot any) {
	t.of.running.Add(1)
	t.task.Run(slot)
	t.returned()
}

func (t *seqTask[A, R]) broke(r *pool.Runner, recovered any, stack []byte) {
	t.task.broke(r, recovered, stack)
	t.returned()
}

func (t *seqTask[A, R]) returned() {
	s := t.of
	if s.running.Add(-1) > 0 || !s.closing.Load() {
		return
	}
	s.mu.Lock()
	gate := s.gate
	s.gate = nil
	s.mu.Unlock()
	open(gate, nil)
}
