package remote

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// Plain calls have a lane of their own through the schedule. They wait in runs, each of which
// has one entry in the queue, as a Map has; and a worker that has one knows it by its place in a
// table. So a call costs nothing beside its future until something happens to it: then it is
// promoted to an entry of its own. All of this is guarded by Executor.mu.

// A plainRun is plain calls of one function, in the order of their submission.
type plainRun struct {
	function string
	calls    []*executor.Call
	next     int // of calls, that were not sent
}

func (r *plainRun) left() int { return len(r.calls) - r.next }

// A place is where a worker has a plain call. The first is never used: 0 is none.
type place struct {
	call *executor.Call
	e    *entry // once it was promoted
}

// maxCalls is how many bytes of calls go into a frame, about.
const maxCalls = 16 << 10

// EnqueuePlain takes a plain call.
func (ex *Executor) EnqueuePlain(c *executor.Call, function string) {
	ex.mu.Lock()
	if ex.closed || !ex.fits(function) {
		ex.mu.Unlock()
		if !c.Promote() {
			c.End()
		}
		ex.Enqueue(c) // which says what is wrong, or waits for a worker
		return
	}
	defer ex.mu.Unlock()
	ex.plain.Add(1)
	if ex.queue.n == 0 && !ex.full {
		ex.one.function, ex.one.calls = function, append(ex.one.calls[:0], c)
		if ex.runOut(&ex.one); ex.one.left() == 0 {
			return
		}
		ex.one.calls[0] = nil
	}
	e := ex.queue.lastRun()
	if e == nil || e.run.function != function {
		e = &entry{req: &executor.Request{}, run: &plainRun{function: function}}
		ex.queue.push(e, false)
	}
	e.run.append(c)
	if !ex.full {
		ex.pump()
	}
}

func (r *plainRun) append(c *executor.Call) {
	if r.next > 1024 && r.next > len(r.calls)/2 {
		n := copy(r.calls, r.calls[r.next:])
		clear(r.calls[n:])
		r.calls, r.next = r.calls[:n], 0
	}
	r.calls = append(r.calls, c)
}

// lastRun is the last entry of those of priority 0, if it is a run.
func (q *queue) lastRun() *entry {
	for _, l := range q.levels {
		if l.prio == 0 {
			if e := l.list[len(l.list)-1]; e.run != nil {
				return e
			}
			return nil
		}
	}
	return nil
}

// fits reports whether some worker can run a function. mu is held.
func (ex *Executor) fits(function string) bool {
	for _, w := range ex.workers {
		if _, ok := w.number(function); ok {
			return true
		}
	}
	return false
}

// number is what a function is called in frames to w, if it may run there.
func (w *worker) number(function string) (n uint64, ok bool) {
	if w.lastFunction != function {
		n, ok := w.numbers[function]
		if !ok {
			return 0, false
		}
		w.lastFunction, w.lastNumber = function, n
	}
	return w.lastNumber, true
}

// numbersOf numbers the functions that both sides have, as the worker does: by their names.
func numbersOf(theirs, ours map[string]string) map[string]uint64 {
	all := map[string]uint64{}
	for i, name := range sortedNames(theirs) {
		if theirs[name] == ours[name] {
			all[name] = uint64(i)
		}
	}
	return all
}

