package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/wire"
)

// Values that stay at workers, as the client has them.

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
