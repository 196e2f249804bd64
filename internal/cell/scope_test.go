package cell_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/cell"
)

// taskScope makes the scope of what the task c submits, which ends with it.
func taskScope(c *cell.Core) *cell.Scope {
	s := new(cell.Scope)
	s.InitTask(context.Background(), nil, c)
	if c.Owner == nil {
		c.Owner = &owner{}
	}
	c.Owner.(*owner).ended = func(cause error, w *cell.Wave) { s.End(cause, w) }
	return s
}

// told counts how often a watch was told.
type told struct {
	cell.Watch
	n     atomic.Int32
	cause error
}

func newTold() *told {
	t := &told{}
	t.On = t
	return t
}

func (t *told) ScopeEnded(s *cell.Scope, _ *cell.Wave) {
	t.cause = s.Cause()
	t.n.Add(1)
}

func TestScopeThatCannotEnd(t *testing.T) {
	s := under(context.Background())
	w := newTold()
	assert.NoError(t, s.Err())
	assert.True(t, s.Watch(&w.Watch))
	assert.False(t, w.Stop(), "nothing is listed where nothing can end")
	assert.Equal(t, context.Background(), s.Context())
}

func TestWatchesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		s := under(ctx)
		ws := []*told{newTold(), newTold(), newTold()}
		for _, w := range ws {
			require.True(t, s.Watch(&w.Watch))
		}
		assert.True(t, ws[1].Stop())
		assert.False(t, ws[1].Stop(), "twice")
		end(errStop)
		synctest.Wait()
		for i, w := range ws {
			want := 1
			if i == 1 {
				want = 0
			}
			assert.EqualValues(t, want, w.n.Load(), i)
			assert.False(t, w.Stop())
		}
		assert.Equal(t, errStop, ws[0].cause)
		late := newTold()
		assert.False(t, s.Watch(&late.Watch))
		assert.ErrorIs(t, s.Err(), context.Canceled)
		assert.Equal(t, errStop, s.Cause())
	})
}

// A ctx from outside may live for ever: when nobody watches, nothing is left with it.
func TestUnwatchedScopeLeavesItsCtx(t *testing.T) {
	ctx := &countingCtx{Context: context.Background(), done: make(chan struct{})}
	s := under(ctx)
	for range 3 {
		a, b := newTold(), newTold()
		require.True(t, s.Watch(&a.Watch))
		require.True(t, s.Watch(&b.Watch))
		assert.Equal(t, 1, ctx.listed)
		a.Stop()
		assert.Equal(t, 1, ctx.listed)
		b.Stop()
		assert.Zero(t, ctx.listed)
	}
}

// A countingCtx counts what asked to be told of its end.
type countingCtx struct {
	context.Context
	done   chan struct{}
	listed int
}

func (c *countingCtx) Done() <-chan struct{} { return c.done }

func (c *countingCtx) AfterFunc(func()) (stop func() bool) {
	c.listed++
	return func() bool { c.listed--; return true }
}

// What something waits for is cancelled when its ctx ends; what nobody waits for, when
// somebody looks.
func TestEndCancelsAtOnceOrWhenLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		s := under(ctx)
		hooked, lazy, running := &cell.Core{Scope: s, Owner: &owner{}}, &cell.Core{Scope: s, Owner: &owner{}}, &cell.Core{Scope: s, Owner: &owner{}}
		running.Start(2)
		p, q := newProbe(), newProbe()
		require.True(t, hooked.AddHook(&p.Hook))
		require.True(t, running.AddHook(&q.Hook))
		end(errStop)
		synctest.Wait()
		assert.Equal(t, 1, p.fired())
		assert.Equal(t, 1, q.fired())
		settling, _ := lazy.Owner.(*owner).told()
		assert.Empty(t, settling, "nobody looked")
		assert.False(t, lazy.Runnable())
		for _, c := range []*cell.Core{hooked, lazy, running} {
			assert.Equal(t, cell.Cancelled, c.State())
			assert.ErrorIs(t, c.Err(), errStop)
		}
		_, cancelled := running.Owner.(*owner).told()
		assert.Equal(t, []string{"1:stop"}, cancelled, "from Running: its function's ctx ends")
	})
}

// The end of a ctx reaches what was submitted under tasks that were submitted under it,
// and each is cancelled with the cause.
func TestEndGoesDown(t *testing.T) {
	for _, depth := range []int{1, 2, 5, 1000} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancelCause(t.Context())
			s := under(ctx)
			tasks := make([]cell.Core, depth)
			scopes := make([]*cell.Scope, depth)
			for i := range tasks {
				tasks[i].Scope = s
				tasks[i].Start(0)
				s = taskScope(&tasks[i])
				scopes[i] = s
			}
			p := newProbe()
			child := &cell.Core{Scope: s}
			require.True(t, child.AddHook(&p.Hook))
			end(errStop)
			synctest.Wait()
			assert.Equal(t, 1, p.fired())
			for i := range tasks {
				require.Equal(t, cell.Cancelled, tasks[i].State(), i)
				require.ErrorIs(t, tasks[i].Err(), errStop, i)
				require.Error(t, scopes[i].Err())
				require.Equal(t, errStop, scopes[i].Cause())
			}
		})
	}
}

