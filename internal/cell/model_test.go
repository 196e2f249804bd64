package cell_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/internal/cell"
)

// A machine is a core, all that may happen to it in one goroutine, and what a plain
// model of it expects.
type machine struct {
	c     *cell.Cell[int]
	owner *owner
	end   context.CancelCauseFunc // of the ctx from outside; nil if it cannot end
	task  *cell.Scope             // of the task that submitted c; nil if that came from outside

	// The model.
	state    cell.State
	err      error // of a Failed or Cancelled core, or its cause
	held     bool
	marked   bool
	slot     int
	released bool
	pins     int
	value    int // that was set
	hooks    []*hookModel
	settling []string
	ended    error // the cause, once the ctx has ended and nobody has looked
	chans    []<-chan struct{}
	attempts int
}

type hookModel struct {
	probe
	in  bool // listed, and not taken out
	due int  // how often it should have been fired
}

func newMachine(t *rapid.T) *machine {
	m := &machine{c: &cell.Cell[int]{}, owner: &owner{}}
	m.c.Owner = m.owner
	switch rapid.SampledFrom([]string{"promise", "background", "ctx", "task"}).Draw(t, "scope") {
	case "background":
		m.c.Scope = under(context.Background())
	case "ctx":
		ctx, end := context.WithCancelCause(context.Background())
		m.c.Scope, m.end = under(ctx), end
	case "task":
		ctx, end := context.WithCancelCause(context.Background())
		parent := &cell.Core{Scope: under(ctx)}
		parent.Start(0)
		m.task, m.end = taskScope(parent), end
		m.c.Scope = m.task
	}
	return m
}

// settle is the model's part of a move into a final state.
func (m *machine) settle(to cell.State, err error) {
	if to != cell.Finished {
		m.settling = append(m.settling, fmt.Sprintf("%d>%d", m.state, to))
	}
	m.state, m.err = to, err
	for _, h := range m.hooks {
		if h.in {
			h.in, h.due = false, h.due+1
		}
	}
}

// look is what any look at the state does if the ctx has ended.
func (m *machine) look() {
	if m.ended != nil && !m.state.Done() {
		m.settle(cell.Cancelled, m.ended)
	}
}

func (m *machine) Start(t *rapid.T) {
	slot := rapid.IntRange(0, cell.MaxSlots-1).Draw(t, "slot")
	m.look()
	ok := m.runnable() && m.c.Start(slot)
	want := m.state == cell.Pending && !m.held
	expect(t, want, ok)
	if ok {
		m.state, m.slot = cell.Running, slot
		m.attempts++
	}
}

func (m *machine) runnable() bool {
	if m.c.Scope == nil { // nobody asks that of a promise
		return m.c.Startable()
	}
	return m.c.Runnable()
}

func (m *machine) Again(t *rapid.T) {
	m.look()
	expect(t, m.state == cell.Running, m.c.Again())
	if m.state == cell.Running {
		m.state, m.slot = cell.Pending, 0
	}
}

func (m *machine) Finish(t *rapid.T) {
	m.look()
	if m.state != cell.Running {
		t.Skip("only who runs it may")
	}
	m.value = rapid.IntRange(1, 9).Draw(t, "value")
	if rapid.Bool().Draw(t, "with") {
		wave(func(w *cell.Wave) { expect(t, true, m.c.FinishWith(m.value, w)) })
	} else {
		m.c.Set(m.value)
		expect(t, true, finish(&m.c.Core))
		m.c.Finished()
	}
	m.settle(cell.Finished, nil)
}

func (m *machine) Promise(t *rapid.T) {
	m.look()
	v := rapid.IntRange(1, 9).Draw(t, "value")
	wave(func(w *cell.Wave) { expect(t, m.state == cell.Pending, m.c.OpenWith(v, w)) })
	if m.state == cell.Pending {
		m.value = v
		m.settle(cell.Finished, nil)
	}
}

func (m *machine) Fail(t *rapid.T) {
	err := fmt.Errorf("failure %d", rapid.IntRange(0, 9).Draw(t, "n"))
	m.look()
	expect(t, !m.state.Done(), fail(&m.c.Core, err))
	if !m.state.Done() {
		m.settle(cell.Failed, err)
	}
}

func (m *machine) Cancel(t *rapid.T) {
	m.look()
	expect(t, !m.state.Done(), cancel(&m.c.Core, errStop))
	if !m.state.Done() {
		m.settle(cell.Cancelled, errStop)
	}
}

