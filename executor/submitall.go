package executor

import (
	"context"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// SubmitAll is Submit for each of args: a future an item, in the order of args. The
// futures share one allocation, which lasts as long as any of them; far, what stays on
// a worker does not.
func SubmitAll[A, R any](ctx context.Context, ex Executor, fn func(context.Context, A) (R, error), args []A, opts ...Option) []*futures.Future[R] {
	if fn == nil {
		panic("executor: SubmitAll of a nil function")
	}
	fs := make([]*futures.Future[R], len(args))
	if len(args) == 0 {
		return fs
	}
	b := ex.Backend().Base()
	if b.remote { // what stays on a worker hangs on a future of its own
		for i := range args {
			fs[i] = Submit(ctx, ex, fn, args[i], opts...)
		}
		return fs
	}
	slab := &slab[A, R]{tasks: make([]task[A, R], len(args))}
	scope := b.scopeOf(ctx, ex)
	for i := range slab.tasks {
		t := &slab.tasks[i]
		t.fn, t.arg = fn, args[i]
		c := t.core()
		c.Owner, c.Scope = t, scope
		fs[i] = &t.Future
	}
	host, ok := b.backend.(spanHost)
	if ok && len(opts) == 0 && b.plain(reflect.TypeFor[A]()) && !b.closed.Load() {
		slab.span = host.newSpan(slab, len(args), 0)
		if host.pushSpan(slab.span, 0, len(args)) {
			return fs
		}
	}
	for i := range slab.tasks {
		t := &slab.tasks[i]
		if len(opts) == 0 && b.plain(reflect.TypeFor[A]()) {
			b.enqueue(t.core())
		} else {
			fs[i] = launch(ctx, t, t, "SubmitAll", opts, references(b, &t.arg))
		}
	}
	return fs
}

// A slab is the tasks of a SubmitAll without special needs, as the body of a span:
// slots claim runs of them, and the queue has one entry for all.
type slab[A, R any] struct {
	tasks []task[A, R]
	span  *pool.Span
}

// Do runs tasks lo to hi-1.
func (s *slab[A, R]) Do(r *pool.Runner, lo, hi int) int {
	signal := r.Signal()
	for i := lo; i < hi; i++ {
		r.At = i
		s.tasks[i].Run(r)
		if signal.Load() != 0 || r.Homeless() {
			return i + 1
		}
	}
	return hi
}

func (s *slab[A, R]) Ran(*pool.Runner, int, int) {}
func (s *slab[A, R]) Left(*pool.Runner)          {}
func (s *slab[A, R]) Drained()                   {}

// Broke ends the task that did.
func (s *slab[A, R]) Broke(r *pool.Runner, at int, recovered any, stack []byte) {
	s.tasks[at].broke(r, recovered, stack)
}

// Item is task i, for who asks which one lent its slot.
func (s *slab[A, R]) Item(i int) pool.Task { return (*Call)(s.tasks[i].core()) }

// cancel is Close's.
func (s *slab[A, R]) cancel(cause error) {
	for i := range s.tasks {
		cancelWith(s.tasks[i].core(), cause)
	}
}

// each visits the tasks.
func (s *slab[A, R]) each(visit func(*cell.Core)) {
	for i := range s.tasks {
		visit(s.tasks[i].core())
	}
}
