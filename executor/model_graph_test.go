package executor_test

import (
	"context"
	"slices"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// What the model knows of tasks: each run of a function, the futures that stand for it
// (one, or with a key any number), the futures that it waits for, and the ctx that it
// was submitted with. It knows all moves but one: which of several tasks starts first.

// A modelRun is one run of a function, with all its attempts.
type modelRun struct {
	id      int
	prio    int
	retries int
	deaf    bool // does not look at its ctx
	key     string
	inputs  []*modelNode
	nodes   []*modelNode // its futures
	gate    chan order   // what the function is to do next

	state    futures.State
	begun    bool // this attempt's function was called
	returned bool // and has returned
	never    bool // cancelled by Cancel before it has begun
	attempt  int
	place    int        // among those that were ever queued
	waits    *modelNode // what the function waits for, with its slot lent
	keeps    bool       // not lent, since the wait is over at once
	inside   *modelScope
}

// A modelNode is a future.
type modelNode struct {
	run   *modelRun
	f     *futures.Future[int]
	scope *modelScope
	outs  []*modelRun // runs that have it as an input

	state    futures.State
	err      error // that it failed with, or the cause of its cancellation
	value    int
	released bool
	shown    bool // as running: with a key, from the first attempt on
}

// A modelScope is a ctx: one of the machine's own, or that of an attempt.
type modelScope struct {
	ctx   context.Context
	end   context.CancelCauseFunc
	task  bool
	nodes []*modelNode // that were submitted with it
	ended bool
	cause error
}

// An order tells a function what to do.
type order struct {
	how  string // finish, fail, panic, goexit, wait
	n    int    // the value, or which error
	wait *modelNode
}

func (r *modelRun) holds() bool { return r.begun && !r.returned && (r.waits == nil || r.keeps) }

// wantsBack reports whether the function waits for nothing any more but its slot.
func (r *modelRun) wantsBack() bool {
	return r.waits != nil && (r.waits.state.Done() || r.state.Done())
}

func (m *machine) startable(r *modelRun) bool {
	if r.state != futures.Pending || r.begun || m.dropped {
		return false
	}
	for _, in := range r.inputs {
		if in.state != futures.Finished {
			return false
		}
	}
	return true
}

// queued gives r its place in the order of submission, once its inputs are there.
func (m *machine) queued(r *modelRun) {
	if m.startable(r) {
		m.places++
		r.place = m.places
	}
}

// settleNode is the end of a future, and of what depends on it.
func (m *machine) settleNode(n *modelNode, to futures.State, err error) {
	if n.state.Done() {
		return
	}
	n.state, n.err = to, err
	for _, out := range n.outs {
		m.arrived(out, n)
	}
}

// arrived tells r of the end of an input.
func (m *machine) arrived(r *modelRun, in *modelNode) {
	if r.state.Done() {
		return
	}
	switch in.state {
	case futures.Finished:
		m.queued(r)
	case futures.Failed:
		m.settleRun(r, futures.Failed, in.err)
	case futures.Cancelled:
		m.settleRun(r, futures.Cancelled, in.err)
	}
}

// settleRun is the end of a run, and of the futures that share it.
func (m *machine) settleRun(r *modelRun, to futures.State, err error) {
	if r.state.Done() {
		return
	}
	r.state = to
	if to != futures.Finished && m.keys[r.key] == r {
		delete(m.keys, r.key)
	}
	if to == futures.Cancelled && r.begun && !r.returned {
		m.endScope(r.inside, err)
		if !r.deaf && r.waits == nil {
			r.returned = true
		}
	}
	for _, n := range r.nodes {
		m.settleNode(n, to, err)
	}
}

// cancelNode cancels one future, and the run with the last of those that share it.
func (m *machine) cancelNode(n *modelNode, cause error) {
	if n.state.Done() {
		return
	}
	m.settleNode(n, futures.Cancelled, cause)
	for _, other := range n.run.nodes {
		if !other.state.Done() {
			return
		}
	}
	m.settleRun(n.run, futures.Cancelled, cause)
}

func (m *machine) endScope(s *modelScope, cause error) {
	if s.ended {
		return
	}
	s.ended, s.cause = true, cause
	for _, n := range s.nodes {
		m.cancelNode(n, cause)
	}
}

// returns is the end of an attempt, as its order had it.
func (m *machine) returns(r *modelRun, o order) {
	r.returned = true
	m.endScope(r.inside, context.Canceled)
	if r.state.Done() {
		return
	}
	if o.how == "finish" {
		for _, n := range r.nodes {
			n.value = o.n
		}
		m.settleRun(r, futures.Finished, nil)
		return
	}
	if r.attempt <= r.retries {
		r.begun, r.returned, r.state = false, false, futures.Pending
		m.retried++
		m.queued(r)
		return
	}
	m.settleRun(r, futures.Failed, errOf(o))
}

// errOf is what the error of a task is that got the order.
func errOf(o order) error {
	if o.how == "goexit" {
		return futures.ErrGoexit
	}
	return modelErrors[o.n%len(modelErrors)]
}

// pending is how many tasks take up room under MaxPending: those that have not started.
func (m *machine) pending() (n int) {
	for _, r := range m.runs {
		if r.state == futures.Pending && r.attempt == 0 {
			n++
		}
	}
	return n
}

func (m *machine) holding() (n int) {
	for _, r := range m.runs {
		if r.holds() {
			n++
		}
	}
	return n
}

// idle reports whether nothing more can happen on the slots until the next order.
func (m *machine) idle() bool {
	if slices.ContainsFunc(m.runs, func(r *modelRun) bool { return r.keeps }) {
		return false
	}
	if m.holding() >= m.slots {
		return true
	}
	for _, r := range m.runs {
		if m.startable(r) || r.wantsBack() {
			return false
		}
	}
	return true
}

// stats is what Stats should say.
func (m *machine) stats() (s executor.Stats) {
	s.Submitted = int64(len(m.nodes))
	s.Retried = m.retried
	for _, n := range m.nodes {
		switch n.state {
		case futures.Finished:
			s.Finished++
		case futures.Failed:
			s.Failed++
		case futures.Cancelled:
			s.Cancelled++
		}
	}
	for _, r := range m.runs {
		switch {
		case r.state == futures.Cancelled && r.begun && !r.returned:
			s.Abandoned++
		case r.state == futures.Running && r.waits != nil:
			s.Waiting++
		case r.state == futures.Running:
			s.Running++
		}
	}
	s.Pending = s.Submitted - s.Finished - s.Failed - s.Cancelled - s.Running - s.Waiting
	return s
}
