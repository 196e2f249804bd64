package remote

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// The client holds the schedule: which calls wait, which worker has which, and where
// values are. It is guarded by Executor.mu. Nothing here calls into package executor with mu
// held, since an outcome may start, or cancel, other calls, but for what only describes a
// call: Request, Promote, AppendArgument, Dead, Doomed.

// An entry is a call in the schedule, or a lost value that is computed again.
type entry struct {
	id     int64
	call   *executor.Call // nil if it is only to make value again
	req    *executor.Request
	value  *stored   // to make again
	inputs []*stored // what its sources refer to
	kill   *time.Timer
	lot    *lot      // of the Map that it stands for in the queue, or is a lease of
	lo, hi int       // the lease's items
	run    *plainRun // that it stands for in the queue
	place  uint32    // of the call at its worker, if it was sent as a plain one
	sentAt time.Time

	// Guarded by mu.
	w        *worker // that it was sent to; nil while it is queued
	gone     bool    // it has left the schedule
	begun    bool    // the worker said so
	waiting  bool    // with its slot lent
	first    bool    // it is awaited by a task that has lent its slot
	suspect  bool    // it may have cost a worker its life: it is run alone
	kin      *entry  // the suspect that has submitted it, and that it runs beside
	taking   bool    // it was asked back
	unwanted bool    // and is not to be sent again
	lost     []string
}

// A stored is a value that stays at workers.
type stored struct {
	id   int64
	size int64
	req  *executor.Request // that makes it again; nil if nothing does

	// Guarded by mu.
	holders []*worker
	data    []byte // its encoding, if there was no worker to hand it to
	dropped bool
	remake  *entry        // that is under way
	made    chan struct{} // closed when remake has ended
	err     error         // how, if it failed
}

// pump sends what can be sent. mu is held.
func (ex *Executor) pump() {
	for ex.queueRestoring(); ; {
		if ex.secluded > 0 || ex.clearing != nil {
			ex.tendSuspects()
		}
		ex.pumpOnce()
		if !ex.queueRestoring() {
			return
		}
	}
}

// queueRestoring queues what is to be made again before all else, and reports whether
// there was any. It is apart from restore, which is called while the queue is read.
func (ex *Executor) queueRestoring() bool {
	list := ex.restoring
	ex.restoring = nil
	for _, e := range list {
		ex.add(e, true)
	}
	return list != nil
}

// pumpOnce looks at the queue once. mu is held.
func (ex *Executor) pumpOnce() {
	if ex.queue.n == 0 {
		ex.balance()
		return
	}
	skipped := 0
	for li := 0; li < len(ex.queue.levels); li++ {
		l := ex.queue.levels[li]
		kept := 0 // entries before the one that is looked at, which stay
		i := 0
		for ; i < len(l.list); i++ {
			e := l.list[i]
			if e.run != nil {
				if ex.runOut(e.run); e.run.left() == 0 {
					ex.queue.n--
				} else {
					l.list[kept] = e
					kept++
				}
				continue
			}
			if e.lot != nil {
				if ex.leaseOut(e.lot); e.lot.left() == 0 {
					e.lot.queued = false
					ex.queue.n--
				} else {
					l.list[kept] = e
					kept++
				}
				continue
			}
			w := (*worker)(nil)
			if skipped < maxSkipped {
				w = ex.place(e)
			}
			if w == nil {
				if skipped++; skipped >= maxSkipped || ex.roomLeft() == 0 {
					break
				}
				l.list[kept] = e
				kept++
				continue
			}
			ex.queue.n--
			ex.sendTo(w, e)
		}
		if kept < i {
			n := copy(l.list[kept:], l.list[i:])
			clear(l.list[kept+n:])
			l.list = l.list[:kept+n]
		}
		if len(l.list) == 0 {
			ex.queue.levels = slices.Delete(ex.queue.levels, li, li+1)
			li--
		}
		if skipped >= maxSkipped || ex.roomLeft() == 0 {
			ex.full = skipped < maxSkipped
			return
		}
	}
	ex.full = ex.roomLeft() == 0
	ex.balance()
}

// maxSkipped is how many entries that cannot be placed now a pump looks behind.
const maxSkipped = 64

