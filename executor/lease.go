package executor

import (
	"fmt"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/codec"
)

// A Lot is the items of a Map, as a backend sees them that leases runs of them to other
// processes. Its methods may be called by many goroutines, with runs that do not overlap.
type Lot struct {
	job lotJob
	// Tag is the backend's own.
	Tag any
}

type lotJob interface {
	lot() *crew
	size() (n, chunk int)
	encode(dst []byte, lo, hi int) ([]byte, []Source, error)
	results(worker string, lo, hi int, data []byte, refs []Source, failed []ItemFailure)
	failOne(i int, err error)
	over()
}

// A Leaser is a backend that runs the items of a Map in leases.
type Leaser interface {
	// Lease takes the items of a lot. When none is left and none runs, it calls
	// Drained.
	Lease(l *Lot)
	// Stop is told that no more items of the lot are to start: what has not begun
	// is dropped. If cause is not nil, the lot was cancelled, and the contexts of
	// items that run end.
	Stop(l *Lot, cause error)
	// Plan is Batch.Plan.
	Plan(l *Lot) futures.Plan
}

// An ItemFailure is an item of a lease that has failed, counted from the lease's first.
type ItemFailure struct {
	At  int
	Err error
}

// Len is how many items there are.
func (l *Lot) Len() int {
	n, _ := l.job.size()
	return n
}

// ChunkSize is that of WithChunkSize, or 0.
func (l *Lot) ChunkSize() int {
	_, chunk := l.job.size()
	return chunk
}

// Request describes the lot, but for its argument.
func (l *Lot) Request() *Request {
	m := l.job.lot().more
	m.ID()
	return &Request{
		ID: m.id.Load(), Function: m.fn.registered, Name: m.opts.name, Attempt: 1, Priority: m.opts.priority,
		Workers: m.opts.workers, Once: m.opts.has(givenAtMostOnce),
	}
}

// KeepGoing reports whether failures stop nothing.
func (l *Lot) KeepGoing() bool { return l.job.lot().more.opts.has(givenKeepGoing) }

// Encode appends items lo to hi-1 to dst, encoded as one slice, and gives the values of the
// futures in them.
func (l *Lot) Encode(dst []byte, lo, hi int) ([]byte, []Source, error) {
	return l.job.encode(dst, lo, hi)
}

// Begin is told that items run.
func (l *Lot) Begin(worker string) {
	c := l.job.lot()
	if c.core.Start(0) {
		c.base.tell(eventStarted, c.event(0))
	}
}

// Deliver records the results of items lo to hi-1, encoded as one slice. Unless there are
// refs, data may be used again afterwards.
func (l *Lot) Deliver(worker string, lo, hi int, data []byte, refs []Source, failed []ItemFailure) {
	l.Begin(worker)
	l.job.results(worker, lo, hi, data, refs, failed)
}

// FailItem ends an item that could not be run.
func (l *Lot) FailItem(i int, err error) { l.job.failOne(i, err) }

// Drained ends the batch.
func (l *Lot) Drained() { l.job.over() }

// Over reports whether the batch has its outcome.
func (l *Lot) Over() bool { return l.job.lot().core.Settled() }

// Cancel cancels the batch for a reason of the backend's.
func (l *Lot) Cancel(cause error) { cancelWith(l.job.lot().core, cause) }

// Fail ends the batch with an error.
func (l *Lot) Fail(err error) {
	c := l.job.lot()
	if fail(c.core, err) {
		c.more.settled()
	}
}

func (j *mapJob[A, R]) lot() *crew           { return &j.crew }
func (j *mapJob[A, R]) size() (n, chunk int) { return j.sheet.N, j.more.opts.chunk }

func (j *mapJob[A, R]) encode(dst []byte, lo, hi int) ([]byte, []Source, error) {
	run := j.items[lo:hi]
	data, err := codec.Append(dst, &run)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the arguments of %s: %w", ErrNotEncodable, j.more.fn.name(), err)
	}
	refs, err := sourcesOf(j.more, references(j.base, &run))
	return data, refs, err
}

func (j *mapJob[A, R]) results(worker string, lo, hi int, data []byte, refs []Source, failed []ItemFailure) {
	if hi > lo {
		var room []R
		if !j.core.Settled() {
			room = j.out[lo:hi:hi] // which nobody reads before it is reported
		}
		run, err := decodeSliceWith(j.base, data, room, refs)
		if err == nil && len(run) != hi-lo {
			clear(room)
			err = fmt.Errorf("%w: %d results came for %d items", ErrNotEncodable, len(run), hi-lo)
		}
		if err != nil {
			failed = nil
			for i := range hi - lo {
				failed = append(failed, ItemFailure{i, err})
			}
		}
	}
	for _, f := range failed {
		j.itemFailed(lo+f.At, f.Err)
	}
	j.report(nil, lo, hi)
	if j.base.cfg.Observer != nil {
		e := j.event(hi - lo)
		e.Worker = worker
		j.base.tell(eventFinished, e)
	}
}

func (j *mapJob[A, R]) failOne(i int, err error) {
	j.core.Start(0)
	j.itemFailed(i, err)
	j.report(nil, i, i+1)
}