func sortedNames(functions map[string]string) []string {
	names := make([]string, 0, len(functions))
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// runOut sends calls of a run to whoever has room. mu is held.
func (ex *Executor) runOut(r *plainRun) {
	for r.left() > 0 {
		var best *worker
		rooms := 0
		for _, w := range ex.workers {
			if _, ok := w.number(r.function); !ok || w.room() <= 0 {
				continue
			}
			rooms++
			if best == nil || w.load()*best.threads < best.load()*w.threads {
				best = w
			}
		}
		if best == nil {
			return
		}
		ex.sendCalls(best, r, min(best.room(), 1+(r.left()-1)/rooms))
	}
	r.calls, r.next = r.calls[:0], 0
}

// sendCalls sends n calls, those that were cancelled not counted. mu is held.
func (ex *Executor) sendCalls(w *worker, r *plainRun, n int) {
	number, _ := w.number(r.function)
	b := binary.AppendUvarint(ex.scratch[:0], number)
	first := len(b)
	for n > 0 && r.left() > 0 && len(b) < maxCalls {
		c := r.calls[r.next]
		r.calls[r.next] = nil
		r.next++
		if c.Dead() {
			ex.passOver(1)
			continue
		}
		if c.Doomed() {
			ex.passOver(1)
			ex.later(c.End) // whoever ends those under its ctx would not find it any more
			continue
		}
		n--
		seat := c.Seat()
		seat.Worker, seat.Place = w.index, w.take(c)
		b = binary.AppendUvarint(b, uint64(seat.Place))
		b = binary.AppendVarint(b, seat.ID)
		at := len(b)
		b = c.AppendArgument(append(b, 0))
		size := len(b) - at - 1
		ex.sent += int64(size)
		if size < 0x80 {
			b[at] = byte(size)
		} else {
			var length [binary.MaxVarintLen64]byte
			b = slices.Replace(b, at, at+1, length[:binary.PutUvarint(length[:], uint64(size))]...)
		}
	}
	if ex.scratch = b[:0]; len(b) > first {
		w.wire.Send(frameCalls, b, nil)
	}
}

// passOver forgets calls that were cancelled while they waited. mu is held.
func (ex *Executor) passOver(n int) {
	if n > 0 && ex.plain.Add(-int64(n)) == 0 {
		ex.empty()
		ex.later(ex.base.Changed)
	}
}

// take gives a call a place.
func (w *worker) take(c *executor.Call) (at uint32) {
	w.plain++
	if n := len(w.vacant); n > 0 {
		at = w.vacant[n-1]
		w.vacant = w.vacant[:n-1]
		w.places[at].call = c
		return at
	}
	if len(w.places) == 0 {
		w.places = make([]place, 1, 64)
	}
	w.places = append(w.places, place{call: c})
	return uint32(len(w.places) - 1)
}

// vacate frees a place.
func (w *worker) vacate(at uint32) {
	w.places[at] = place{}
	w.vacant = append(w.vacant, at)
}

// promote makes an entry of a call that w has. mu is held.
func (ex *Executor) promote(w *worker, at uint32) *entry {
	p := &w.places[at]
	if p.e != nil {
		return p.e
	}
	c := p.call
	if !c.Promote() {
		ex.later(c.End)
	}
	e := ex.entryOf(c)
	e.w, e.place = w, at
	p.e = e
	w.plain--
	w.out[e.id] = e
	ex.tasks[e.id] = e
	ex.plain.Add(-1)
	return e
}

// entryOf is the entry of a plain call, whose argument was or can be encoded. If the call is
// over it says no more than which call that is.
func (ex *Executor) entryOf(c *executor.Call) *entry {
	e, err := ex.newEntry(c)
	if err != nil {
		id := c.Seat().ID
		e = &entry{id: id, call: c, req: &executor.Request{ID: id, Attempt: 1}}
	}
	c.SetTag(e)
	return e
}

// promoteAll promotes all that w has. mu is held.
func (ex *Executor) promoteAll(w *worker) {
	for at := range w.places {
		if w.places[at].call != nil {
			ex.promote(w, uint32(at))
		}
	}
}

// promoteLast promotes the n that w was sent last. mu is held.
func (ex *Executor) promoteLast(w *worker, n int) {
	var list []uint32
	for at := range w.places {
		if p := &w.places[at]; p.call != nil && p.e == nil {
			list = append(list, uint32(at))
		}
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return int(w.places[b].call.Seat().ID - w.places[a].call.Seat().ID)
	})
	for _, at := range list[:min(n, len(list))] {
		ex.promote(w, at)
	}
}

// promoteQueued promotes all calls that wait. mu is held.
func (ex *Executor) promoteQueued() {
	for _, l := range ex.queue.levels {
		if !slices.ContainsFunc(l.list, func(e *entry) bool { return e.run != nil }) {
			continue
		}
		var list []*entry
		for _, e := range l.list {
			if e.run == nil {
				list = append(list, e)
				continue
			}
			ex.queue.n--
			for _, c := range e.run.calls[e.run.next:] {
				if c.Dead() {
					ex.passOver(1)
					continue
				}
				ex.plain.Add(-1)
				if !c.Promote() {
					ex.later(c.End)
				}
				q := ex.entryOf(c)
				ex.tasks[q.id] = q
				list = append(list, q)
				ex.queue.n++
			}
			e.run.calls, e.run.next = nil, 0
		}
		l.list = list
	}
	ex.queue.levels = slices.DeleteFunc(ex.queue.levels, func(l *level) bool { return len(l.list) == 0 })
}

// plainCalls visits the plain calls that are not over and not promoted. mu is held.
func (ex *Executor) plainCalls(visit func(*executor.Call)) {
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if e.run != nil {
				for _, c := range e.run.calls[e.run.next:] {
					visit(c)
				}
			}
		}
	}
	for _, w := range ex.workers {
		for _, p := range w.places {
			if p.call != nil && p.e == nil {
				visit(p.call)
			}
		}
	}
}

// PlainEnded ends the calls under a ctx that has ended.
func (ex *Executor) PlainEnded(ctx *executor.Ctx) {
	var list []*executor.Call
	ex.mu.Lock()
	ex.plainCalls(func(c *executor.Call) {
		if c.Under(ctx) {
			list = append(list, c)
		}
	})
	ex.mu.Unlock()
	for _, c := range list {
		c.End()
	}
}

