package executor_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func (m *machine) newRun(t *rapid.T) *modelRun {
	return &modelRun{gate: make(chan order, 1), deaf: rapid.IntRange(0, 3).Draw(t, "deaf") == 0}
}

func (m *machine) newNode(s *modelScope, r *modelRun, f *futures.Future[int]) *modelNode {
	n := &modelNode{run: r, f: f, scope: s}
	m.nodes = append(m.nodes, n)
	return n
}

func (m *machine) options(t *rapid.T, r *modelRun) (opts []executor.Option) {
	if m.bound > 0 {
		opts = append(opts, executor.WithNoWait())
	}
	if rapid.Bool().Draw(t, "plain") {
		return opts
	}
	if r.prio = rapid.IntRange(-1, 1).Draw(t, "priority"); r.prio != 0 {
		opts = append(opts, executor.WithPriority(r.prio))
	}
	if r.retries = rapid.IntRange(0, 2).Draw(t, "retries"); r.retries != 0 {
		opts = append(opts, executor.WithRetries(r.retries))
	}
	if rapid.Bool().Draw(t, "timed") {
		opts = append(opts, executor.WithTimeout(time.Hour))
	}
	return opts
}

// full reports whether a submit finds no room.
func (m *machine) full(s *modelScope) bool {
	return m.bound > 0 && !s.task && m.pending() >= m.bound
}

func (m *machine) submit(t *rapid.T, r *modelRun, inputs []*modelNode, submit func(context.Context, ...executor.Option) *futures.Future[int]) {
	s := m.anyScope(t)
	full := m.full(s)
	f := submit(s.ctx, m.options(t, r)...)
	r.inputs = inputs
	if s.ended || m.refusing || full {
		m.admitted(m.newNode(s, r, f), full)
		return
	}
	m.joined(s, r, f)
}

// admitted settles a future that was refused, if it was.
func (m *machine) admitted(n *modelNode, full bool) bool {
	switch {
	case n.scope.ended:
		m.settleNode(n, futures.Cancelled, n.scope.cause)
	case m.refusing:
		m.settleNode(n, futures.Failed, executor.ErrClosed)
	case full:
		m.settleNode(n, futures.Failed, executor.ErrFull)
	}
	return !n.state.Done()
}

// joined makes f the future of a new run, which was submitted with s.
func (m *machine) joined(s *modelScope, r *modelRun, f *futures.Future[int]) {
	n := m.newNode(s, r, f)
	if !m.admitted(n, false) {
		return
	}
	r.id = len(m.runs)
	m.runs = append(m.runs, r)
	r.nodes = append(r.nodes, n)
	s.nodes = append(s.nodes, n)
	for _, in := range r.inputs {
		switch {
		case in.released && (in.state == futures.Failed || in.state == futures.Cancelled):
			m.arrived(r, in)
		case in.released:
			m.settleRun(r, futures.Failed, futures.ErrReleased)
		}
	}
	for _, in := range r.inputs {
		in.outs = append(in.outs, r)
		if in.state.Done() {
			m.arrived(r, in)
		}
	}
	if len(r.inputs) == 0 {
		m.queued(r)
	}
}

func (m *machine) anyScope(t *rapid.T) *modelScope {
	scopes := slices.Clone(m.scopes)
	for _, r := range m.runs {
		if r.inside != nil {
			scopes = append(scopes, r.inside)
		}
	}
	return rapid.SampledFrom(scopes).Draw(t, "scope")
}

func (m *machine) anyNode(t *rapid.T) *modelNode {
	if len(m.nodes) == 0 {
		t.Skip("no future")
	}
	return m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(t, "future")]
}

// anyAtGate is a run whose function takes orders.
func (m *machine) anyAtGate(t *rapid.T) *modelRun {
	var at []*modelRun
	for _, r := range m.runs {
		if r.holds() {
			at = append(at, r)
		}
	}
	if len(at) == 0 {
		t.Skip("nothing runs")
	}
	return at[rapid.IntRange(0, len(at)-1).Draw(t, "run")]
}

