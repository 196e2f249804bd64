package cell_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/cell"
)

func TestWaitReturnsWhen(t *testing.T) {
	for name, settle := range settlers {
		synctest.Test(t, func(t *testing.T) {
			c := &cell.Core{}
			go func() { time.Sleep(time.Hour); settle(c) }()
			begin := time.Now()
			assert.NoError(t, c.Wait(t.Context()), name)
			assert.Equal(t, time.Hour, time.Since(begin), name)
			assert.True(t, c.Settled())
			assert.NoError(t, c.Wait(t.Context()), "at once")
		})
	}
}

// The ways in which the ctx of a wait and that of the task that is waited for may be
// related, and which of them ends.
func TestWaitAndTheEndOfCtx(t *testing.T) {
	type where struct {
		wait, submit context.Context
		end          context.CancelCauseFunc
	}
	for name, c := range map[string]struct {
		make    func(ctx context.Context) where
		cancels bool // the core ends too, and is what Wait reports
	}{
		"promise": {func(ctx context.Context) where {
			w, end := context.WithCancelCause(ctx)
			return where{w, nil, end}
		}, false},
		"one ctx for both": {func(ctx context.Context) where {
			w, end := context.WithCancelCause(ctx)
			return where{w, w, end}
		}, true},
		"the waiter's": {func(ctx context.Context) where {
			w, end := context.WithCancelCause(ctx)
			return where{w, ctx, end}
		}, false},
		"the submit's": {func(ctx context.Context) where {
			s, end := context.WithCancelCause(ctx)
			return where{ctx, s, end}
		}, true},
		"the submit's, and the wait's cannot end": {func(ctx context.Context) where {
			s, end := context.WithCancelCause(ctx)
			return where{context.Background(), s, end}
		}, true},
		"the submit's cannot end": {func(ctx context.Context) where {
			w, end := context.WithCancelCause(ctx)
			return where{w, context.Background(), end}
		}, false},
	} {
		for _, gated := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				at := c.make(t.Context())
				core := &cell.Core{}
				if at.submit != nil {
					core.Scope = under(at.submit)
				}
				var gate *cell.Core
				if gated {
					gate = new(cell.Core)
				}
				go func() { time.Sleep(time.Hour); at.end(errStop) }()
				begin := time.Now()
				var err error
				if gated {
					err = core.WaitEither(at.wait, gate)
				} else {
					err = core.Wait(at.wait)
				}
				assert.Equal(t, time.Hour, time.Since(begin), name)
				assert.Equal(t, c.cancels, core.Settled(), name)
				if c.cancels {
					assert.NoError(t, err, name)
					assert.ErrorIs(t, core.Err(), errStop, name)
				} else {
					assert.ErrorIs(t, err, context.Canceled, name)
					assert.ErrorIs(t, err, errStop, name)
				}
				fail(core, errBefore)
			})
		}
	}
}

func TestFinishedWinsOverAnEndedCtx(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	end()
	c := &cell.Core{}
	promise(c)
	assert.NoError(t, c.Wait(ctx))
	assert.ErrorIs(t, new(cell.Core).Wait(ctx), context.Canceled)
}

func TestContextError(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	end()
	assert.Equal(t, context.Canceled, cell.ContextError(ctx), "no cause of its own")
	ctx, end2 := context.WithCancelCause(context.Background())
	end2(errStop)
	err := cell.ContextError(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, errStop)
	assert.Equal(t, "context canceled: stop", err.Error())
}

func TestGateEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, gate := &cell.Core{}, &cell.Core{}
		go func() { time.Sleep(time.Hour); wave(func(w *cell.Wave) { gate.Open(w) }) }()
		assert.NoError(t, c.WaitEither(t.Context(), gate))
		assert.False(t, c.Settled())
		assert.NoError(t, c.WaitEither(t.Context(), gate), "an open gate")
		both := &cell.Core{}
		go func() { time.Sleep(time.Hour); fail(both, errStop) }()
		assert.NoError(t, both.WaitEither(t.Context(), both), "the gate may be the core itself")
	})
}

