package cell_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/cell"
)

// moves are the ways from one state to another, as the comment on cell.State has them.
var moves = map[string]func(*cell.Core) bool{
	"start":         func(c *cell.Core) bool { return c.Start(3) },
	"again":         func(c *cell.Core) bool { return c.Again() },
	"finish":        finish,
	"finishAway":    func(c *cell.Core) bool { won, _ := c.FinishAway(); return won },
	"promise":       promise,
	"open":          func(c *cell.Core) (ok bool) { wave(func(w *cell.Wave) { ok = c.Open(w) }); return ok },
	"fail":          func(c *cell.Core) bool { return fail(c, errStop) },
	"cancel":        func(c *cell.Core) bool { return cancel(c, errStop) },
	"cancelPending": func(c *cell.Core) (ok bool) { wave(func(w *cell.Wave) { ok = c.CancelPending(errStop, w) }); return ok },
	"failClaimed": func(c *cell.Core) bool {
		if !c.Claim() {
			return false
		}
		wave(func(w *cell.Wave) { c.FailClaimed(errStop, w) })
		return true
	},
}

func TestEveryMoveFromEveryState(t *testing.T) {
	prepare := map[cell.State]func(*cell.Core){
		cell.Pending:   func(*cell.Core) {},
		cell.Running:   func(c *cell.Core) { c.Start(3) },
		cell.Finished:  func(c *cell.Core) { promise(c) },
		cell.Failed:    func(c *cell.Core) { fail(c, errBefore) },
		cell.Cancelled: func(c *cell.Core) { cancel(c, errBefore) },
	}
	allowed := map[cell.State]map[string]cell.State{
		cell.Pending: {
			"start": cell.Running, "promise": cell.Finished, "open": cell.Finished, "fail": cell.Failed,
			"failClaimed": cell.Failed, "cancel": cell.Cancelled, "cancelPending": cell.Cancelled,
		},
		cell.Running: {
			"again": cell.Pending, "finish": cell.Finished, "finishAway": cell.Finished,
			"fail": cell.Failed, "cancel": cell.Cancelled,
		},
	}
	for from, prep := range prepare {
		for name, move := range moves {
			t.Run(fmt.Sprintf("%d/%s", from, name), func(t *testing.T) {
				c := &cell.Core{Owner: &owner{}}
				prep(c)
				before := c.Err()
				to, ok := allowed[from][name]
				if !ok {
					to = from
				}
				assert.Equal(t, ok, move(c), "whether it moved")
				assert.Equal(t, to, c.State())
				assert.Equal(t, to.Done(), c.Settled())
				if !ok {
					assert.Equal(t, before, c.Err(), "what failed to move changes nothing")
				} else if to == cell.Failed || to == cell.Cancelled {
					assert.ErrorIs(t, c.Err(), errStop)
				} else {
					assert.NoError(t, c.Err())
				}
			})
		}
	}
}

var errBefore = errors.New("before")

func TestFlagsOutliveMoves(t *testing.T) {
	c := &cell.Core{}
	c.Mark()
	c.Hold()
	assert.False(t, c.Startable(), "held")
	c.Unhold()
	assert.True(t, c.Startable())
	require.True(t, c.Start(cell.MaxSlots-1))
	assert.Equal(t, cell.MaxSlots-1, c.Slot())
	p := newProbe()
	require.True(t, c.AddHook(&p.Hook))
	require.True(t, c.Again())
	assert.Equal(t, 0, c.Slot(), "the slot is only known while it runs")
	assert.True(t, c.Marked())
	require.True(t, c.Start(7))
	assert.Equal(t, 7, c.Slot())
	require.True(t, cancel(c, errStop))
	assert.Equal(t, 7, c.Slot(), "the function still runs there")
	assert.Equal(t, 1, p.fired(), "listed in an attempt before")
}

func TestAway(t *testing.T) {
	var c cell.Cell[int]
	c.Start(0)
	won, fire := c.FinishAway()
	assert.True(t, won)
	assert.False(t, fire, "nobody waits")
	assert.True(t, c.Away())
	_, ok := c.Get()
	assert.False(t, ok, "the value is not here")
}