func (m *machine) CancelPending(t *rapid.T) {
	m.look()
	wave(func(w *cell.Wave) { expect(t, m.state == cell.Pending, m.c.CancelPending(errStop, w)) })
	if m.state == cell.Pending {
		m.settle(cell.Cancelled, errStop)
	}
}

func (m *machine) Hold(*rapid.T)   { m.c.Hold(); m.held = true }
func (m *machine) Unhold(*rapid.T) { m.c.Unhold(); m.held = false }
func (m *machine) Mark(*rapid.T)   { m.c.Mark(); m.marked = true }

func (m *machine) AddHook(t *rapid.T) {
	h := &hookModel{}
	h.Do = &h.probe
	m.look()
	h.in = m.c.AddHook(&h.Hook)
	expect(t, !m.state.Done(), h.in)
	m.hooks = append(m.hooks, h)
}

func (m *machine) RemoveHook(t *rapid.T) {
	if len(m.hooks) == 0 {
		t.Skip("none")
	}
	h := rapid.SampledFrom(m.hooks).Draw(t, "hook")
	m.settledByNow()
	expect(t, h.in, h.RemoveHook())
	h.in = false
}

func (m *machine) Done(*rapid.T) { m.look(); m.chans = append(m.chans, m.c.Done()) }

func (m *machine) EndCtx(t *rapid.T) {
	if m.end == nil {
		t.Skip("it cannot end")
	}
	m.end(errStop)
	if m.ended == nil {
		m.ended = errStop
	}
}

// EndTask is the return of the function that submitted c.
func (m *machine) EndTask(t *rapid.T) {
	if m.task == nil {
		t.Skip("no task")
	}
	wave(func(w *cell.Wave) { m.task.End(context.Canceled, w) })
	if m.ended == nil {
		m.ended = context.Canceled
	}
}

func (m *machine) Release(*rapid.T) { m.c.Release(); m.released = true }

func (m *machine) Pin(t *rapid.T) {
	expect(t, !m.released, m.c.Pin())
	if !m.released {
		m.pins++
	}
}

func (m *machine) Unpin(t *rapid.T) {
	if m.pins == 0 {
		t.Skip("not pinned")
	}
	m.c.Unpin()
	m.pins--
}

// settledByNow looks at the state, so that the end of the ctx has been noticed.
func (m *machine) settledByNow() {
	m.look()
	m.c.State()
}

func (m *machine) Check(t *rapid.T) {
	m.look()
	expect(t, m.state, m.c.State())
	expect(t, m.state.Done(), m.c.Settled())
	expect(t, m.marked, m.c.Marked())
	expect(t, m.state == cell.Pending && !m.held, m.runnable())
	if m.state == cell.Running {
		expect(t, m.slot, m.c.Slot())
	}
	switch err := m.c.Err(); m.state {
	case cell.Failed:
		expect(t, m.err, err)
	case cell.Cancelled:
		if !errors.Is(err, m.err) {
			t.Fatalf("cancelled with %v, not %v", err, m.err)
		}
	default:
		expect(t, error(nil), err)
	}

	// The one that was first to notice the end of the ctx may be another goroutine,
	// which is on its way.
	for _, h := range m.hooks {
		for h.fired() < h.due {
			runtime.Gosched()
		}
		expect(t, h.due, h.fired())
	}
	for _, ch := range m.chans {
		if m.state.Done() {
			<-ch
			continue
		}
		select {
		case <-ch:
			t.Fatal("Done is closed too early")
		default:
		}
	}
	settling, cancelled := m.owner.told()
	for m.state == cell.Cancelled && len(cancelled) == 0 {
		runtime.Gosched()
		settling, cancelled = m.owner.told()
	}
	if !slices.Equal(m.settling, settling) {
		t.Fatalf("told of %v, not %v", settling, m.settling)
	}
	expect(t, m.state == cell.Cancelled, len(cancelled) == 1)

	v, ok := m.c.Get()
	expect(t, m.state == cell.Finished && !m.released, ok)
	if ok {
		expect(t, m.value, v)
	}
	if v, ok := m.c.GetPinned(); ok {
		if m.released && m.pins == 0 {
			expect(t, 0, v) // dropped
		} else {
			expect(t, m.value, v)
		}
	}
	expect(t, m.released, m.c.Released())
	if m.released {
		expect(t, 1, m.owner.released)
	}
}

func expect[T comparable](t *rapid.T, want, got T) {
	t.Helper()
	if want != got {
		t.Fatalf("want %v, got %v", want, got)
	}
}

// A core does what its model does, whatever the order of events.
func TestCoreModel(t *testing.T) {
	watch(t)
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(newMachine(t)))
	})
}