// Check lets what was started come to rest, and compares.
func (m *machine) Check(t *rapid.T) {
	patience := time.Now().Add(20 * time.Second)
	for spins := 0; ; spins++ {
		m.absorb(t)
		wrong := m.compare()
		if wrong == "" {
			if wrong = m.outOfTurn(); wrong != "" {
				t.Fatalf("%s\n%s", wrong, m)
			}
			m.fresh, m.before = nil, m.places
			return
		}
		if time.Now().After(patience) {
			t.Fatalf("%s\n%s", wrong, m)
		}
		if runtime.Gosched(); spins > 100 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// String describes all runs.
func (m *machine) String() string {
	var b strings.Builder
	for _, r := range m.runs {
		fmt.Fprintf(&b, "run %d: %v, begun %v, returned %v, attempt %d, waits %v, priority %d, deaf %v, key %q, %v\n",
			r.id, r.state, r.begun, r.returned, r.attempt, r.waits != nil, r.prio, r.deaf, r.key, r.nodes[0].f)
	}
	return b.String()
}

// absorb brings the model up to what functions did.
func (m *machine) absorb(t *rapid.T) {
	m.mu.Lock()
	log := m.log
	m.log = nil
	m.mu.Unlock()
	for _, e := range log {
		r, before := e.run, m.holding()
		if e.woke {
			m.woke(t, r, e)
		} else {
			m.started(t, r, e)
		}
		limit := m.slots
		if e.woke { // slots that are to go may serve those that have started first
			limit = m.most
		}
		if now := m.holding(); now > before && now > limit {
			t.Fatalf("run %d goes on without a slot: %d of %d", r.id, now, limit)
		}
	}
}

func (m *machine) started(t *rapid.T, r *modelRun, e modelEvent) {
	if r.key != "" && r.state == futures.Cancelled && !r.begun && !r.never {
		// The run of a key is not itself under the ctx that ended; it hears of it soon.
		r.begun, r.returned, r.inside = true, !r.deaf, &modelScope{ctx: e.ctx, task: true, ended: true, cause: context.Canceled}
		return
	}
	if len(r.nodes) == 0 || !m.startable(r) {
		t.Fatalf("run %d starts, which is %v, begun %v", r.id, r.state, r.begun)
	}
	var want []int
	for _, in := range r.inputs {
		want = append(want, in.value)
	}
	if e.err != nil || !slices.Equal(e.got, want) {
		t.Fatalf("run %d got %v, not %v (%v)", r.id, e.got, want, e.err)
	}
	r.begun, r.state = true, futures.Running
	r.attempt++
	m.fresh = append(m.fresh, r)
	for _, n := range r.nodes {
		n.shown = true
	}
	r.inside = &modelScope{ctx: e.ctx, task: true}
}

// outOfTurn says which of the runs that have started now came before its turn: there
// was one that could have started, and still could. When slots are lent, or come and
// go, what they had taken ahead may be elsewhere.
func (m *machine) outOfTurn() string {
	for _, r := range m.fresh {
		for _, other := range m.runs {
			switch {
			case m.lending || !m.startable(other) || other.place > m.before:
			case other.prio > r.prio || other.prio == r.prio && other.place < r.place && m.most == 1:
				return fmt.Sprintf("run %d started before run %d", r.id, other.id)
			}
		}
	}
	return ""
}

func (m *machine) woke(t *rapid.T, r *modelRun, e modelEvent) {
	if !r.wantsBack() {
		t.Fatalf("run %d wakes, which is %v, before what it waits for is done", r.id, r.state)
	}
	on := r.waits
	r.waits, r.keeps = nil, false
	if r.state.Done() {
		r.returned = !r.deaf
	}
	switch {
	case !on.state.Done():
		if e.err == nil {
			t.Fatalf("run %d was cancelled, and its wait gave no error", r.id)
		}
	case on.state == futures.Finished && !on.released:
		if e.err != nil || e.got[0] != on.value {
			t.Fatalf("run %d got %d (%v), not %d", r.id, e.got[0], e.err, on.value)
		}
	case on.state != futures.Finished && !r.state.Done():
		if problem := m.wrongError(on, e.err); problem != "" {
			t.Fatalf("run %d waited for that of %d: %s", r.id, on.run.id, problem)
		}
	}
}

// compare says what is not, or not yet, as the model has it.
func (m *machine) compare() string {
	if !m.idle() {
		return fmt.Sprintf("%d of %d slots are at work, and something could go on", m.holding(), m.slots)
	}
	for i, n := range m.nodes {
		state := n.state
		if state == futures.Pending && (n.run.state == futures.Running || n.run.key != "" && n.shown) {
			state = futures.Running
		}
		if got := n.f.State(); got != state {
			return fmt.Sprintf("future %d of run %d is %v, not %v (%v)", i, n.run.id, got, state, n.f.Err())
		}
		if n.f.Key() != n.run.key && n.run.key != "" {
			return fmt.Sprintf("future %d has the key %q, not %q", i, n.f.Key(), n.run.key)
		}
		if wrong := m.wrongError(n, n.f.Err()); wrong != "" {
			return fmt.Sprintf("future %d of run %d: %s", i, n.run.id, wrong)
		}
		if !state.Done() {
			continue
		}
		if wrong := m.wrongOutcome(n); wrong != "" {
			return fmt.Sprintf("future %d of run %d: %s", i, n.run.id, wrong)
		}
	}
	for _, r := range m.runs {
		if r.inside != nil && r.inside.ended != (r.inside.ctx.Err() != nil) {
			return fmt.Sprintf("the ctx of run %d: %v, %v, and the model has %v", r.id, r.inside.ctx.Err(), context.Cause(r.inside.ctx), r.inside.ended)
		}
	}
	got, want := m.ex.Stats(), m.stats()
	got.Workers = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("Stats is\n%+v, not\n%+v", got, want)
	}
	for i, w := range m.waiters {
		if w.done || !w.node.state.Done() {
			continue
		}
		select {
		case o := <-w.out:
			w.done = true
			if wrong := m.wrongValue(w.node, o); wrong != "" {
				return fmt.Sprintf("waiter %d: %s", i, wrong)
			}
		default:
			return fmt.Sprintf("waiter %d has not woken", i)
		}
	}
	return m.observer.compare(m)
}

// end closes the executor and lets all functions go: everything is resolved then.
func (m *machine) end(t *rapid.T) {
	if !m.dropped {
		m.close(m.ex.Close)
		m.awaitRefusal()
		m.drop()
	}
	m.Check(t)
	for m.holding() > 0 { // each may let another one wake
		for _, r := range m.runs {
			if r.holds() {
				r.gate <- order{how: "finish"}
				m.returns(r, order{how: "finish"})
				m.Check(t)
			}
		}
	}
	for _, out := range m.closers {
		if err := <-out; err != nil {
			t.Fatalf("Close or Shutdown: %v", err)
		}
	}
	m.Check(t)
	for i, n := range m.nodes {
		if !n.state.Done() {
			t.Fatalf("future %d is %v after Close", i, n.state)
		}
	}
	if s := m.ex.Stats(); s.Pending+s.Running+s.Waiting+s.Abandoned != 0 {
		t.Fatalf("after Close: %+v", s)
	}
}

// abort lets all functions go, whatever they wait for, after a failure.
func (m *machine) abort() {
	go m.ex.Close()
	for _, r := range m.runs {
		select {
		case r.gate <- order{how: "finish"}:
		default:
		}
	}
}

// An executor does what its model does, whatever the order of events.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		ended := false
		defer func() {
			if !ended {
				m.abort()
			}
		}()
		t.Repeat(rapid.StateMachineActions(m))
		m.end(t)
		ended = true
	})
}
