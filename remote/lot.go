package remote

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/wire"
)

// A lot is a Map in the schedule: its items go out in leases, which are cut again at an
// item boundary. It is guarded by Executor.mu.
type lot struct {
	items *executor.Lot
	req   *executor.Request
	entry *entry // that stands for it in the queue
	n     int
	chunk int // of WithChunkSize, or 0

	next      int        // the first item that was never leased
	returned  []leaseRun // leased, and handed back
	suspects  []leaseRun // had by a worker that was lost: see suspect.go
	losses    map[int][]string
	active    int // leases at workers
	queued    bool
	stopped   bool
	drained   bool
	itemBytes float64 // of an argument, encoded

	leases, leased int           // that were sent, and their items
	ran            int           // items
	work           time.Duration // that leases took
	message        time.Duration // what one costs besides: a moving average
}

// A leaseRun is items lo to hi-1.
type leaseRun struct{ lo, hi int }

const (
	maxLeaseBytes = 256 << 10 // a few fit into the cache of a core; of 1 MiB, none does (BenchmarkMap)
	minSlice      = 5 * time.Millisecond
	maxSlice      = 500 * time.Millisecond
	leasesASlot   = 2    // one runs, and one waits
	maxSuspects   = 1024 // of a run of items, each in a lease: of more, leases have several
)

// left is how many items are to be leased.
func (l *lot) left() int {
	n := l.n - l.next
	for _, r := range l.returned {
		n += r.hi - r.lo
	}
	for _, r := range l.suspects {
		n += r.hi - r.lo
	}
	return n
}

// slice is how long a lease may run, so that its message is under a tenth of that.
func (l *lot) slice() time.Duration {
	if l.chunk > 0 {
		return 0
	}
	return min(max(minSlice, 10*l.message), maxSlice)
}

// Lease takes the items of a Map.
func (ex *Executor) Lease(items *executor.Lot) {
	req := items.Request()
	l := &lot{items: items, req: req, n: items.Len(), chunk: items.ChunkSize(), losses: map[int][]string{}}
	if req.Once {
		l.chunk = 1
	}
	items.Tag = l
	if data, _, err := items.Encode(nil, 0, 1); err == nil {
		l.itemBytes = float64(len(data))
	}
	e := &entry{id: req.ID, req: req, lot: l}
	l.entry = e
	ex.mu.Lock()
	err := ex.misfit(e)
	closed := ex.closed
	if err == nil && !closed && !l.stopped {
		l.queued = true
		ex.add(e, false)
		ex.pump()
	}
	ex.mu.Unlock()
	switch {
	case err != nil:
		items.Fail(err)
	case closed:
		items.Cancel(executor.ErrClosed)
	}
}

// Stop keeps items from starting.
func (ex *Executor) Stop(items *executor.Lot, cause error) {
	l, ok := items.Tag.(*lot)
	if !ok {
		return // it was never leased
	}
	ex.mu.Lock()
	l.stopped = true
	l.next, l.returned, l.suspects = l.n, nil, nil
	if l.queued {
		ex.queue.remove(l.entry)
		l.queued = false
	}
	for _, w := range ex.workers {
		for _, e := range w.out {
			if e.lot == l {
				w.cut(e, cause)
			}
		}
	}
	drained := ex.drained(l)
	if ex.clearedFor == l.entry {
		ex.pump()
	}
	ex.mu.Unlock()
	if drained {
		ex.finishLot(l)
	}
}

// cut has a worker end a lease at the next item boundary, and the ctx of the item that
// runs with cause, if that is not nil. ex.mu is held.
func (w *worker) cut(e *entry, cause error) {
	b := binary.AppendVarint(nil, e.id)
	if cause != nil {
		b = append(b, executor.PackError(unwrapped(cause))...)
	}
	w.wire.Send(frameCut, b, nil)
}

// drained is true once, when nothing is left of a lot. mu is held.
func (ex *Executor) drained(l *lot) bool {
	if l.drained || l.active > 0 || l.left() > 0 {
		return false
	}
	l.drained = true
	if l.queued {
		ex.queue.remove(l.entry)
		l.queued = false
	}
	ex.remove(l.entry)
	return true
}

func (ex *Executor) finishLot(l *lot) {
	l.items.Drained()
	ex.mu.Lock()
	empty := ex.nothing()
	ex.empty()
	ex.mu.Unlock()
	if empty {
		ex.base.Changed()
	}
}

