package remote

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// The client holds the schedule: which calls wait, which worker has which, and where
// values are. It is guarded by Executor.mu. Nothing here calls into package executor
// with mu held: an outcome may start, or cancel, other calls.

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

// A queue has the entries that were not sent, by priority.
type queue struct {
	levels []*level // the highest first
	n      int
}

type level struct {
	prio int
	list []*entry
}

func (q *queue) push(e *entry, front bool) {
	i, found := slices.BinarySearchFunc(q.levels, e.req.Priority, func(l *level, prio int) int {
		switch {
		case l.prio > prio:
			return -1
		case l.prio < prio:
			return 1
		}
		return 0
	})
	if !found {
		q.levels = slices.Insert(q.levels, i, &level{prio: e.req.Priority})
	}
	l := q.levels[i]
	if front {
		l.list = slices.Insert(l.list, 0, e)
	} else {
		l.list = append(l.list, e)
	}
	q.n++
}

// remove takes an entry out that is known to be in it.
func (q *queue) remove(e *entry) {
	for i, l := range q.levels {
		if l.prio != e.req.Priority {
			continue
		}
		if at := slices.Index(l.list, e); at >= 0 {
			l.list = slices.Delete(l.list, at, at+1)
			q.n--
			if len(l.list) == 0 {
				q.levels = slices.Delete(q.levels, i, i+1)
			}
		}
		return
	}
}

// position is how many are before e, or -1.
func (q *queue) position(e *entry) int {
	n := 0
	for _, l := range q.levels {
		for _, o := range l.list {
			switch {
			case o == e:
				return n
			case o.run != nil:
				n += o.run.left()
			default:
				n++
			}
		}
	}
	return -1
}

// load is how many calls a worker has that need a slot.
func (w *worker) load() int { return len(w.out) - w.waiting + w.plain }

// room is how many more calls a worker is to have. Each slot has one that waits, so that
// it never waits for a round trip, and more when they are short.
func (w *worker) room() int {
	if w.shut() {
		return 0
	}
	return w.threads*(1+w.ex.ahead) - w.load()
}

// aheadFor is how many calls wait at a slot: as many as last about a millisecond.
func aheadFor(took float64) int {
	if took <= 0 {
		return 1
	}
	return int(min(max(1, float64(time.Millisecond)/took), maxAhead))
}

const maxAhead = 2048

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

// roomLeft is how many calls the workers would take.
func (ex *Executor) roomLeft() (n int) {
	for _, w := range ex.workers {
		n += max(0, w.room())
	}
	return n
}

// place chooses a worker for e, or none for now: the one that has most of its inputs,
// else the least loaded. mu is held.
func (ex *Executor) place(e *entry) *worker {
	if !ex.here(e) {
		return nil // it is being made again, and whoever does that pumps
	}
	if e.suspect {
		return ex.cell(e)
	}
	room := func(w *worker) bool { return w.room() > 0 && (!e.req.Once || w.load() < w.threads) } // else it might not have started
	var best *worker
	var most int64
	for _, s := range e.inputs {
		for _, w := range s.holders {
			if s.size > most && ex.suits(w, e) && room(w) && w.load() < 2*w.threads {
				best, most = w, s.size
			}
		}
	}
	if len(e.inputs) > 1 {
		bytes := map[*worker]int64{}
		for _, s := range e.inputs {
			for _, w := range s.holders {
				if bytes[w] += s.size; bytes[w] > most && ex.suits(w, e) && room(w) {
					best, most = w, bytes[w]
				}
			}
		}
	}
	if best != nil {
		return best
	}
	least := math.Inf(1)
	for _, w := range ex.workers {
		if !ex.suits(w, e) {
			continue
		}
		free := room(w)
		if e.first && !w.shut() && w.load() < w.threads {
			free = true
		}
		if load := float64(w.load()) / float64(w.threads); free && load < least {
			best, least = w, load
		}
	}
	return best
}

// suits reports whether w may run e.
func (ex *Executor) suits(w *worker, e *entry) bool {
	if w.functions[e.req.Function] != ex.functions[e.req.Function] {
		return false
	}
	return len(e.req.Workers) == 0 || slices.Contains(e.req.Workers, w.name)
}

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

