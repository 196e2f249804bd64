package executor

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
)

// A keyTable has the runs that submits share by key.
type keyTable struct {
	mu   sync.Mutex
	runs map[string]*keyRun
}

// A keyRun is one run of a task, hidden behind the futures of those that share it.
// It is in the table from its submit until it has failed or was cancelled, or until
// the last of the futures is gone.
type keyRun struct {
	table *keyTable
	key   string
	fn    *function
	value cell.Value // of the task that runs
	core  *cell.Core // its inside
	drop  func()     // releases its value

	// Guarded by table.mu.
	end    error                   // why the run is to end
	refs   int                     // futures that were neither cancelled, released nor collected
	unmade map[*cell.Core]struct{} // those that have no outcome
}

// A keyRef is the future of one submit.
type keyRef[R any] struct {
	futures.Future[R]
	key   string
	run   *keyRun       // nil if there was none to be had
	from  *cell.Cell[R] // the run's
	base  *Base
	gone  *atomic.Bool // counts in run.refs no more
	hook  cell.Hook
	watch cell.Watch
	wired atomic.Bool // hook and watch are listed, as far as they will be
}

// submitKeyed submits t, the task of w, under its key: it runs, behind a future that
// shares it, unless there is a run to share already.
func submitKeyed[A, R any](ctx context.Context, b *Base, t *task[A, R], w work, m *more, inputs []cell.Value) *futures.Future[R] {
	ref := &keyRef[R]{key: m.opts.key, base: b, gone: new(atomic.Bool)}
	c := futures.CellOf(&ref.Future)
	c.Owner, c.Scope = ref, t.core().Scope
	b.submitted.Add(1)
	if c.Ended() {
		return &ref.Future
	}
	// The run is nobody's in particular: it ends with the last future.
	s := &scope{ctx: context.WithoutCancel(ctx), ex: hostOf(c.Scope).ex, base: b}
	s.Init(s.ctx, s)
	t.core().Scope = &s.Scope
	m.first.init(m.core, (*callContext)(m.core), s)
	m.hidden = true

	run, fresh, err := b.share(ctx, t.cell(), w, m, t.cell().Release)
	if err != nil {
		fail(&c.Core, err)
		return &ref.Future
	}
	ref.run = run
	if from, ok := run.value.(*cell.Cell[R]); ok {
		ref.from = from
	} else {
		ref.from = convert[R](b, run)
	}
	runtime.AddCleanup(ref, func(r gone) { r.run.release(r.flag) }, gone{run, ref.gone})
	run.join(&c.Core)
	if fresh {
		b.submit(s.ctx, w, m, nil, inputs)
	}
	ref.hook.Do, ref.watch.On = ref, ref
	if !c.Scope.Watch(&ref.watch) {
		c.Ended()
	}
	if !ref.from.AddHook(&ref.hook) {
		var wave cell.Wave
		ref.Fire(nil, &wave)
		wave.Run()
	}
	ref.wired.Store(true)
	if c.Settled() {
		ref.unwire()
	}
	return &ref.Future
}

// A converted is the value of a run that a task elsewhere began, which is encoded.
type converted[R any] struct {
	cell.Cell[R]
	hook cell.Hook
	base *Base
	run  *keyRun
}

func convert[R any](b *Base, run *keyRun) *cell.Cell[R] {
	v := &converted[R]{base: b, run: run}
	v.Owner = v
	v.hook.Do = v
	if !run.core.AddHook(&v.hook) {
		var w cell.Wave
		v.Fire(nil, &w)
		w.Run()
	}
	return &v.Cell
}

func (v *converted[R]) Fire(_ *cell.Hook, w *cell.Wave) {
	switch err := v.run.core.Err(); {
	case v.run.core.State() == cell.Cancelled:
		v.Cancel(err, err, w)
	case err != nil:
		v.Fail(err, w)
	default:
		v.OpenAway(w)
	}
}

func (v *converted[R]) Run(any)                                 {}
func (v *converted[R]) Settling(cell.State, cell.State)         {}
func (v *converted[R]) Cancelled(cell.State, error, *cell.Wave) {}
func (v *converted[R]) Key() string                             { return v.run.key }
func (v *converted[R]) Why() string                             { return "" }
func (v *converted[R]) Released()                               {}

// Source is where the run's value is.
func (v *converted[R]) Source() cell.Source {
	s := v.run.value.Source()
	if r, ok := s.Here.(*raw); ok {
		return cell.Source{Stored: &storedAt{v.base, encoded{r.data, v.run.core.Owner.(*Foreign).refs}}}
	}
	return s
}

// Fetch decodes it.
func (v *converted[R]) Fetch(ctx context.Context) error {
	s := v.Source()
	val, err := v.base.load(ctx, Source{Stored: s.Stored.(*storedAt).stored}, reflect.TypeFor[R]())
	if err == nil {
		v.Arrive(val.Interface().(R))
	}
	return err
}

// gone is what is left of a keyRef that was collected.
type gone struct {
	run  *keyRun
	flag *atomic.Bool
}

// share finds the run of a key, with a reference for the caller, or makes one of t.
func (b *Base) share(ctx context.Context, value cell.Value, w work, m *more, drop func()) (run *keyRun, fresh bool, err error) {
	if b.closed.Load() {
		return nil, false, ErrClosed
	}
	k := &b.keys
	fn := w.function()
	k.mu.Lock()
	run = k.runs[m.opts.key]
	if run == nil { // room is taken for a run, not for sharing one
		k.mu.Unlock()
		if err := b.enterRoom(ctx, m); err != nil {
			return nil, false, err
		}
		k.mu.Lock()
		if run = k.runs[m.opts.key]; run != nil {
			b.leaveRoom(m)
		}
	}
	defer k.mu.Unlock()
	if run == nil {
		run = &keyRun{
			table: k, key: m.opts.key, fn: fn, value: value, core: m.core, drop: drop, unmade: map[*cell.Core]struct{}{},
		}
		m.run = run
		if k.runs == nil {
			k.runs = map[string]*keyRun{}
		}
		k.runs[run.key] = run
		fresh = true
	} else if run.fn.id != fn.id {
		return nil, false, fmt.Errorf("%w: %q is that of %s", ErrKeyConflict, run.key, run.fn.place())
	}
	run.refs++
	return run, fresh, nil
}