// carve cuts a lease off a lot: of its suspects, or of the rest. mu is held.
func (ex *Executor) carve(l *lot, suspect bool) (r leaseRun) {
	left := l.left()
	switch {
	case suspect:
		s := &l.suspects[0]
		r = leaseRun{s.lo, s.lo + 1 + (s.hi-s.lo)/maxSuspects}
		if s.lo = r.hi; s.lo == s.hi {
			l.suspects = l.suspects[1:]
		}
		return r
	case len(l.returned) > 0:
		r = l.returned[len(l.returned)-1]
		l.returned = l.returned[:len(l.returned)-1]
	default:
		r = leaseRun{l.next, l.n}
		l.next = l.n
	}
	size := l.chunk
	if size == 0 {
		slots := 0
		for _, w := range ex.workers {
			slots += w.threads
		}
		size = max(1, left/(2*max(1, slots)))
		if l.itemBytes > 0 {
			size = max(1, min(size, int(maxLeaseBytes/l.itemBytes)))
		}
	}
	if r.hi-r.lo > size {
		rest := leaseRun{r.lo + size, r.hi}
		r.hi = rest.lo
		if rest.hi == l.n && len(l.returned) == 0 && l.next == l.n {
			l.next = rest.lo
		} else {
			l.returned = append(l.returned, rest)
		}
	}
	return r
}

// leaseOut sends leases of a lot to whoever has room for one. mu is held.
func (ex *Executor) leaseOut(l *lot) {
	for l.left() > 0 {
		w, alone := ex.lessee(l)
		if w == nil {
			return
		}
		r := ex.carve(l, alone)
		data, refs, err := l.items.Encode(wire.Buffer(), r.lo, r.hi)
		if err != nil {
			l.stopped = true
			l.next, l.returned, l.suspects = l.n, nil, nil
			ex.later(func() { l.items.Fail(err) })
			return
		}
		l.itemBytes = float64(len(data)) / float64(r.hi-r.lo)
		e := &entry{id: ex.base.NewID(), req: l.req, lot: l, lo: r.lo, hi: r.hi, sentAt: time.Now(), suspect: alone}
		e.w = w
		w.out[e.id] = e
		if alone {
			ex.seclude(w, e)
		}
		w.leases++
		l.active++
		l.leases++
		l.leased += r.hi - r.lo
		ex.sent += int64(len(data))
		req := *l.req
		req.Refs = refs
		b := binary.AppendVarint(make([]byte, 0, 128), e.id)
		b = appendString(b, l.req.Function)
		keep := byte(0)
		if l.items.KeepGoing() {
			keep = 1
		}
		b = append(b, keep)
		b = binary.AppendVarint(b, int64(l.slice()))
		req.Arg = executor.Source{}
		b = appendRequest(b, &req, w.refs)
		b = binary.AppendUvarint(b[:len(b)-1], uint64(len(data))) // in the place of a length of 0
		sendFrom(w.wire, frameLease, b, data, data, func(error) {
			ex.mu.Lock()
			defer ex.mu.Unlock()
			if l.stopped {
				w.cut(e, nil)
			}
		})
	}
}

// lessee is a worker for a lease of suspects, which runs alone; else the one that has the
// most room for another; or nil. mu is held.
func (ex *Executor) lessee(l *lot) (best *worker, alone bool) {
	if len(l.suspects) > 0 {
		if w := ex.cell(l.entry); w != nil {
			return w, true
		}
	}
	if l.next == l.n && len(l.returned) == 0 {
		return nil, false
	}
	least := float64(leasesASlot)
	for _, w := range ex.workers {
		if w.shut() || !ex.suits(w, l.entry) || l.req.Once && w.load() >= w.threads {
			continue
		}
		load := float64(w.leases) / float64(w.threads)
		if free := w.leases < leasesASlot*w.threads && w.load() < leasesASlot*w.threads; free && load < least {
			best, least = w, load
		}
	}
	return best, false
}

// giveBack has items leased again. mu is held.
func (ex *Executor) giveBack(l *lot, r leaseRun, suspect bool) {
	if l.stopped || r.lo >= r.hi {
		return
	}
	if suspect {
		l.suspects = append(l.suspects, r)
	} else {
		l.returned = append(l.returned, r)
	}
	if !l.queued {
		l.queued = true
		ex.queue.push(l.entry, true)
	}
}