// A fakeTask is a ctx of a task whose slot is one token.
type fakeTask struct {
	context.Context
	scope   *cell.Scope
	slot    chan struct{}
	onLend  func()
	waiting atomic.Int32
	lends   atomic.Int32
	resumes atomic.Int32
	lentTo  atomic.Pointer[cell.Core]
}

func newFakeTask(ctx context.Context) (*fakeTask, *cell.Core) {
	task := &cell.Core{Scope: under(ctx)}
	task.Start(0)
	f := &fakeTask{scope: taskScope(task), slot: make(chan struct{}, 1)}
	f.Context = &ownCtx{Context: ctx, s: f.scope}
	return f, task
}

// An ownCtx has ended when its task's scope has.
type ownCtx struct {
	context.Context
	s *cell.Scope
}

func (c *ownCtx) Err() error { return c.s.Err() }

func (f *fakeTask) Value(key any) any {
	if key == cell.TaskKey {
		return f
	}
	return f.Context.Value(key)
}

func (f *fakeTask) Lend(c *cell.Core) bool {
	f.lends.Add(1)
	f.waiting.Add(1)
	f.lentTo.Store(c)
	if f.onLend != nil {
		f.onLend()
	}
	f.slot <- struct{}{}
	return true
}

// Resume wakes the waiter when the slot is there, which may take a while.
func (f *fakeTask) Resume(wt *cell.Waiter) {
	f.resumes.Add(1)
	go func() {
		runtime.Gosched()
		<-f.slot
		f.waiting.Add(-1)
		wt.Wake()
	}()
}

func (f *fakeTask) OwnScope() *cell.Scope { return f.scope }
func (f *fakeTask) Needs(*cell.Core) bool { return false }

// A task that waits, with its own ctx or one made from it, lends its slot once and has
// it back before it goes on, whatever ended the wait.
func TestWaitLendsAndResumes(t *testing.T) {
	type ender struct {
		name  string
		child bool // the core is the task's own child
		end   func(f *fakeTask, task, c *cell.Core, endOuter func())
	}
	enders := []ender{
		{"finished", false, func(_ *fakeTask, _, c *cell.Core, _ func()) { promise(c) }},
		{"child finished", true, func(_ *fakeTask, _, c *cell.Core, _ func()) { promise(c) }},
		{"child cancelled", true, func(_ *fakeTask, _, c *cell.Core, _ func()) { cancel(c, errStop) }},
		{"task cancelled", false, func(_ *fakeTask, task, _ *cell.Core, _ func()) { cancel(task, errStop) }},
		{"task cancelled, child", true, func(_ *fakeTask, task, _ *cell.Core, _ func()) { cancel(task, errStop) }},
		{"ctx of all ended", true, func(_ *fakeTask, _, _ *cell.Core, end func()) { end() }},
		{"ctx of the task ended", false, func(_ *fakeTask, _, _ *cell.Core, end func()) { end() }},
	}
	for _, e := range enders {
		for _, derived := range []bool{false, true} {
			for _, gated := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					outer, end := context.WithCancel(t.Context())
					defer end()
					f, task := newFakeTask(outer)
					c := &cell.Core{}
					if e.child {
						c.Scope = f.scope
					}
					var ctx context.Context = f
					if derived {
						inner, stop := context.WithCancel(f)
						defer stop()
						ctx = inner
						w := newTold() // a genuine ctx ends with the task's scope
						w.On = endFunc(stop)
						f.scope.Watch(&w.Watch)
					}
					var gate *cell.Core
					if gated {
						gate = new(cell.Core)
					}
					go func() { time.Sleep(time.Hour); e.end(f, task, c, end) }()
					c.WaitEither(ctx, gate)
					assert.EqualValues(t, 1, f.lends.Load(), e.name)
					assert.EqualValues(t, 1, f.resumes.Load(), e.name)
					assert.Zero(t, f.waiting.Load(), "%s: it went on without its slot", e.name)
					assert.Same(t, c, f.lentTo.Load())
				})
			}
		}
	}
}

