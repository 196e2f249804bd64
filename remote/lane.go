package remote

import (
	"encoding/binary"
	"slices"

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
