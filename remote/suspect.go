package remote

import (
	"github.com/nearfar/nearfar/executor"
)

// A suspect may have cost a worker its life (G22). That is whatever the worker had when it
// was lost: that a call has begun, or ended, may have been said by a frame that was lost
// with it. Suspects run again, each alone on a worker, so that the next loss has one
// culprit; no loss counts against two. What a suspect has submitted itself may run beside
// it while it waits: if that kills, the suspect's next run would have it kill again.
// All of this is guarded by Executor.mu.

// sole is the one call that can have cost w its life, or nil.
func (w *worker) sole() *entry {
	e := w.alone
	for _, o := range w.out {
		switch {
		case e == nil:
			e = o
		case o != e && o.kin != e:
			return nil
		}
	}
	if w.calls > 0 {
		return nil
	}
	return e
}

// seclude keeps others from w, which is sent e.
func (ex *Executor) seclude(w *worker, e *entry) {
	w.alone, w.before, w.asked, w.told = e, w.lastKid, false, true
	ex.secluded++
}

// open lets others to w again.
func (ex *Executor) open(w *worker) {
	w.alone = nil
	ex.secluded--
	ex.full = false
}

// shut reports whether w is to get no more calls.
func (w *worker) shut() bool { return w.draining || w.alone != nil || w == w.ex.clearing }

// cell chooses a worker for a suspect: one that has nothing. Where there is none, one is
// kept from getting more until it has; one at a time, since others want to run as well.
func (ex *Executor) cell(e *entry) *worker {
	var busy, waits *worker
	taken := false
	for _, w := range ex.workers {
		switch {
		case w.draining || !ex.suits(w, e):
		case w.alone != nil:
			taken = true
		case len(w.out) == 0 && w.plain == 0:
			return w
		case w.load() == 0:
			waits = w
		case w.waiting == 0 && (busy == nil || w.load() < busy.load()):
			busy = w
		}
	}
	switch {
	case busy != nil:
		if ex.clearing == nil {
			ex.clearing, ex.clearedFor = busy, e
		}
		return nil
	case taken:
		return nil
	}
	return waits // there will be no other, and what it has may wait for e
}

// tendSuspects stops clearing a worker that is not to be cleared any more, and sees to
// suspects that wait.
func (ex *Executor) tendSuspects() {
	if w := ex.clearing; w != nil && (w.gone || w.draining || w.alone != nil || w.waiting > 0 || !ex.clearedFor.wantsCell()) {
		ex.clearing, ex.clearedFor = nil, nil
		ex.full = false
	}
	for _, w := range ex.workers {
		if w.alone != nil && w.alone.waiting && w.load() == 0 {
			ex.indulge(w)
		}
	}
}

// wantsCell reports whether e still is a suspect in the queue.
func (e *entry) wantsCell() bool {
	if e.lot != nil {
		return len(e.lot.suspects) > 0
	}
	return e.w == nil && !e.gone
}

// indulge sends w something that its suspect, which waits, has submitted. If there is
// nothing, none of that runs elsewhere, and the suspect still waits when it knows what has
// become of all, then it waits for others, and is not alone any more.
func (ex *Executor) indulge(w *worker) {
	for id, f := range w.kids {
		if id <= w.before {
			continue
		}
		if f == nil {
			return // it is being submitted
		}
		e, ok := f.Call().Tag().(*entry)
		switch {
		case !ok || e.waiting: // it has inputs to wait for, or runs elsewhere and waits
		case e.gone || e.w != nil: // the suspect will be told, or it runs
			return
		case ex.tasks[e.id] == e && ex.suits(w, e) && !w.draining && ex.here(e):
			ex.queue.remove(e)
			e.kin = w.alone
			ex.sendTo(w, e)
			return
		}
	}
	switch {
	case w.asked:
	case w.told:
		// It runs, so this comes back, and behind its frameResumed if that is on its way.
		w.asked, w.told = true, false
		w.wire.Send(frameTake, appendCall(nil, w.alone), nil)
	default:
		ex.open(w)
	}
}

// answered is told that w has begun e, which is what it answers when it was asked.
func (w *worker) answered(e *entry) {
	if w.alone == e {
		w.asked = false
	}
}

// toldOf notes that w knows what has become of a call that a task there has submitted.
func (w *worker) toldOf(child uint64, f *executor.Foreign, kept bool) {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if _, ok := w.kids[child]; !ok {
		return
	}
	delete(w.kids, child)
	if kept {
		w.kept[child] = f
	}
	if w.alone != nil {
		w.told = true
		w.ex.pump()
	}
}

// here reports whether what e needs is there.
func (ex *Executor) here(e *entry) bool {
	for _, s := range e.inputs {
		if !ex.restore(s) {
			return false
		}
	}
	return true
}
