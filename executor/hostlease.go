package executor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/pool"
)

// A HostedLease is a lease that a Host runs.
type HostedLease struct{ w hostedLeaser }

type hostedLeaser interface {
	pool.Task
	begin(h *Host, id int64, r *Request, keepGoing bool, slice time.Duration, done func(LeaseOutcome))
	cancel(cause error)
	stop()
	begun() bool
	withdraw() bool
}

// A LeaseOutcome is what became of a lease: its first Ran items have run.
type LeaseOutcome struct {
	Ran    int
	Data   []byte   // their results, encoded as one slice
	Refs   []Source // the values of the futures in them
	Failed []ItemFailure
	Err    error // why none could run: of the arguments
	Took   time.Duration
}

// StartLease queues a lease, which ends at the first item boundary after it has run for
// slice, if that is not 0. id is what the relay is told of it, r.ID the lot's. The memory of
// r.Arg.Data is the lease's, and may become that of the outcome's Data.
func (h *Host) StartLease(id int64, r *Request, keepGoing bool, slice time.Duration, done func(LeaseOutcome)) (*HostedLease, error) {
	functions.Lock()
	f := functions.byName[r.Function]
	functions.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: %s, on this worker", ErrNotRegistered, r.Function)
	}
	w := f.lease()
	w.begin(h, id, r, keepGoing, slice, done)
	if !h.pool.Push(w, r.Priority, 0) {
		return nil, ErrClosed
	}
	return &HostedLease{w: w}, nil
}

// Stop has the lease end at the next item boundary, and not start if it has not.
func (l *HostedLease) Stop() { l.w.stop() }

// Cancel ends the ctx of the item that runs as well.
func (l *HostedLease) Cancel(cause error) { l.w.cancel(cause) }

// Withdraw takes the lease back if it has not begun, and reports whether it did.
func (l *HostedLease) Withdraw() bool { return l.w.withdraw() }

// Running reports whether it has begun.
func (l *HostedLease) Running() bool { return l.w.begun() }

// A hostedLease runs items one by one.
type hostedLease[A, R any] struct {
	crew
	inner     cell.Core
	id        int64
	fn        func(context.Context, A) (R, error)
	request   *Request
	keepGoing bool
	slice     time.Duration
	done      func(LeaseOutcome)
	halt      atomic.Bool
	state     atomic.Int32 // lease*
	rooms     *sync.Pool   // of *leaseRoom[A, R]
	room      *leaseRoom[A, R]
	items     []A // in room, as out is
	out       []R
	data      []byte // the arguments' encoding, to be overwritten
	at        int
	failed    []ItemFailure
	began     time.Time
}

// lookAfter is what items last, about, between two looks at the clock: a look costs 50 ns.
const lookAfter = 10 * time.Microsecond

const (
	leaseQueued = iota
	leaseBegun
	leaseGone
)

func (l *hostedLease[A, R]) begin(h *Host, id int64, r *Request, keepGoing bool, slice time.Duration, done func(LeaseOutcome)) {
	l.id, l.core, l.base = id, &l.inner, &h.base
	l.inner.Owner, l.inner.Scope = leaseOwner{&l.crew, id}, &h.scope.Scope
	l.request, l.keepGoing, l.slice, l.done = r, keepGoing, slice, done
	l.more = newMore(l.core, functionOf(l.fn))
	l.more.opts = &options{name: r.Name, priority: r.Priority}
	l.more.id.Store(r.ID)
	l.more.attempt.Store(int32(r.Attempt))
	l.at = -1
}

func (l *hostedLease[A, R]) stop()       { l.halt.Store(true); l.withdraw() }
func (l *hostedLease[A, R]) begun() bool { return l.state.Load() == leaseBegun }

func (l *hostedLease[A, R]) withdraw() bool {
	if !l.state.CompareAndSwap(leaseQueued, leaseGone) {
		return false
	}
	l.base.backend.(hostBackend).pool.Bury(1)
	l.done(LeaseOutcome{})
	return true
}

// cancel ends the ctx of the item that runs, and the lease.
func (l *hostedLease[A, R]) cancel(cause error) {
	l.stop()
	var w cell.Wave
	l.core.Cancel(cell.CancelError(cause), cause, &w)
	w.Run()
}

// Dead reports whether the lease need not be run.
func (l *hostedLease[A, R]) Dead() bool { return l.state.Load() != leaseQueued }

