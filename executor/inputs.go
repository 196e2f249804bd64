package executor

import (
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// A plan is what must be known of an argument's type before a task can start. It is
// found once a type, and costs nothing for the type that was submitted last.
type plan struct {
	of         reflect.Type
	references bool // values may hold futures
}

func (b *Base) look(arg reflect.Type) *plan {
	p := &plan{of: arg, references: codec.For(arg).HasReferences()}
	b.plans.Store(p)
	return p
}

// references are the futures that *arg holds.
func references[A any](b *Base, arg *A) []cell.Value {
	t := codec.TypeFor[A]()
	if !t.HasReferences() {
		return nil
	}
	var found []cell.Value
	t.References(reflect.ValueOf(arg).Elem(), func(v reflect.Value) {
		found = append(found, futures.ValueOf(v.Interface().(futures.Waiter)))
	})
	return found
}

// await queues the task when all inputs are done, or ends it as the first that failed
// did. The inputs stay pinned until the task needs them no more.
func (m *more) await(inputs []cell.Value) {
	c := m.core
	for i, in := range inputs {
		if !in.Pin() {
			m.release()
			if err := in.Base().Err(); err != nil {
				var w cell.Wave
				m.inherit(in.Base().State(), err, &w)
				w.Run()
			} else if fail(c, fmt.Errorf("executor: input %d: %w", i, futures.ErrReleased)) {
				m.settled()
			}
			return
		}
		m.inputs = append(m.inputs, in)
	}
	c.Hold()
	m.base.hold(&m.held, c)
	if m.base.shut.Load() { // Close may have looked before that
		cancelWith(c, ErrClosed)
	}
	m.missing.Store(int32(len(inputs)) + 1)
	hooks := make([]cell.Hook, len(inputs))
	var w cell.Wave
	for i, in := range inputs {
		h := &hooks[i]
		h.Do = m
		if !in.Base().AddHook(h) {
			m.arrived(in.Base(), &w)
		}
	}
	m.arrived(nil, &w) // the one that kept it from starting meanwhile
	m.mu.Lock()
	m.hooks = hooks
	m.mu.Unlock()
	w.Run()
	if m.over.Load() { // others settled it while it was made
		m.cleanUp()
	}
}

// Fire counts an input that is done.
func (m *more) Fire(h *cell.Hook, w *cell.Wave) { m.arrived(h.Core(), w) }

func (m *more) arrived(in *cell.Core, w *cell.Wave) {
	if in != nil {
		if err := in.Err(); err != nil {
			m.inherit(in.State(), err, w)
			return
		}
	}
	if m.missing.Add(-1) != 0 {
		return
	}
	if m.ready == nil {
		m.enqueue(m.core)
	} else if m.base.unlist(&m.held) {
		m.core.Unhold()
		m.ready()
		m.base.landed()
	}
}

// inherit ends the task as an input of it ended.
func (m *more) inherit(s cell.State, err error, w *cell.Wave) {
	if s == cell.Cancelled {
		m.core.Cancel(err, err, w)
	} else if m.core.Fail(err, w) {
		m.settled()
	}
}

// unhook takes the hooks out of inputs that are not done, if they are all in, and
// forgets them, since they know the inputs.
func (m *more) unhook() {
	m.mu.Lock()
	hooks := m.hooks
	m.hooks = nil
	m.mu.Unlock()
	for i := range hooks {
		hooks[i].RemoveHook()
	}
}

// release lets go of the inputs, once.
func (m *more) release() {
	m.mu.Lock()
	inputs := m.inputs
	m.inputs, m.needed = nil, nil
	m.mu.Unlock()
	for _, in := range inputs {
		in.Unpin()
	}
}