// As soon as a ctx has ended nothing below it is taken for alive, whoever has been told
// of it by then: the scopes between are watched, so they would know, but a moment later.
func TestEndIsSeenBelowAtOnce(t *testing.T) {
	for _, watched := range []bool{false, true} {
		for range 200 {
			ctx, end := context.WithCancelCause(t.Context())
			upper := &cell.Core{Scope: under(ctx)}
			upper.Start(0)
			middle := &cell.Core{Scope: taskScope(upper)}
			middle.Start(1)
			lower := &cell.Core{Scope: taskScope(middle)}
			w := newTold()
			if watched {
				require.True(t, lower.Scope.Watch(&w.Watch))
			}
			require.NoError(t, lower.Scope.Err())
			end(errStop)
			require.Error(t, lower.Scope.Err())
			require.Equal(t, errStop, lower.Scope.Cause())
			require.False(t, lower.Runnable())
			require.Equal(t, cell.Cancelled, lower.State())
			for watched && w.n.Load() == 0 {
				runtime.Gosched()
			}
		}
	}
}

// A task's scope ends with the task: what it submitted is cancelled, and nothing of it
// stays with the ctx above.
func TestEndOfATask(t *testing.T) {
	ctx := &countingCtx{Context: context.Background(), done: make(chan struct{})}
	task := &cell.Core{Scope: under(ctx)}
	task.Start(0)
	s := taskScope(task)
	children := make([]cell.Core, 3)
	for i := range children {
		children[i].Scope = s
		require.True(t, children[i].AddHook(&newProbe().Hook))
	}
	assert.Equal(t, 1, ctx.listed)
	wave(func(w *cell.Wave) { s.End(errStop, w); s.End(errBefore, w) })
	assert.Zero(t, ctx.listed)
	assert.Equal(t, errStop, s.Cause(), "the first end counts")
	for i := range children {
		assert.Equal(t, cell.Cancelled, children[i].State())
		assert.ErrorIs(t, children[i].Err(), errStop)
	}
	assert.Equal(t, cell.Running, task.State(), "the task itself is not cancelled by its own end")
	late := &cell.Core{Scope: s}
	assert.Equal(t, cell.Cancelled, late.State())
}

// Every watch is told or was stopped, never both, never neither.
func TestWatchesAgainstTheEnd(t *testing.T) {
	watch(t)
	for round := range 500 {
		ctx, end := context.WithCancel(context.Background())
		s := under(ctx)
		if round%2 == 0 {
			task := &cell.Core{Scope: s}
			task.Start(0)
			s = taskScope(task)
		}
		const n = 6
		ws := make([]*told, n)
		listed, stopped := make([]bool, n), make([]bool, n)
		var wg sync.WaitGroup
		for i := range n {
			ws[i] = newTold()
			wg.Go(func() {
				listed[i] = s.Watch(&ws[i].Watch)
				if i%2 == 0 {
					stopped[i] = ws[i].Stop()
				}
			})
		}
		wg.Go(end)
		wg.Wait()
		for i, w := range ws {
			want := int32(0)
			if listed[i] && !stopped[i] {
				want = 1
			}
			for w.n.Load() < want { // told from a goroutine of the ctx
				runtime.Gosched()
			}
			require.Equal(t, want, w.n.Load())
		}
	}
}

// Tasks of one ctx end with it, and only once, while they start, finish, and are waited
// for.
func TestTasksAgainstTheEndOfTheirCtx(t *testing.T) {
	watch(t)
	for range 300 {
		ctx, end := context.WithCancel(context.Background())
		s := under(ctx)
		cores := make([]cell.Cell[int], 8)
		var fired atomic.Int32
		var listed int32
		hooks := make([]cell.Hook, len(cores))
		for i := range cores {
			cores[i].Scope, cores[i].Owner = s, &owner{}
			hooks[i].Do = fireFunc(func(*cell.Hook, *cell.Wave) { fired.Add(1) })
			if i%2 == 0 && cores[i].AddHook(&hooks[i]) {
				listed++
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range cores {
				c := &cores[i]
				if c.Runnable() && c.Start(0) && !c.Ended() {
					c.Set(i)
					finish(&c.Core)
				}
			}
		})
		wg.Go(end)
		wg.Wait()
		for i := range cores {
			c := &cores[i]
			settling, _ := c.Owner.(*owner).told()
			if v, ok := c.Get(); ok {
				require.Equal(t, i, v)
				require.Empty(t, settling)
				continue
			}
			require.Equal(t, cell.Cancelled, c.State())
			settling, cancelled := c.Owner.(*owner).told()
			require.Len(t, settling, 1)
			for len(cancelled) == 0 { // told after it is seen
				runtime.Gosched()
				_, cancelled = c.Owner.(*owner).told()
			}
		}
		for fired.Load() < listed {
			runtime.Gosched()
		}
		require.Equal(t, listed, fired.Load())
	}
}

func TestDeadlineOfAScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), time.Hour)
		defer end()
		c := &cell.Core{Scope: under(ctx)}
		begin := time.Now()
		<-c.Done()
		assert.Equal(t, time.Hour, time.Since(begin))
		assert.ErrorIs(t, c.Err(), context.DeadlineExceeded)
	})
}

// A function whose ctx has ended may return before the wave has come to its scope.
func TestEndIsSeenBelowBeforeItIsTold(t *testing.T) {
	ctx := t.Context()
	one := taskScope(&cell.Core{Scope: under(ctx)})
	two := taskScope(&cell.Core{Scope: one})
	three := taskScope(&cell.Core{Scope: two})
	var h cell.Hook
	h.Do = newProbe()
	c := &cell.Core{Scope: three}
	require.True(t, c.AddHook(&h))
	require.NoError(t, three.Err())
	var w cell.Wave
	one.End(errStop, &w)
	require.Error(t, three.Err())
	require.Equal(t, errStop, three.Cause())
	require.Equal(t, cell.Cancelled, c.State())
	w.Run()
	require.Error(t, three.Err())
	require.NoError(t, under(ctx).Err())
}