// plainCancelled promotes a call that was cancelled, if a worker has it. mu is held. If it
// waits, it is passed over when its turn comes.
func (ex *Executor) plainCancelled(c *executor.Call) *entry {
	seat := c.Seat()
	if seat.Worker == 0 {
		if ex.dead++; ex.dead > 64 && ex.dead > int(ex.plain.Load())/2 {
			ex.bury()
		}
		return nil
	}
	w := ex.indexed[seat.Worker]
	if w == nil || int(seat.Place) >= len(w.places) || w.places[seat.Place].call != c {
		return nil // it has arrived
	}
	return ex.promote(w, seat.Place)
}

// bury takes out of the queue what was cancelled. mu is held.
func (ex *Executor) bury() {
	ex.dead = 0
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if r := e.run; r != nil {
				was := r.left()
				r.calls, r.next = slices.DeleteFunc(r.calls[r.next:], (*executor.Call).Dead), 0
				ex.passOver(was - r.left())
			}
		}
	}
}

// dropRuns takes all runs out of the queue. mu is held.
func (ex *Executor) dropRuns() {
	for _, l := range ex.queue.levels {
		l.list = slices.DeleteFunc(l.list, func(e *entry) bool {
			if e.run == nil {
				return false
			}
			ex.queue.n--
			ex.passOver(e.run.left())
			return true
		})
	}
	ex.queue.levels = slices.DeleteFunc(ex.queue.levels, func(l *level) bool { return len(l.list) == 0 })
}

// plainPosition is how many calls are before a plain one, or -1. mu is held.
func (ex *Executor) plainPosition(c *executor.Call) int {
	n := 0
	for _, l := range ex.queue.levels {
		for _, e := range l.list {
			if e.run == nil {
				n++
				continue
			}
			if at := slices.Index(e.run.calls[e.run.next:], c); at >= 0 {
				return n + at
			}
			n += e.run.left()
		}
	}
	w := ex.indexed[c.Seat().Worker]
	if w == nil {
		return -1
	}
	n = 0
	for _, e := range w.out {
		if e.id < c.Seat().ID && !e.begun {
			n++
		}
	}
	for _, p := range w.places {
		if p.call != nil && p.e == nil && p.call.Seat().ID < c.Seat().ID {
			n++
		}
	}
	return n
}

// What became of a plain call, in the low bits of a record's length.
const (
	plainValue  = iota // the value
	plainTimed         // how long it took, and the value
	plainFailed        // whether another attempt is of no use, and the error
	plainNone          // it did not begin, or was cancelled
	plainStored        // how large the value is, which stays there
	plainBits   = 3
)

// An arrival is such a record.
type arrival struct {
	place uint32
	kind  byte
	took  time.Duration
	data  []byte
	call  *executor.Call
	e     *entry
}

var errPlace = errors.New("remote: news of a call that is not there")

// values handles news of plain calls.
func (w *worker) values(d *dec) error {
	list := w.arrived[:0]
	for len(d.b) > 0 {
		a := arrival{place: uint32(d.uint())}
		n := d.uint()
		a.kind = byte(n & (1<<plainBits - 1))
		if a.kind == plainTimed {
			a.took = time.Duration(d.uint())
		}
		if a.data = d.next(n >> plainBits); d.bad || a.kind > plainStored {
			return errMalformed
		}
		list = append(list, a)
	}
	w.arrived = list
	ex := w.ex
	ex.mu.Lock()
	for i := range list {
		a := &list[i]
		if int(a.place) >= len(w.places) || w.places[a.place].call == nil {
			ex.mu.Unlock()
			if w.gone {
				return nil
			}
			return errPlace
		}
		if a.took > 0 {
			ex.note(a.took)
		}
		p := &w.places[a.place]
		if p.e == nil && a.kind > plainTimed {
			ex.promote(w, a.place)
		}
		if a.call, a.e = p.call, p.e; p.e == nil {
			w.vacate(a.place)
			w.plain--
			w.finished++
			ex.received += int64(len(a.data))
			ex.full = false
		}
	}
	ex.mu.Unlock()
	through := int64(0)
	for i := range list {
		a := &list[i]
		if a.e == nil {
			a.call.DeliverPlain(a.data)
			through++
		} else if err := w.promoted(a); err != nil {
			return err
		}
		*a = arrival{}
	}
	ex.through(through)
	return nil
}

// promoted handles news of a call that is not plain any more.
func (w *worker) promoted(a *arrival) error {
	d := &dec{b: a.data, lent: true}
	r := ret{data: a.data}
	switch a.kind {
	case plainValue, plainTimed:
		r.outcome = outcomeValue
	case plainFailed:
		r.outcome, r.last, r.data = outcomeError, d.byte() != 0, d.b
	case plainNone:
		r.outcome = outcomeNone
	case plainStored:
		r.outcome, r.size = outcomeStored, int64(d.uint())
	}
	if d.bad {
		return errMalformed
	}
	return w.ended(a.e.id, r)
}

// through says that plain calls have their outcomes.
func (ex *Executor) through(n int64) {
	if n == 0 || ex.plain.Add(-n) != 0 {
		return
	}
	ex.mu.Lock()
	ex.empty()
	ex.mu.Unlock()
	ex.base.Changed()
}