// leaseDone is the end of a lease.
func (w *worker) leaseDone(id int64, d *dec) error {
	took := time.Duration(d.int())
	ran := int(d.uint())
	fault := d.bytes()
	var failed []executor.ItemFailure
	for range d.count() {
		at := int(d.uint())
		failed = append(failed, executor.ItemFailure{At: at, Err: executor.UnpackError(d.bytes(), w.name)})
	}
	refs := d.sources(w.in, maxSourceDepth)
	if d.bad {
		return errMalformed
	}
	ex := w.ex
	ex.mu.Lock()
	e := w.out[id]
	if e == nil || e.lot == nil {
		ex.mu.Unlock()
		return nil
	}
	ex.leave(w, e)
	l := e.lot
	if ran > e.hi-e.lo {
		ex.mu.Unlock()
		return errMalformed
	}
	if ran == 0 && len(fault) == 0 { // it was taken back
		l.leases--
		l.leased -= e.hi - e.lo
	}
	if ran > 0 {
		w.finished += int64(ran)
		l.ran += ran
		l.work += took
		if l.leases > 2 {
			over := time.Since(e.sentAt) - took
			if over < l.message || l.message == 0 {
				l.message = over
			} else {
				l.message += (over - l.message) / 64
			}
		}
	}
	ex.giveBack(l, leaseRun{e.lo + ran, e.hi}, e.suspect)
	ex.received += int64(len(d.b))
	ex.mu.Unlock()
	if len(fault) > 0 {
		l.items.Fail(executor.UnpackError(fault, w.name))
	} else if ran > 0 {
		l.items.Deliver(w.name, e.lo, e.lo+ran, d.b, refs, failed)
	}
	ex.mu.Lock()
	l.active--
	drained := ex.drained(l)
	ex.mu.Unlock()
	if drained {
		ex.finishLot(l)
	}
	return nil
}

// loseLease has the items of a lease run again whose worker is gone. mu is held.
func (ex *Executor) loseLease(w *worker, e *entry, sole bool, cause error) func() {
	l := e.lot
	l.active--
	r := leaseRun{e.lo, e.hi}
	ex.lost += int64(r.hi - r.lo)
	if l.req.Once {
		return func() {
			l.items.Deliver(w.name, r.lo, r.lo, nil, nil, nil)
			l.items.Fail(&futures.ItemError{Index: r.lo, Err: fmt.Errorf("%w: %s, and the item may have started, which WithAtMostOnce lets it do once: %w", ErrWorkerLost, w.name, cause)})
		}
	}
	if sole && r.hi-r.lo == 1 {
		l.losses[r.lo] = append(l.losses[r.lo], w.name)
		if list := l.losses[r.lo]; len(list) >= ex.cfg.MaxLosses {
			err := &LostError{Losses: len(list), Workers: slices.Clone(list), Cause: cause}
			l.active++ // until it is told
			return func() { ex.failItem(l, r.lo, err) }
		}
	}
	if !l.stopped {
		ex.retried += int64(r.hi - r.lo)
	}
	ex.giveBack(l, r, true)
	return func() {
		ex.mu.Lock()
		drained := ex.drained(l)
		ex.mu.Unlock()
		if drained {
			ex.finishLot(l)
		}
	}
}

// failItem ends an item that has cost too many workers.
func (ex *Executor) failItem(l *lot, i int, err error) {
	l.items.FailItem(i, err)
	ex.mu.Lock()
	l.active--
	drained := ex.drained(l)
	ex.mu.Unlock()
	if drained {
		ex.finishLot(l)
	}
}

// Plan is what was decided about a Map.
func (ex *Executor) Plan(items *executor.Lot) (p futures.Plan) {
	l, ok := items.Tag.(*lot)
	if !ok {
		return p
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	p.Chunks, p.MessageCost, p.Slice = l.leases, l.message, l.slice()
	if l.leases > 0 {
		p.ItemsPerChunk = l.leased / l.leases
	}
	if l.ran > 0 {
		p.ItemCost = l.work / time.Duration(l.ran)
		if total := float64(l.work) + float64(l.leases)*float64(l.message); total > 0 {
			p.Efficiency = float64(l.work) / total
		}
	}
	return p
}