// Run runs items until the slice is over, or the slot is wanted.
func (l *hostedLease[A, R]) Run(r *pool.Runner) {
	if !l.state.CompareAndSwap(leaseQueued, leaseBegun) {
		return
	}
	l.began = time.Now()
	a := l.join(r)
	if err := l.arrive(a); err != nil {
		l.part(r, a)
		l.state.Store(leaseGone)
		l.done(LeaseOutcome{Err: err, Took: time.Since(l.began)})
		return
	}
	l.began = time.Now()
	if l.slice > 0 {
		// The look at the clock below is exact while items cost what they did. This is for
		// the long item behind many short ones.
		late := time.AfterFunc(l.slice, func() { l.halt.Store(true) })
		defer late.Stop()
	}
	signal := r.Signal()
	every, next := 1, 1 // items between looks at the clock
	var looked time.Duration
	for i := range l.items {
		l.at = i
		v, err := l.fn(a, l.items[i])
		if err == nil {
			l.out[i] = v
		} else if l.fails(i, err) {
			break
		}
		if a.used.Load() != 0 {
			if a = l.renew(r, a); a == nil {
				break
			}
		}
		if l.halt.Load() || signal.Load() != 0 && r.Wanted() {
			break
		}
		if i+1 == next && l.slice > 0 {
			d := time.Since(l.began)
			if d >= l.slice {
				break
			}
			switch since := d - looked; {
			case since < lookAfter:
				every *= 2
			case since > 4*lookAfter:
				every = max(1, every/4)
			}
			looked = d
			next += every
		}
	}
	l.finish(r)
}

// arrive decodes the arguments.
func (l *hostedLease[A, R]) arrive(ctx context.Context) error {
	r := l.request
	l.request = nil
	l.room, _ = l.rooms.Get().(*leaseRoom[A, R])
	if l.room == nil {
		l.room = new(leaseRoom[A, R])
	}
	var err error
	if l.items, err = decodeSliceWith(l.base, r.Arg.Data, l.room.items, r.Refs); err != nil {
		return err
	}
	l.room.items = l.items
	if n := len(l.items); cap(l.room.out) < n {
		l.room.out = make([]R, n)
	} else {
		l.room.out = l.room.out[:n]
	}
	l.out = l.room.out
	if len(r.Refs) == 0 {
		l.data = r.Arg.Data[:0]
	}
	return nil
}

// fails records a failure. It is true if nothing more is to start.
func (l *hostedLease[A, R]) fails(i int, err error) (stop bool) {
	l.failed = append(l.failed, ItemFailure{i, plainError(err)})
	return !l.keepGoing
}

// finish reports what has run.
func (l *hostedLease[A, R]) finish(r *pool.Runner) {
	l.Left(r)
	l.state.Store(leaseGone)
	o := LeaseOutcome{Ran: l.at + 1, Failed: l.failed}
	done := l.out[:o.Ran]
	var err error
	if o.Data, err = codec.Append(l.data, &done); err == nil && int64(len(o.Data)) > l.base.cfg.MaxValueBytes {
		err = fmt.Errorf("%w: the results of %d items have %d bytes encoded, and MaxValueBytes is %d", ErrTooLarge, o.Ran, len(o.Data), l.base.cfg.MaxValueBytes)
	}
	if err != nil {
		l.oneByOne(&o)
	}
	for _, ref := range references(l.base, &done) {
		o.Refs = append(o.Refs, futureSource(l.base, ref))
	}
	o.Took = time.Since(l.began)
	l.leave()
	l.done(o)
}

// A leaseRoom is the memory of arguments and results, for one lease after the other.
type leaseRoom[A, R any] struct {
	items []A
	out   []R
}

// leave gives the lease's memory to the next one.
func (l *hostedLease[A, R]) leave() {
	clear(l.items) // it may hold on to much
	clear(l.out)
	l.rooms.Put(l.room)
	l.items, l.out, l.room, l.data = nil, nil, nil, nil
}

// oneByOne finds the results that cannot be encoded, which are failures of their items.
func (l *hostedLease[A, R]) oneByOne(o *LeaseOutcome) {
	var total int64
	for i := range o.Ran {
		data, err := encode(l.base, "result", l.more.fn, &l.out[i])
		if total += int64(len(data)); err == nil && total > l.base.cfg.MaxValueBytes {
			err = fmt.Errorf("%w: the results of a lease have more than MaxValueBytes, %d; use smaller chunks", ErrTooLarge, l.base.cfg.MaxValueBytes)
		}
		if err != nil && !slices.ContainsFunc(o.Failed, func(f ItemFailure) bool { return f.At == i }) {
			var zero R
			l.out[i] = zero
			o.Failed = append(o.Failed, ItemFailure{i, err})
		}
	}
	done := l.out[:o.Ran]
	o.Data, o.Err = codec.Append(nil, &done)
}

// Broke records an item that panicked or left by Goexit, and ends the lease with it.
func (l *hostedLease[A, R]) Broke(r *pool.Runner, recovered any, stack []byte) {
	if l.at >= 0 {
		l.fails(l.at, panicError(recovered, stack))
	}
	l.finish(r)
}

// leaseOwner is the owner of a lease's core.
type leaseOwner struct {
	*crew
	id int64
}

func (l leaseOwner) Run(any)                         {}
func (l leaseOwner) Settling(cell.State, cell.State) {}
func (l leaseOwner) Key() string                     { return "" }
func (l leaseOwner) Why() string                     { return "" }
func (l leaseOwner) Released()                       {}
func (l leaseOwner) needs(*cell.Core) bool           { return false }
func (l leaseOwner) number() int64                   { return l.id }

// Cancelled ends the ctx of the item that runs.
func (l leaseOwner) Cancelled(_ cell.State, cause error, w *cell.Wave) { l.end(cause, w) }
