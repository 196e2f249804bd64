package futures

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
)

// A Batch is the results of a Map: many results, few futures. It is a Waiter: its
// state is that of the whole.
//
// By default the first failure cancels what has not started, and the batch Fails
// when what had started has ended. A batch that keeps going runs everything and
// is Finished, whatever its items did; their errors are in the outcomes.
type Batch[R any] struct {
	sheet   cell.Sheet[R]
	once    sync.Once
	futures []*Future[R] // made once
}

// A Plan is what was decided about a batch so far.
type Plan struct {
	Chunks        int           // claims made (far: leases sent)
	ItemsPerChunk int           // on average
	Slice         time.Duration // how long a chunk is meant to run
	ItemCost      time.Duration // of one item, measured; 0 as long as it is not known
	MessageCost   time.Duration // of one chunk, besides its items
	Efficiency    float64       // of the time that slots gave, the part that items ran, from 0 to 1
}

// Results waits for the whole batch and returns its results in the order of the
// input. If an item failed, it returns the error as *ItemError: of the lowest index
// known to have failed. All calls return the same slice.
func (b *Batch[R]) Results(ctx context.Context) ([]R, error) {
	s := &b.sheet
	if err := b.Wait(ctx); err != nil {
		return nil, err
	}
	if i, err := s.Failure(); err != nil {
		return nil, &ItemError{Index: i, Err: err}
	}
	if s.Core.Released() {
		return nil, ErrReleased
	}
	return s.Results(), nil
}

// Outcomes waits for the whole batch and returns a place for every item, in the order
// of the input: its value, its error, or, for what did not run, a *CancelError. err
// is nil unless ctx ended before the batch.
func (b *Batch[R]) Outcomes(ctx context.Context) ([]Outcome[R], error) {
	s := &b.sheet
	if err := s.Core.Wait(ctx); err != nil {
		return nil, err
	}
	out := make([]Outcome[R], s.N)
	values := s.Results()
	missing := b.missing()
	for i := range out {
		out[i].Err = missing
	}
	var c cell.Cursor
	for r, ok := s.Next(&c); ok; r, ok = s.Next(&c) {
		for i := r.Lo; i < r.Hi; i++ {
			out[i] = b.outcome(values, i)
		}
	}
	return out, nil
}

// missing is the error of items that did not run, in a batch that is over.
func (b *Batch[R]) missing() error {
	err := b.sheet.Err()
	if err == nil {
		return nil
	}
	return newCancelError(err)
}

// All yields the results in the order of the input, each as soon as it can be: with
// a nil error, or, at its place, with an *ItemError, where it ends unless the batch
// keeps going. If the batch is over without the item, All yields the batch's error
// and ends; if ctx ends, an error that is ctx.Err() and its cause.
func (b *Batch[R]) All(ctx context.Context) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var zero R
		s := &b.sheet
		i := 0
		for i < s.N {
			if err := s.WaitFront(ctx, i); err != nil {
				yield(zero, err)
				return
			}
			front, failures := s.Front()
			if front <= i { // it is over, and this one did not run
				yield(zero, s.Err())
				return
			}
			values := s.Results()
			for ; i < front; i++ {
				var err error
				if failures {
					err = s.ItemErr(i)
				}
				switch {
				case err != nil:
					if !yield(zero, &ItemError{Index: i, Err: err}) || !s.KeepGoing {
						return
					}
				case values == nil:
					yield(zero, ErrReleased)
					return
				case !yield(values[i], nil):
					return
				}
			}
		}
	}
}

// AsCompleted yields the index and the outcome of each item that runs, as chunks
// finish. It ends when the batch is over and all were yielded, or ctx has ended.
func (b *Batch[R]) AsCompleted(ctx context.Context) iter.Seq2[int, Outcome[R]] {
	return func(yield func(int, Outcome[R]) bool) {
		s := &b.sheet
		var c cell.Cursor
		for {
			r, ok, err := s.WaitNext(ctx, &c)
			if err != nil || !ok {
				return
			}
			values := s.Results()
			for i := r.Lo; i < r.Hi; i++ {
				if !yield(i, b.outcome(values, i)) {
					return
				}
			}
		}
	}
}

// outcome is the outcome of item i, which has run.
func (b *Batch[R]) outcome(values []R, i int) (o Outcome[R]) {
	if err := b.sheet.ItemErr(i); err != nil {
		o.Err = err
	} else if values == nil {
		o.Err = ErrReleased
	} else {
		o.Value = values[i]
	}
	return o
}

// Future makes a future of all results in the order of the input: a reference, which
// moves nothing. Cancelling it does not cancel the batch.
func (b *Batch[R]) Future() *Future[[]R] {
	f := &whole[R]{of: b, kept: b.sheet.Keep()}
	f.cell.Owner = f
	f.hook.Do = f
	if !b.sheet.AddHook(&f.hook) {
		var w cell.Wave
		f.Fire(nil, &w)
		w.Run()
	}
	return &f.Future
}