// The counters of an owner change before the outcome can be seen, and its ctx ends
// after.
func TestOwnerIsToldInOrder(t *testing.T) {
	var order []string
	o := &orderedOwner{}
	c := &cell.Core{Owner: o}
	o.say = func(what string) { order = append(order, fmt.Sprint(what, " ", c.Startable())) }
	p := newProbe()
	c.AddHook(&p.Hook)
	var w cell.Wave
	require.True(t, c.Cancel(errStop, errStop, &w))
	o.say("back")
	assert.Equal(t, 0, p.fired(), "hooks fire with the wave")
	w.Run()
	assert.Equal(t, 1, p.fired())
	assert.Equal(t, cell.Cancelled, p.seen)
	assert.Equal(t, []string{"settling false", "cancelled false", "back false"}, order)
	assert.Equal(t, []cell.State{cell.Pending, cell.Cancelled}, o.states)
}

type orderedOwner struct {
	owner
	say    func(string)
	states []cell.State
}

func (o *orderedOwner) Settling(from, to cell.State) {
	o.states = append(o.states, from, to)
	o.say("settling")
}

func (o *orderedOwner) Cancelled(cell.State, error, *cell.Wave) { o.say("cancelled") }

// However many try, and whatever they try, one wins, is the only one to be told so, and
// its outcome is what everybody sees.
func TestOneWins(t *testing.T) {
	watch(t)
	for round := range 3000 {
		o := &owner{}
		c := &cell.Cell[int]{}
		c.Owner = o
		running := round%2 == 0
		if running {
			c.Start(1)
		}
		hooks := []*probe{newProbe(), newProbe()}
		c.AddHook(&hooks[0].Hook)
		var wins atomic.Int32
		errs := make([]error, 4)
		var wg sync.WaitGroup
		try := func(f func(i int) bool, i int) {
			wg.Go(func() {
				if f(i) {
					wins.Add(1)
				}
			})
		}
		for i := range errs {
			errs[i] = fmt.Errorf("error %d", i)
			try(func(i int) bool {
				if i%2 == 0 {
					return fail(&c.Core, errs[i])
				}
				return cancel(&c.Core, errs[i])
			}, i)
		}
		try(func(int) bool {
			if running {
				c.Set(42)
				won := finish(&c.Core)
				if won {
					c.Finished()
				}
				return won
			}
			if !c.Claim() {
				return false
			}
			c.Set(42)
			if c.FinishClaimed() {
				c.Fire()
			}
			c.Finished()
			return true
		}, 0)
		listed := make(chan bool, 1)
		wg.Go(func() { listed <- c.AddHook(&hooks[1].Hook) })
		wg.Wait()

		require.EqualValues(t, 1, wins.Load(), "winners")
		require.Equal(t, 1, hooks[0].fired())
		want := 0
		if <-listed {
			want = 1
		}
		require.Equal(t, want, hooks[1].fired(), "a hook that was listed fires, one that was not does not")
		settling, cancelled := o.told()
		switch v, ok := c.Get(); c.State() {
		case cell.Finished:
			require.True(t, ok)
			require.Equal(t, 42, v)
			require.NoError(t, c.Err())
			require.Empty(t, settling)
			require.Empty(t, cancelled)
		case cell.Failed:
			require.Contains(t, errs, c.Err())
			require.Len(t, settling, 1)
			require.Empty(t, cancelled)
		case cell.Cancelled:
			require.Contains(t, errs, errors.Unwrap(c.Err()))
			require.Len(t, settling, 1)
			require.Len(t, cancelled, 1)
		default:
			t.Fatalf("state %d", c.State())
		}
	}
}

// Only one caller may run a task, however often it was queued, and none once it was
// cancelled.
func TestOneStarts(t *testing.T) {
	watch(t)
	for range 2000 {
		c := &cell.Core{Scope: under(context.Background())}
		var starts, cancels atomic.Int32
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if c.Runnable() && c.Start(i) {
					starts.Add(1)
				}
			})
		}
		wg.Go(func() {
			var w cell.Wave
			if c.CancelPending(errStop, &w) {
				cancels.Add(1)
			}
			w.Run()
		})
		wg.Wait()
		require.EqualValues(t, 1, starts.Load()+cancels.Load())
	}
}

func TestDoneIsClosedOnce(t *testing.T) {
	watch(t)
	for range 2000 {
		c := &cell.Core{}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { <-c.Done() })
		}
		wg.Go(func() { fail(c, errStop) })
		wg.Wait()
		<-c.Done()
	}
	c := &cell.Core{}
	assert.Equal(t, c.Done(), c.Done(), "the channel is kept")
}

func TestFinishDoesNotTakeAnothersClaim(t *testing.T) {
	c := &cell.Core{}
	require.True(t, c.Claim())
	require.False(t, finish(c))
	require.Equal(t, cell.Pending, c.State())
	wave(func(w *cell.Wave) { c.FailClaimed(errStop, w) })
	require.Equal(t, cell.Failed, c.State())
}