// balance asks the worker that has most waiting for half of that, when another has
// nothing. mu is held.
func (ex *Executor) balance() {
	for _, idle := range ex.workers {
		if idle.load() >= idle.threads || idle.shut() {
			continue
		}
		var from *worker
		most := 0
		for _, w := range ex.workers {
			if extra := w.load() - w.threads; w != idle && !w.taking && extra > most {
				from, most = w, extra
			}
		}
		if from == nil {
			return
		}
		ex.take(from, idle, (most+1)/2)
	}
}

// take asks a worker for n calls back that another is to have. mu is held.
func (ex *Executor) take(from, idle *worker, n int) {
	var ids []byte
	ex.promoteLast(from, n)
	list := slices.SortedFunc(maps.Values(from.out), func(a, b *entry) int { return int(b.id - a.id) })
	for _, e := range list { // the last that were sent, first
		if n == 0 {
			break
		}
		if e.begun || e.taking || !ex.suits(idle, e) {
			continue
		}
		e.taking = true
		ids = appendCall(ids, e)
		n--
	}
	if ids != nil {
		from.taking = true
		from.wire.Send(frameTake, ids, nil)
	}
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

// restore has a lost value made again. It is true if it need not be, or never will be:
// then whoever fetches it is told. mu is held.
func (ex *Executor) restore(s *stored) bool {
	if len(s.holders) > 0 || s.data != nil || s.err != nil {
		return true
	}
	if s.remake != nil {
		return false
	}
	if s.req == nil || s.req.Once {
		s.err = fmt.Errorf("%w: value %d had its last copy on a worker that is gone, and no task that may compute it again, or none whose argument was kept (LineageBytes)", ErrDataLost, s.id)
		return true
	}
	req := *s.req
	e := &entry{id: s.id, req: &req, value: s}
	storedIn([]executor.Source{req.Arg}, func(v any) { e.inputs = append(e.inputs, v.(*stored)) })
	storedIn(req.Refs, func(v any) { e.inputs = append(e.inputs, v.(*stored)) })
	s.remake, s.made = e, make(chan struct{})
	ex.retried++
	ex.restoring = append(ex.restoring, e)
	return false
}

// lose is what follows when a worker is gone: what it had runs elsewhere. It returns
// what is to be done without the lock.
func (ex *Executor) lose(w *worker, cause error) (then []func()) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	ex.promoteAll(w)
	ex.indexed[w.index] = nil
	w.gone = true
	ex.busy++ // until Closed has seen to what follows
	ex.workers = slices.DeleteFunc(ex.workers, func(o *worker) bool { return o == w })
	ex.tellSlots()
	for _, s := range ex.values {
		s.holders = slices.DeleteFunc(s.holders, func(o *worker) bool { return o == w })
	}
	list := slices.SortedFunc(maps.Values(w.out), func(a, b *entry) int { return int(a.id - b.id) })
	sole := w.sole()
	for _, e := range list {
		ex.leave(w, e)
		then = append(then, ex.rerun(w, e, e == sole, cause))
	}
	for _, f := range w.kids {
		if f != nil {
			then = append(then, func() { f.Cancel(fmt.Errorf("%w: %s, which ran the task that submitted it", ErrWorkerLost, w.name)) })
		}
	}
	w.kids, w.kept = nil, nil
	ex.full = false
	if len(ex.workers) == 0 {
		ex.promoteQueued()
		if ex.queue.n > 0 {
			ex.startNoWorkers()
		}
	}
	return then
}