// whole is the future of a batch as one value.
type whole[R any] struct {
	Future[[]R]
	reference
	of   *Batch[R]
	kept bool // the results, until this is resolved
	hook cell.Hook
}

func (f *whole[R]) Fire(_ *cell.Hook, w *cell.Wave) {
	s := &f.of.sheet
	if err := s.Err(); err != nil {
		inherit(&f.cell.Core, &s.Core, err, w)
	} else if i, err := s.Failure(); err != nil {
		f.cell.Fail(&ItemError{Index: i, Err: err}, w)
	} else if !f.kept {
		f.cell.Fail(ErrReleased, w)
	} else {
		f.cell.OpenWith(s.Kept(), w)
	}
	f.drop()
}

// drop lets go of the batch.
func (f *whole[R]) drop() {
	if f.kept {
		f.of.sheet.Unkeep()
	}
	f.of = nil
}

func (f *whole[R]) Key() string { return "" }
func (f *whole[R]) Why() string { return "for its batch" }

func (f *whole[R]) Cancelled(cell.State, error, *cell.Wave) {
	if f.hook.RemoveHook() {
		f.drop()
	}
}

// Futures are one future an item, made at the first call. Cancelling one does not
// stop its item.
func (b *Batch[R]) Futures() []*Future[R] {
	b.once.Do(b.makeFutures)
	return b.futures
}

func (b *Batch[R]) makeFutures() {
	s := &b.sheet
	slab := make([]Future[R], s.N)
	fs := make([]*Future[R], s.N)
	for i := range slab {
		fs[i] = &slab[i]
	}
	b.futures = fs
	kept := s.Keep()
	s.Each(func(lo, hi int) {
		values := s.Results()
		if kept {
			values = s.Kept()
		}
		for i := lo; i < hi; i++ {
			o := b.outcome(values, i)
			fs[i].resolve(o.Value, o.Err)
		}
	})
	onDone := &rest[R]{of: b, fs: fs, kept: kept}
	onDone.Do = onDone
	if !s.AddHook(&onDone.Hook) {
		var w cell.Wave
		onDone.Fire(nil, &w)
		w.Run()
	}
}

// rest ends the futures of items that did not run.
type rest[R any] struct {
	cell.Hook
	of   *Batch[R]
	fs   []*Future[R]
	kept bool
}

func (r *rest[R]) Fire(_ *cell.Hook, w *cell.Wave) {
	if err := r.of.missing(); err != nil {
		for _, f := range r.fs {
			f.cell.Cancel(err, err, w)
		}
	}
	if r.kept {
		r.of.sheet.Unkeep()
	}
}

// Len is the number of items.
func (b *Batch[R]) Len() int { return b.sheet.N }

// Progress is how many items have run, and how many there are.
func (b *Batch[R]) Progress() (done, total int) { return b.sheet.Progress(), b.sheet.N }

// Plan is what was decided about the batch so far.
func (b *Batch[R]) Plan() Plan {
	if b.sheet.Plan == nil {
		return Plan{}
	}
	return Plan(b.sheet.Plan())
}

// Wait waits for the whole batch, and returns its error. It moves no data.
func (b *Batch[R]) Wait(ctx context.Context) error {
	if err := b.sheet.Core.Wait(ctx); err != nil {
		return err
	}
	return b.sheet.Err()
}

// Done returns a channel that is closed when the batch is over.
func (b *Batch[R]) Done() <-chan struct{} { return b.sheet.Core.Done() }

// State is that of the whole batch.
func (b *Batch[R]) State() State { return State(b.sheet.State()) }

// Err is at once: the batch's error if it Failed or was Cancelled, else nil.
func (b *Batch[R]) Err() error { return b.sheet.Err() }

// Cancel cancels what has not run, as Future.Cancel does for one task.
func (b *Batch[R]) Cancel(cause error) bool { return cancel(&b.sheet.Core, cause) }

// OnDone has fn called when the batch is over, as Future.OnDone does.
func (b *Batch[R]) OnDone(fn func(*Batch[R])) (stop func() bool) {
	return onDone(&b.sheet.Core, func() { fn(b) })
}

// Key is "": a batch has none.
func (b *Batch[R]) Key() string { return "" }

// Release drops the results, wherever they are, or will when they come.
func (b *Batch[R]) Release() { b.sheet.Release() }

// String says how the batch stands.
func (b *Batch[R]) String() string { return describe(&b.sheet.Core) }

func (b *Batch[R]) core() *cell.Core { return &b.sheet.Core }