type endFunc func()

func (f endFunc) ScopeEnded(*cell.Scope, *cell.Wave) { f() }

// The task is cancelled at the very moment at which it lends its slot.
func TestCancelledWhileItLends(t *testing.T) {
	for _, child := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, task := newFakeTask(t.Context())
			f.onLend = func() { cancel(task, errStop) }
			c := &cell.Core{}
			if child {
				c.Scope = f.scope
			}
			err := c.Wait(f)
			assert.Equal(t, child, err == nil, "a child is cancelled with its task")
			assert.EqualValues(t, 1, f.resumes.Load())
			assert.Zero(t, f.waiting.Load())
		})
	}
}

func TestEndedTaskLendsNothing(t *testing.T) {
	f, task := newFakeTask(context.Background())
	cancel(task, errStop)
	assert.Error(t, new(cell.Core).Wait(f))
	assert.Zero(t, f.lends.Load())
}

// Tasks wait and are cancelled at any moment: each that has lent has resumed, and no
// wait ends without a reason.
func TestWaitsAgainstEverything(t *testing.T) {
	watch(t)
	for round := range 2000 {
		outer, end := context.WithCancel(context.Background())
		f, task := newFakeTask(outer)
		c := &cell.Core{}
		if round%2 == 0 {
			c.Scope = f.scope
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			err := c.Wait(f)
			if err == nil && !c.Settled() {
				panic("nil, but it is pending")
			}
			if err != nil && f.Err() == nil {
				panic("an error, but ctx has not ended")
			}
			if f.waiting.Load() != 0 {
				panic("goes on without its slot")
			}
		})
		switch round % 3 {
		case 0:
			wg.Go(func() { cancel(task, errStop) })
		case 1:
			wg.Go(end)
		case 2:
			wg.Go(func() { cancel(task, errStop) })
			wg.Go(func() { c.Start(0); finish(c) })
		}
		wg.Wait()
		require.Equal(t, f.lends.Load(), f.resumes.Load())
		end()
	}
}

// One scope keeps a waiter to be used again. It must not carry anything from one wait
// into the next.
func TestWaitersAreUsedAgain(t *testing.T) {
	watch(t)
	ctx := t.Context()
	for _, s := range []*cell.Scope{under(ctx), staying(ctx)} {
		waitersAreUsedAgain(ctx, s)
	}
}

func waitersAreUsedAgain(ctx context.Context, s *cell.Scope) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				c := &cell.Core{Scope: s}
				wctx, stop := ctx, context.CancelFunc(func() {})
				if i%3 == 0 {
					wctx, stop = context.WithCancel(ctx)
				}
				var settle sync.WaitGroup
				settle.Go(func() {
					if i%3 == 0 {
						stop()
					}
					c.Start(0)
					finish(c)
				})
				err := c.Wait(wctx)
				if err == nil && !c.Settled() || err != nil && wctx.Err() == nil {
					panic("woken for nothing")
				}
				settle.Wait()
			}
		})
	}
	wg.Wait()
}

// What was waited for is nobody's when the wait is over, however long its ctx lives.
func TestWaitKeepsNothing(t *testing.T) {
	t.Run("leaves", func(t *testing.T) { waitKeepsNothing(t, under(t.Context())) })
	t.Run("stays", func(t *testing.T) { waitKeepsNothing(t, staying(t.Context())) })
}

