package executor

import (
	"fmt"
	"os"
	"time"

	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/pool"
)

// Stats is an executor's own account. A task's counters change before those who wait
// for it wake. A Map counts by items. What was submitted is in exactly one of Pending,
// Running, Waiting, Finished, Failed and Cancelled; read while tasks run, the numbers
// may be of slightly different moments.
type Stats struct {
	Submitted int64
	Pending   int64 // not started: waiting for inputs, a slot, or the next attempt
	Running   int64
	Finished  int64
	Failed    int64
	Cancelled int64
	Retried   int64 // attempts after the first
	Lost      int64 // tasks that a lost worker had
	Abandoned int64 // cancelled, or out of time, but not returned: the slot is still taken
	Waiting   int64 // started, and waiting for others with their slots lent

	BytesSent     int64 // payloads from the client to workers
	BytesReceived int64 // from workers to the client
	BytesMoved    int64 // from worker to worker

	Workers []WorkerStats // one row a connected worker; near, one, named "local"
}

// WorkerStats is one worker's row.
type WorkerStats struct {
	Name        string
	Addr        string
	PID         int
	Threads     int
	Running     int
	Stored      int // values that stayed there
	StoredBytes int64
	Finished    int64
	LastSeen    time.Time
}

// count adds to what has finished, on r's own account if there is one.
func (b *Base) count(r *pool.Runner, n int64) {
	if r != nil {
		r.Add(countFinished, n)
	} else {
		b.finished.Add(n)
	}
}

// notice cancels those of tasks whose ctx has ended, which nobody has looked at since.
func notice(tasks []pool.Task) {
	for _, t := range tasks {
		if c, ok := t.(*Call); ok {
			c.core().State()
		}
	}
}

// stats is the account of an executor that runs its tasks on p.
func (b *Base) stats(p *pool.Pool) Stats {
	notice(p.Queued())
	running := p.Running()
	notice(running)
	s := Stats{
		Finished:  b.finished.Load() + p.Count(countFinished),
		Failed:    b.failed.Load(),
		Cancelled: b.cancelled.Load(),
		Retried:   b.retried.Load(),
		Lost:      b.lost.Load(),
		Abandoned: b.abandoned.Load(),
		Running:   b.groupRunning.Load(),
	}
	s.Submitted = b.submitted.Load() + p.Fresh() // last, so that it is never less than what became of it
	s.Waiting = waiting(p.Lenders())
	s.Running += active(running)
	s.Running = max(0, s.Running-s.Waiting)
	s.Pending = max(0, s.Submitted-s.Running-s.Waiting-s.Finished-s.Failed-s.Cancelled)
	s.Workers = []WorkerStats{{
		Name: b.worker, PID: os.Getpid(), Threads: p.Slots(), Running: int(s.Running), Finished: s.Finished, LastSeen: time.Now(),
	}}
	return s
}

// active counts the tasks that run among what is on slots, where what has just ended
// may still be.
func active(tasks []pool.Task) (n int64) {
	spans := map[*pool.Span]bool{}
	calls := map[*cell.Core]bool{} // a task of a slab may be there by itself, too
	for _, t := range tasks {
		switch t := t.(type) {
		case *Call:
			calls[t.core()] = true
		case *pool.Span:
			if spans[t] {
				continue
			}
			spans[t] = true
			switch body := t.Body().(type) {
			case interface{ active() int }:
				n += int64(body.active())
			case interface{ each(func(*cell.Core)) }:
				body.each(func(c *cell.Core) { calls[c] = true })
			}
		}
	}
	for c := range calls {
		if c.State() == cell.Running {
			n++
		}
	}
	return n
}

// waiting counts those that have lent their slots and were not cancelled meanwhile.
func waiting(lending []pool.Task) (n int64) {
	for _, t := range lending {
		over := false
		switch t := t.(type) {
		case *Call:
			over = t.core().State() != cell.Running
		case *pool.Span:
			body, ok := t.Body().(interface{ active() int })
			over = ok && body.active() == 0
		}
		if !over {
			n++
		}
	}
	return n
}

// A Queue is a backend that can say how many calls are queued before one, or -1.
type Queue interface{ Position(c *Call) int }

// why says what a task waits for that has not ended.
func why(c *cell.Core, m *more) string {
	b := hostOf(c.Scope).base
	if m != nil && m.special {
		if n := int(m.missing.Load()); n > 0 {
			return plural("for", n, "input")
		}
		if m.attempt.Load() > 0 && c.State() == cell.Pending && b.holds(&m.held) {
			return fmt.Sprintf("for attempt %d", m.attempt.Load()+1)
		}
	}
	if c.State() != cell.Pending {
		return ""
	}
	if q, ok := b.backend.(Queue); ok {
		if n := q.Position((*Call)(c)); n >= 0 {
			return fmt.Sprintf("behind %d", n)
		}
	}
	return ""
}

func plural(what string, n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%s 1 %s", what, noun)
	}
	return fmt.Sprintf("%s %d %ss", what, n, noun)
}
