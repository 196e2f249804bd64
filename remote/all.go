package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/wire"
)

// CallAll calls a function in each worker process at once.
func (ex *Executor) CallAll(ctx context.Context, function string, arg []byte) (map[string]executor.Called, error) {
	return ex.callAll(ctx, function, arg, nil)
}

// callAll is CallAll, by a task of a worker if that is not nil.
func (ex *Executor) callAll(ctx context.Context, function string, arg []byte, by *worker) (map[string]executor.Called, error) {
	ex.mu.Lock()
	workers := append([]*worker(nil), ex.workers...)
	closed := ex.closed
	ex.busy++
	for _, w := range workers {
		if w != by { // else it is what that task does
			w.calls++
		}
	}
	ex.mu.Unlock()
	defer ex.rest()
	switch {
	case closed:
		return nil, executor.ErrClosed
	case len(workers) == 0:
		return nil, ErrNoWorkers
	}
	all := make(map[string]executor.Called, len(workers))
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, w := range workers {
		calls.Go(func() { // ends with the call, or ctx
			// What was sent before it comes before it, though calls have a connection of their own.
			mark := ex.marks.Add(1)
			w.wire.Send(frameMark, binary.AppendUvarint(nil, mark), nil)
			head, data, err := w.wire.Call(ctx, appendString(binary.AppendUvarint([]byte{callRun}, mark), function), arg)
			var theirs *wire.CallError
			if err != nil && ctx.Err() == nil && !errors.As(err, &theirs) {
				_ = w.settle(ctx, err) // that it was under way counts when the worker is lost
			}
			if w != by {
				ex.mu.Lock()
				w.calls--
				ex.mu.Unlock()
			}
			switch {
			case ctx.Err() != nil && err != nil:
				err = cell.ContextError(ctx)
			case err != nil:
				err = fmt.Errorf("%w: %s: %w", ErrWorkerLost, w.name, err)
			case len(head) == 1 && head[0] == 1:
				data, err = nil, executor.UnpackError(data, w.name)
			}
			mu.Lock()
			defer mu.Unlock()
			all[w.name] = executor.Called{Data: data, Err: err}
		})
	}
	calls.Wait()
	return all, nil
}

// rest ends a busy.
func (ex *Executor) rest() {
	ex.mu.Lock()
	ex.busy--
	ex.mu.Unlock()
	ex.base.Changed()
}
