package remote

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/cell"
)

// Shutdown refuses new tasks, waits for the rest, and closes. See executor.Executor.
func (ex *Executor) Shutdown(ctx context.Context) error {
	ex.base.Refuse()
	idle := func() bool {
		ex.mu.Lock()
		defer ex.mu.Unlock()
		return ex.nothing() && ex.busy == 0
	}
	if ex.base.WaitIdle(ctx, idle) == nil {
		return ex.Close()
	}
	ended := fmt.Errorf("executor: Shutdown: %w", cell.ContextError(ctx))
	left := ex.stop()
	<-ex.over
	if *left == 0 {
		return fmt.Errorf("%w; what was left has been cancelled", ended)
	}
	return fmt.Errorf("%w; %d functions still run", ended, *left)
}

// Close refuses new tasks, cancels the rest, waits for what runs to return for
// CloseGrace, and ends or leaves the workers.
func (ex *Executor) Close() error {
	ex.stop()
	<-ex.over
	return nil
}

// stop closes ex, once. Left is how many functions had not returned, once over is closed.
func (ex *Executor) stop() (left *int) {
	left = new(int)
	ex.closing.Do(func() {
		ex.base.CancelHeld()
		ex.mu.Lock()
		ex.closed = true
		if ex.noWorkers != nil {
			ex.noWorkers.Stop()
		}
		var calls []*executor.Call
		var lots []*executor.Lot
		ex.plainCalls(func(c *executor.Call) { calls = append(calls, c) })
		ex.dropRuns()
		for _, e := range ex.tasks {
			if e.lot != nil {
				lots = append(lots, e.lot.items)
			} else if e.call != nil {
				calls = append(calls, e.call)
			} else {
				ex.remove(e)
				if e.w == nil {
					ex.queue.remove(e)
				}
				ex.remade(e, nil, executor.ErrClosed)
			}
		}
		ex.mu.Unlock()
		for _, c := range calls {
			c.Cancel(executor.ErrClosed)
		}
		for _, l := range lots {
			l.Cancel(executor.ErrClosed)
		}
		ex.bg.Go(func() { *left = ex.finish() }) // ends within CloseGrace and the time to kill
		go func() {                              // ends when the last function of a Group has returned
			ex.bg.Wait()
			ex.base.WaitGroups()
			close(ex.over)
		}()
	})
	return left
}

// finish waits for what runs, and ends the workers.
func (ex *Executor) finish() (left int) {
	ex.mu.Lock()
	emptied := make(chan struct{})
	if ex.emptied = emptied; ex.nothing() {
		close(emptied)
		ex.emptied = nil
	}
	ex.mu.Unlock()
	grace := time.NewTimer(ex.cfg.CloseGrace)
	select {
	case <-emptied:
	case <-grace.C:
	}
	grace.Stop()
	ex.cancel(executor.ErrClosed)
	ex.mu.Lock()
	left = len(ex.tasks) + int(ex.plain.Load())
	workers := append([]*worker(nil), ex.workers...)
	ex.mu.Unlock()
	var closing sync.WaitGroup
	for _, w := range workers {
		closing.Go(func() { // ends within a second
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if left > 0 {
				w.wire.Kill(executor.ErrClosed)
			} else {
				_ = w.wire.Close(ctx)
			}
			<-w.lost
		})
	}
	closing.Wait()
	ex.endWorkers(left)
	return left
}

// nothing reports whether no call waits or is at a worker. mu is held.
func (ex *Executor) nothing() bool { return len(ex.tasks) == 0 && ex.plain.Load() == 0 }

// empty says that nothing is left, if so. mu is held.
func (ex *Executor) empty() {
	if ex.nothing() && ex.emptied != nil {
		close(ex.emptied)
		ex.emptied = nil
	}
}
