package executor

import (
	"time"

	"github.com/nearfar/nearfar/futures"
)

// An Observer is told what happens to tasks, as it happens and on the goroutine where
// it does: its functions must be quick, and may be called by many at once. Any may be
// nil. An executor without an Observer pays nothing for it.
type Observer struct {
	Submitted  func(Event) // a task was submitted, or a Map, with all its items
	Started    func(Event) // an attempt has started, or a chunk of a Map
	Finished   func(Event) // a task has its outcome, whatever that is; or a chunk of a Map has run
	Moved      func(Event) // a value went from one process to another
	WorkerUp   func(Event) // a worker can be given tasks
	WorkerDown func(Event) // and cannot any more; Err says why
}

// An Event is what an Observer is told. Fields that mean nothing for an event are zero.
type Event struct {
	Time    time.Time
	ID      string // of the task: see TaskInfo
	Key     string
	Name    string
	Worker  string
	Slot    int           // of the worker, from 0; Started and Finished
	Attempt int           // from 1; Started and Finished
	Items   int           // of a Map; 1 for any other task
	State   futures.State // Finished: what the task has become
	Err     error         // Finished: its error; WorkerDown: the reason
	Bytes   int64         // Moved
}

// eventKind says which function of the Observer an event is for.
type eventKind int

const (
	eventSubmitted eventKind = iota
	eventStarted
	eventFinished
)

func (o *Observer) function(kind eventKind) func(Event) {
	switch kind {
	case eventSubmitted:
		return o.Submitted
	case eventStarted:
		return o.Started
	case eventFinished:
		return o.Finished
	}
	return nil
}

// observe tells the Observer, if there is one, about a task.
func (b *Base) observe(kind eventKind, m *more, err error) {
	if b.cfg.Observer == nil || m.hidden && m.run == nil && kind == eventSubmitted {
		return
	}
	info := m.info()
	e := Event{
		ID: info.ID, Key: info.Key, Name: info.Name, Items: 1, Err: err,
	}
	if kind == eventFinished { // a look at the state before that might be its end
		e.State = futures.State(m.core.State())
	}
	if kind != eventSubmitted {
		e.Worker, e.Attempt, e.Slot = info.Worker, info.Attempt, m.core.Slot()
	}
	b.tell(kind, e)
}

func (b *Base) tell(kind eventKind, e Event) {
	if o := b.cfg.Observer; o != nil {
		if f := o.function(kind); f != nil {
			e.Time = time.Now()
			f(e)
		}
	}
}