// join has c show that the run has started, once it has.
func (run *keyRun) join(c *cell.Core) {
	run.table.mu.Lock()
	defer run.table.mu.Unlock()
	run.unmade[c] = struct{}{}
	if run.core.State() == cell.Running {
		c.Start(0)
	}
}

// started shows all futures as running.
func (run *keyRun) started() {
	run.table.mu.Lock()
	defer run.table.mu.Unlock()
	for c := range run.unmade {
		c.Start(0)
	}
}

// cancel ends one future's share, once. The last one ends the run.
func (run *keyRun) cancel(flag *atomic.Bool, cause error) {
	if run.leave(flag, cause) && !run.core.Settled() {
		cancelWith(run.core, cause)
	}
}

// release ends one future's share, once. The last one lets the value go, when it is there.
func (run *keyRun) release(flag *atomic.Bool) {
	if run.leave(flag, nil) {
		run.drop()
	}
}

// leave is true for the last to go, with which the key is free. cause is not nil if
// the run is to end with it.
func (run *keyRun) leave(flag *atomic.Bool, cause error) (last bool) {
	run.table.mu.Lock()
	defer run.table.mu.Unlock()
	if !flag.CompareAndSwap(false, true) {
		return false
	}
	run.refs--
	if run.refs > 0 {
		return false
	}
	run.end = cause
	run.forgetLocked()
	return true
}

// look has the futures notice it if their ctxs have ended, and ends the run if that was
// the last of them, since whoever has noticed before may not have come to it yet.
func (run *keyRun) look() {
	run.table.mu.Lock()
	cores := slices.Collect(maps.Keys(run.unmade))
	run.table.mu.Unlock()
	var w cell.Wave
	for _, c := range cores {
		if c.Ended() {
			c.Owner.Cancelled(cell.Pending, c.Scope.Cause(), &w)
		}
	}
	w.Run()
	run.table.mu.Lock()
	end := run.end
	run.table.mu.Unlock()
	if end != nil {
		cancelWith(run.core, end)
	}
}

// forgetLocked frees the key for another run.
func (run *keyRun) forgetLocked() {
	if run.table.runs[run.key] == run {
		delete(run.table.runs, run.key)
	}
}

func (run *keyRun) forget() {
	run.table.mu.Lock()
	defer run.table.mu.Unlock()
	run.forgetLocked()
}

// Fire gives the future the run's outcome.
func (ref *keyRef[R]) Fire(_ *cell.Hook, w *cell.Wave) {
	c := futures.CellOf(&ref.Future)
	ref.unwire()
	switch err := ref.from.Err(); {
	case ref.from.State() == cell.Cancelled:
		c.Cancel(err, err, w)
	case err != nil:
		c.Fail(err, w)
	case ref.from.Away():
		c.Start(0)
		ref.base.finished.Add(1)
		won, fire := c.FinishAway()
		if !won {
			ref.base.finished.Add(-1)
		}
		if fire {
			c.Fire()
		}
		c.Finished()
	default:
		v, _ := ref.from.GetPinned()
		c.Start(0)
		ref.base.finished.Add(1)
		if !c.FinishWith(v, w) {
			ref.base.finished.Add(-1)
		}
	}
}

// unwire lets go of the run, for a future that has an outcome.
func (ref *keyRef[R]) unwire() {
	if !ref.wired.Load() {
		return // who wires does it
	}
	ref.hook.RemoveHook()
	ref.watch.Stop()
	ref.run.table.mu.Lock()
	delete(ref.run.unmade, &futures.CellOf(&ref.Future).Core)
	ref.run.table.mu.Unlock()
}

// ScopeEnded cancels the future, and only that.
func (ref *keyRef[R]) ScopeEnded(s *cell.Scope, w *cell.Wave) {
	cause := s.Cause()
	futures.CellOf(&ref.Future).Cancel(cell.CancelError(cause), cause, w)
}

// The future's owner.

func (ref *keyRef[R]) Run(any) {}

func (ref *keyRef[R]) Settling(_, to cell.State) {
	if to == cell.Failed {
		ref.base.failed.Add(1)
	} else {
		ref.base.cancelled.Add(1)
	}
}

func (ref *keyRef[R]) Cancelled(_ cell.State, cause error, _ *cell.Wave) {
	if ref.run == nil {
		return
	}
	ref.unwire()
	if cause == nil { // of Cancel(nil)
		cause = context.Canceled
	}
	ref.run.cancel(ref.gone, cause)
}

func (ref *keyRef[R]) Key() string { return ref.key }

// Fetch brings the run's value home, and Source is where it is.
func (ref *keyRef[R]) Fetch(ctx context.Context) error {
	if err := ref.from.Bring(ctx); err != nil {
		return err
	}
	v, _ := ref.from.GetPinned()
	futures.CellOf(&ref.Future).Arrive(v)
	return nil
}

func (ref *keyRef[R]) Source() cell.Source { return ref.from.Source() }

func (ref *keyRef[R]) Why() string {
	if ref.run == nil {
		return ""
	}
	return ref.run.core.Owner.Why()
}

func (ref *keyRef[R]) Released() {
	if ref.run != nil {
		ref.run.release(ref.gone)
	}
}