// sendTo sends e to w. mu is held.
func (ex *Executor) sendTo(w *worker, e *entry) {
	if e.call != nil {
		e.call.Sent()
	}
	e.w, e.begun, e.waiting, e.first, e.taking = w, false, false, false, false
	w.out[e.id] = e
	if e.suspect && w.alone == nil {
		ex.seclude(w, e)
	}
	for _, s := range e.inputs {
		if len(s.holders) > 0 && !slices.Contains(s.holders, w) {
			ex.moved(e, w, s.size)
		}
	}
	b := appendString(ex.scratch[:0], e.req.Function)
	if len(e.req.Refs) == 0 && e.req.Arg.Stored == nil && len(e.req.Arg.Data) > maxFrame/2 {
		// Its argument is large: no copy of it under the lock.
		arg := e.req.Arg.Data
		b = appendRequest(b, &executor.Request{
			ID: e.req.ID, Name: e.req.Name, Key: e.req.Key, Attempt: e.req.Attempt, Priority: e.req.Priority,
			Timeout: e.req.Timeout, Kill: e.req.Kill, Home: e.req.Home,
		}, w.refs)
		b = binary.AppendUvarint(b[:len(b)-1], uint64(len(arg))) // in the place of a length of 0
		head := slices.Clone(b)
		ex.scratch = b
		ex.sent += int64(len(arg))
		sendFrame(w.wire, frameTask, head, arg, func(error) { ex.recheck(e) })
		return
	}
	b = appendRequest(b, e.req, w.refs)
	ex.scratch = b[:0]
	ex.sent += int64(len(e.req.Arg.Data))
	if len(b) <= maxFrame {
		w.wire.Send(frameTask, b, nil)
		return
	}
	sendFrame(w.wire, frameTask, slices.Clone(b), nil, func(error) { ex.recheck(e) })
}

// recheck cancels a call that was cancelled while it was on its way.
func (ex *Executor) recheck(e *entry) {
	if e.call != nil && e.call.Over() {
		ex.Cancelled(e.call)
	}
}

// appendStored tells a worker of a value: its number, and who has it. mu is held.
func (ex *Executor) appendStored(b []byte, v any) []byte {
	s := v.(*stored)
	b = binary.AppendVarint(b, s.id)
	b = binary.AppendUvarint(b, uint64(len(s.holders)))
	for _, w := range s.holders {
		b = appendString(b, w.name)
		b = appendString(b, w.network)
		b = appendString(b, w.addr)
	}
	return b
}

// lockedStored is appendStored where mu is not held.
func (ex *Executor) lockedStored(b []byte, v any) []byte {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	return ex.appendStored(b, v)
}

// leave takes an entry from its worker. mu is held.
func (ex *Executor) leave(w *worker, e *entry) {
	delete(w.out, e.id)
	if e.lot != nil {
		w.leases--
	}
	if e.waiting {
		e.waiting = false
		w.waiting--
	}
	if w.alone == e {
		ex.open(w)
	}
	e.kin = nil
	if e.taking {
		w.taking = false
	}
	if e.kill != nil {
		e.kill.Stop()
	}
	if e.place != 0 {
		w.vacate(e.place)
		e.place = 0
	}
	e.w = nil
	ex.full = false
}

// add puts an entry into the schedule. mu is held.
func (ex *Executor) add(e *entry, front bool) {
	ex.tasks[e.id] = e
	ex.queue.push(e, front)
	if len(ex.workers) == 0 {
		ex.startNoWorkers()
	}
}

// remove takes it out for good. mu is held.
func (ex *Executor) remove(e *entry) {
	e.gone = true
	if ex.tasks[e.id] == e {
		delete(ex.tasks, e.id)
	}
	for _, s := range e.inputs {
		ex.freeIfUnneeded(s)
	}
}

// freeIfUnneeded frees a value that was dropped, and made again for others. mu is held.
func (ex *Executor) freeIfUnneeded(s *stored) {
	if !s.dropped || len(s.holders) == 0 {
		return
	}
	for _, e := range ex.tasks {
		if slices.Contains(e.inputs, s) {
			return
		}
	}
	ex.free(s)
}

// appendCall appends the number of a call that a worker has, and its place, by which it finds a
// plain one.
func appendCall(b []byte, e *entry) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, e.id), uint64(e.place))
}
