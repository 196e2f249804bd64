package remote

import (
	"errors"
	"time"

	"github.com/nearfar/nearfar/executor"
)

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

// values handles news of plain calls, on the reading goroutine.
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
	var wrong error
	ex.mu.Lock()
	for i := range list {
		a := &list[i]
		if int(a.place) >= len(w.places) || w.places[a.place].call == nil {
			if !w.gone {
				wrong = errPlace
			}
			list = list[:i] // which are nobody else's to deliver any more
			break
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
		} else if err := w.promoted(a); err != nil && wrong == nil {
			wrong = err
		}
		*a = arrival{}
	}
	ex.through(through)
	return wrong
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