// rerun says what becomes of a call whose worker is gone, which the loss counts against
// if it is the sole suspect. mu is held.
func (ex *Executor) rerun(w *worker, e *entry, sole bool, cause error) func() {
	e.suspect = true
	if e.lot != nil {
		return ex.loseLease(w, e, sole, cause)
	}
	if sole {
		e.lost = append(e.lost, w.name)
	}
	if e.call == nil {
		if len(e.lost) >= ex.cfg.MaxLosses {
			ex.remove(e)
			lost := &LostError{Losses: len(e.lost), Workers: e.lost, Cause: cause}
			ex.remade(e, nil, fmt.Errorf("%w: value %d could not be computed again: %w", ErrDataLost, e.id, lost))
			return func() {}
		}
		ex.queue.push(e, true)
		return func() {}
	}
	if e.req.Once {
		ex.remove(e)
		return func() {
			e.call.Gone()
			e.call.Lost()
			e.call.Fail(fmt.Errorf("%w: %s, and the task may have started, which WithAtMostOnce lets it do once: %w", ErrWorkerLost, w.name, cause))
		}
	}
	if len(e.lost) >= ex.cfg.MaxLosses {
		ex.remove(e)
		return func() {
			e.call.Gone()
			e.call.Lost()
			e.call.Fail(&LostError{Losses: len(e.lost), Workers: e.lost, Cause: cause})
		}
	}
	ex.remove(e)
	begun := e.begun || !sole // or it was too short for the worker to have said so
	return func() {
		if !begun {
			e.call.Begin(w.name)
		}
		e.call.Gone()
		if !e.call.Lost() {
			e.call.Returned()
			return
		}
		next, err := ex.newEntry(e.call)
		if err != nil {
			e.call.Fail(err)
			return
		}
		next.suspect, next.lost = e.suspect, e.lost
		ex.submit(next, true)
	}
}

// appendCall appends the number of a call that a worker has, and its place, by which it finds a
// plain one.
func appendCall(b []byte, e *entry) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, e.id), uint64(e.place))
}

// misfit says why no worker can run e, or nil. mu is held.
func (ex *Executor) misfit(e *entry) error {
	if len(ex.workers) == 0 {
		return nil
	}
	name := e.req.Function
	var lacking []string
	for _, w := range ex.workers {
		switch theirs, ok := w.functions[name]; {
		case !ok:
			lacking = append(lacking, w.name+" has no such function (it was built from other sources)")
		case theirs != ex.functions[name]:
			lacking = append(lacking, w.name+" has one with other argument or result types (fingerprint "+theirs+", here "+ex.functions[name]+")")
		default:
			if len(e.req.Workers) > 0 && !ex.known(e.req.Workers) {
				return fmt.Errorf("%w: WithWorkers(%s): there is none of that name; there are %s", executor.ErrConfig, strings.Join(e.req.Workers, ", "), strings.Join(ex.names(), ", "))
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %s: %s", executor.ErrNotRegistered, name, strings.Join(lacking, "; "))
}

// known reports whether some worker has one of the names, or had.
func (ex *Executor) known(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return ex.met[n] })
}

func (ex *Executor) names() (list []string) {
	for _, w := range ex.workers {
		list = append(list, w.name)
	}
	return list
}

// startNoWorkers fails what waits when there has been no worker for too long. mu is held.
func (ex *Executor) startNoWorkers() {
	if ex.noWorkers != nil || ex.closed {
		return
	}
	ex.noWorkers = time.AfterFunc(ex.cfg.NoWorkersTimeout, func() {
		var calls []*executor.Call
		var lots []*executor.Lot
		ex.mu.Lock()
		ex.noWorkers = nil
		if len(ex.workers) == 0 {
			for _, e := range ex.tasks {
				ex.remove(e)
				if e.lot != nil {
					e.lot.stopped, e.lot.queued = true, false
					lots = append(lots, e.lot.items)
				} else if e.call != nil {
					calls = append(calls, e.call)
				} else {
					ex.remade(e, nil, fmt.Errorf("%w: value %d: %w", ErrDataLost, e.id, ErrNoWorkers))
				}
			}
			ex.queue = queue{}
		}
		ex.mu.Unlock()
		err := fmt.Errorf("%w: for %v", ErrNoWorkers, ex.cfg.NoWorkersTimeout)
		for _, c := range calls {
			c.Fail(err)
		}
		for _, l := range lots {
			l.Fail(err)
		}
		ex.base.Changed()
	})
}

// remade ends the making of a value again. mu is held.
func (ex *Executor) remade(e *entry, w *worker, err error) {
	s := e.value
	if s.remake != e {
		return // Close was faster
	}
	if w != nil {
		s.holders = append(s.holders, w)
		ex.values[s.id] = s
	} else {
		s.err = err
	}
	s.remake = nil
	close(s.made)
	ex.freeIfUnneeded(s)
}
