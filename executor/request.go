package executor

import (
	"errors"
	"time"
)

// What a Backend that runs its calls elsewhere needs of them. Such a backend sends the
// Request of a call that was enqueued, and then calls Begin when it knows that the
// call's function has started, and in the end one of Deliver, DeliverStored,
// DeliverError and Withdraw. It may do so without having called Begin.

// A Request is what is to be known of a call where it runs.
type Request struct {
	ID       int64  // of the task: see TaskInfo
	Function string // the name it is registered by
	Name     string // of WithName, or ""
	Key      string
	Attempt  int // from 1
	Priority int
	Timeout  time.Duration
	Workers  []string      // of WithWorkers
	Kill     time.Duration // of WithKillAfter
	Once     bool          // WithAtMostOnce
	Home     bool          // the value is wanted in this process, whatever its size
	Arg      Source
	Refs     []Source // the values of the futures in the argument, in the order of package codec
}

// Request describes the call. Its inputs are there. It is an error if the call is over,
// and its argument gone with it.
func (c *Call) Request() (*Request, error) {
	w := c.work()
	m := w.more()
	if !m.describe() {
		return nil, errOver
	}
	defer m.described()
	if m.id.Load() == 0 {
		m.ID()
	}
	r := &Request{
		ID: m.id.Load(), Function: m.fn.registered, Name: m.opts.name, Key: m.opts.key,
		Attempt: int(m.attempt.Load()) + 1, Priority: m.opts.priority, Timeout: m.opts.timeout,
		Workers: m.opts.workers, Kill: m.opts.killAfter, Once: m.opts.has(givenAtMostOnce),
	}
	if h, ok := w.(interface{ home() bool }); ok {
		r.Home = h.home()
	}
	var err error
	r.Arg, r.Refs, err = w.sources(m)
	return r, err
}

var errOver = errors.New("executor: the call is over")

// describe keeps the argument and the inputs until described, whatever becomes of the
// call meanwhile. It is false if they may be gone.
func (m *more) describe() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.describing = !m.over.Load() // which is set before cleanUp looks
	return m.describing
}

func (m *more) described() {
	m.mu.Lock()
	m.describing = false
	m.mu.Unlock()
	if m.over.Load() {
		m.release()
		m.forget()
	}
}
