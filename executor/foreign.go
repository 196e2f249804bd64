package executor

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/nearfar/nearfar/internal/cell"
)

// A Foreign is a call that another process submitted, which it encoded: what a client
// does for the tasks of its workers. Its value stays encoded.
type Foreign struct {
	task[raw, raw]
	request *Request
	begun   func(*Foreign)
	done    func(*Foreign)
	hook    cell.Hook
	refs    []Source

	run  *keyRun      // that it shares, if it has a key and is not the run itself
	gone *atomic.Bool // counts in run.refs no more
	from cell.Hook    // at the run
}

// raw is an encoded value.
type raw struct{ data []byte }

// SubmitForeign submits a call by its Request, of which ID and Attempt do not count.
// begun is called when it has begun, done when it has its outcome; neither may block.
func (b *Base) SubmitForeign(ctx context.Context, ex Executor, r *Request, begun, done func(*Foreign)) *Foreign {
	t, m, err := b.newForeign(ctx, ex, r, begun, done)
	t.hook.Do = t
	t.core().AddHook(&t.hook)
	if r.Key != "" {
		b.shareForeign(ctx, ex, t, m, err)
		return t
	}
	b.submit(ctx, t, m, err, nil)
	return t
}

func (b *Base) newForeign(ctx context.Context, ex Executor, r *Request, begun, done func(*Foreign)) (*Foreign, *more, error) {
	t := &Foreign{request: r, begun: begun, done: done}
	attach(ctx, ex, t.core(), t)
	m := t.task.special()
	functions.Lock()
	f := functions.byName[r.Function]
	functions.Unlock()
	m.fn = f
	m.opts = &options{
		name: r.Name, key: r.Key, priority: r.Priority, timeout: r.Timeout, workers: r.Workers, killAfter: r.Kill,
	}
	if r.Once {
		m.opts.given |= givenAtMostOnce
	}
	var err error
	if f == nil {
		m.fn = &function{registered: r.Function}
		err = fmt.Errorf("%w: %s, in the process that holds the schedule", ErrNotRegistered, r.Function)
	}
	return t, m, err
}

// shareForeign has t share the run of its key, or begins one.
func (b *Base) shareForeign(ctx context.Context, ex Executor, t *Foreign, m *more, err error) {
	b.submitted.Add(1)
	c := (*Call)(t.core())
	if err != nil {
		c.Fail(err)
		return
	}
	nothing := func(*Foreign) {}
	g, gm, _ := b.newForeign(ctx, ex, t.request, nothing, nothing)
	gm.hidden = true
	run, fresh, err := b.share(ctx, g.task.cell(), g, gm, g.Release)
	if err != nil {
		c.Fail(err)
		return
	}
	t.run, t.gone = run, new(atomic.Bool)
	run.join(t.core())
	if fresh {
		b.submit(ctx, g, gm, nil, nil)
	}
	t.from.Do = follower{t}
	if !run.core.AddHook(&t.from) {
		var w cell.Wave
		follower{t}.Fire(nil, &w)
		w.Run()
	}
}

// A follower gives a Foreign the outcome of the run that it shares.
type follower struct{ t *Foreign }

func (f follower) Fire(_ *cell.Hook, w *cell.Wave) {
	t := f.t
	c := t.core()
	if err := t.run.core.Err(); err != nil {
		if t.run.core.State() == cell.Cancelled {
			c.Cancel(err, err, w)
		} else {
			(*Call)(c).Fail(err)
		}
		return
	}
	m := t.peek()
	src := t.run.value.Source()
	if r, ok := src.Here.(*raw); ok {
		(*Call)(c).Deliver(t.run.worker(), r.data, t.run.core.Owner.(*Foreign).refs)
		return
	}
	s, err := sourceOf(m, src)
	switch {
	case err != nil:
		(*Call)(c).Fail(err)
	case s.Stored == nil:
		(*Call)(c).Deliver(t.run.worker(), s.Data, s.Refs)
	default:
		m.stored = s.Stored
		c.Start(0)
		m.base.count(nil, 1)
		won, fire := c.FinishAway()
		if !won {
			m.base.count(nil, -1)
		}
		if fire {
			c.Fire()
		}
		m.settled()
	}
}

// worker is the worker that ran it, or "".
func (run *keyRun) worker() string {
	if m := run.core.Owner.(work).peek(); m != nil {
		if w := m.where.Load(); w != nil {
			return *w
		}
	}
	return ""
}

// Cancelled ends its share.
func (t *Foreign) Cancelled(from cell.State, cause error, w *cell.Wave) {
	t.task.Cancelled(from, cause, w)
	if t.run != nil {
		if cause == nil {
			cause = context.Canceled
		}
		t.run.cancel(t.gone, cause)
	}
}

// Dropped lets the value go, or its share of it.
func (t *Foreign) Dropped() {
	if t.run != nil {
		t.run.release(t.gone)
		return
	}
	t.task.Dropped()
}

// Fire reports the outcome.
func (t *Foreign) Fire(*cell.Hook, *cell.Wave) { t.done(t) }

// Call is the call.
func (t *Foreign) Call() *Call { return (*Call)(t.core()) }

// Worker is the worker that ran it, or "".
func (t *Foreign) Worker() string {
	if w := t.peek().where.Load(); w != nil {
		return *w
	}
	return ""
}

// Result is the outcome: a value encoded, or what the backend knows it by.
func (t *Foreign) Result() (data []byte, refs []Source, stored any, err error) {
	c := t.cell()
	if err := c.Err(); err != nil {
		return nil, nil, nil, err
	}
	if c.Away() {
		return nil, nil, t.peek().stored, nil
	}
	v, _ := c.GetPinned()
	return v.data, t.refs, nil, nil
}

// Cancel cancels the call.
func (t *Foreign) Cancel(cause error) { cancelWith(t.core(), cause) }

// Release drops its value.
func (t *Foreign) Release() { t.cell().Release() }

func (t *Foreign) pack(*more) error                        { return nil }
func (t *Foreign) function() *function                     { return t.peek().fn }
func (t *Foreign) sources(*more) (Source, []Source, error) { return t.request.Arg, t.request.Refs, nil }
func (t *Foreign) deliver(_ *more, data []byte, refs []Source) error {
	t.refs = refs
	t.cell().Set(raw{bytes.Clone(data)}) // which is the backend's, and may be a buffer
	return nil
}
func (t *Foreign) forget() { t.request = nil }

// dropWhenCollected has a value that stays elsewhere dropped when the future is collected.
func dropWhenCollected[T any](owner *T, b *Base, stored any) {
	runtime.AddCleanup(owner, func(s *storedAt) { s.base.backend.(Store).Drop(s.stored) }, &storedAt{b, stored})
}