func waitKeepsNothing(t *testing.T, s *cell.Scope) {
	watch(t)
	ctx := s.Context()
	f, _ := newFakeTask(ctx)
	wait := func(ctx context.Context) (weak.Pointer[cell.Core], weak.Pointer[cell.Scope]) {
		c := &cell.Core{Scope: s}
		var own *cell.Scope
		if ft, ok := ctx.(*fakeTask); ok {
			own = ft.scope
		}
		done := make(chan struct{})
		go func() { c.Start(0); finish(c); close(done) }()
		if err := c.Wait(ctx); err != nil {
			panic(err)
		}
		<-done
		if ft, ok := ctx.(*fakeTask); ok {
			ft.lentTo.Store(nil)
		}
		return weak.Make(c), weak.Make(own)
	}
	for _, in := range []context.Context{ctx, ctx, context.Background(), f} {
		w, _ := wait(in)
		for range 10 {
			runtime.GC()
		}
		assert.Nil(t, w.Value(), "%T", in)
	}
	_, own := wait(f)
	wave(func(w *cell.Wave) { f.scope.End(nil, w) }) // the task is over
	f = nil
	for range 10 {
		runtime.GC()
	}
	assert.Nil(t, own.Value(), "the scope of the task that waited")
	runtime.KeepAlive(s)
}

// Of a scope that stays, waits from the second on are told of the end of ctx by what the
// first has left there; Leave takes that away, at once or with the last that waits.
func TestScopeThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &countingCtx{Context: context.Background(), done: make(chan struct{})}
		s := staying(ctx)
		wait := func() *cell.Core {
			c := &cell.Core{Scope: s}
			c.Start(0)
			go func() { assert.NoError(t, c.Wait(ctx)) }()
			synctest.Wait()
			return c
		}
		end := func(c *cell.Core) {
			finish(c)
			synctest.Wait()
		}
		end(wait())
		assert.Zero(t, ctx.listed, "there may be no second")
		for range 3 {
			a, b := wait(), wait()
			assert.Equal(t, 1, ctx.listed)
			end(a)
			assert.Equal(t, 1, ctx.listed)
			end(b)
			assert.Equal(t, 1, ctx.listed)
		}
		c := wait()
		s.Leave()
		assert.Equal(t, 1, ctx.listed, "somebody waits")
		end(c)
		assert.Zero(t, ctx.listed)
		end(wait())
		assert.Zero(t, ctx.listed, "for good")

		s = staying(ctx)
		end(wait())
		end(wait())
		assert.Equal(t, 1, ctx.listed)
		s.Leave()
		assert.Zero(t, ctx.listed, "nobody waits")
	})
}

// The end of ctx cancels what is waited for, whether the scope stays or has left.
func TestScopeThatStaysEnds(t *testing.T) {
	watch(t)
	for round := range 2000 {
		ctx, end := context.WithCancelCause(context.Background())
		s := staying(ctx)
		for range 2 {
			c := &cell.Core{Scope: s}
			go func() { c.Start(0); finish(c) }()
			require.NoError(t, c.Wait(ctx))
		}
		var wg sync.WaitGroup
		for k := range 3 {
			wg.Go(func() {
				c := &cell.Core{Scope: s}
				if k == 0 {
					wg.Go(func() { c.Start(0); finish(c) })
				}
				if err := c.Wait(ctx); err != nil || !c.Settled() || c.Err() != nil && !errors.Is(c.Err(), errStop) {
					panic("woken for nothing")
				}
			})
		}
		if round%2 == 0 {
			wg.Go(s.Leave)
		}
		wg.Go(func() { end(errStop) })
		wg.Wait()
	}
}

func TestManyWaitForOne(t *testing.T) {
	watch(t)
	for range 300 {
		ctx, end := context.WithCancel(context.Background())
		c := &cell.Core{Scope: under(ctx)}
		other, stop := context.WithCancel(context.Background())
		var errs atomic.Int32
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				in := ctx
				if i%2 == 0 {
					in = other
				}
				switch err := c.Wait(in); {
				case err != nil && (i%2 == 1 || !errors.Is(err, context.Canceled)):
					panic(err)
				case err != nil:
					errs.Add(1)
				case !c.Settled():
					panic("nil, but it is pending")
				}
			})
		}
		wg.Go(stop)
		wg.Go(end)
		wg.Wait()
		require.LessOrEqual(t, errs.Load(), int32(3))
	}
}
