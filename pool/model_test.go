package pool_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/pool"
)

// A world is a pool of tasks that wait to be told, and what a plain model of it expects.
type world struct {
	*stage
	slots   int
	waiting []*actor // pushed, not begun, not dead, in order
	running []*actor // with a slot
	lent    []*actor // without one, and not asking
	asking  []*actor // for one, in order
	idles   int      // how often the pool said that it is idle
	named   *actor   // by the last lend
}

func newWorld(t *testing.T, slots int) *world {
	w := &world{stage: &stage{t: t, host: &goHost{}}, slots: slots}
	w.Pool = pool.New(pool.Config{Slots: slots, Host: w.host})
	w.OnIdle(func() { w.idles++ })
	return w
}

func (w *world) actions() map[string]func(*rapid.T) {
	pick := func(t *rapid.T, from *[]*actor) *actor {
		if len(*from) == 0 {
			t.Skip("none")
		}
		i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
		a := (*from)[i]
		*from = slices.Delete(*from, i, i+1)
		return a
	}
	return map[string]func(*rapid.T){
		"push": func(t *rapid.T) {
			prio := rapid.SampledFrom([]int{0, 0, 0, 0, 3, 1, -1}).Draw(t, "prio")
			for range rapid.SampledFrom([]int{1, 1, 2, 25}).Draw(t, "n") {
				a := w.actor(fmt.Sprintf("%d(%d)", len(w.actors), prio))
				a.prio = prio
				w.waiting = append(w.waiting, a)
				require.True(t, w.Push(a, prio, 1))
				if w.slots > 1 { // several slots begin in any order
					synctest.Wait()
				}
			}
		},
		"end": func(t *rapid.T) {
			a := pick(t, &w.running)
			if a.lender { // with the slot back, that changes nothing
				a.tell(func(r *pool.Runner) { r.Settle() })
			}
			rapid.SampledFrom([]func(){a.end, a.end, a.panic, a.goexit}).Draw(t, "how")()
			require.Equal(t, 1, a.ends)
		},
		"lend": func(t *rapid.T) {
			a := pick(t, &w.running)
			a.lender = true
			w.lent = append(w.lent, a)
			if len(w.waiting) > 0 && rapid.Bool().Draw(t, "to one of them") {
				w.named = rapid.SampledFrom(w.waiting).Draw(t, "whom")
				a.lend(w.named)
			} else {
				a.lend(nil)
			}
		},
		"resume": func(t *rapid.T) {
			a := pick(t, &w.lent)
			w.asking = append(w.asking, a)
			a.resume()
		},
		"leave": func(t *rapid.T) {
			a := pick(t, &w.lent)
			a.leave()
			require.Equal(t, 1, a.ends)
		},
		"die": func(t *rapid.T) {
			a := pick(t, &w.waiting)
			a.dead.Store(true)
			a.begun.Store(true) // as the Run of a cancelled task does nothing
			w.Bury(1)
		},
	}
}

// moved has the model follow what was said, and checks that it was to happen.
func (w *world) begins(t *rapid.T, a *actor) {
	i := slices.Index(w.waiting, a)
	require.GreaterOrEqual(t, i, 0, "%s has begun before, or is dead", a.name)
	w.waiting = slices.Delete(w.waiting, i, i+1)
	w.running = append(w.running, a)
}

func (w *world) resumes(t *rapid.T, a *actor) {
	i := slices.Index(w.asking, a)
	require.GreaterOrEqual(t, i, 0, "%s resumes, but did not ask", a.name)
	w.asking = slices.Delete(w.asking, i, i+1)
	w.running = append(w.running, a)
}

// first is what is to start next.
func (w *world) first() (best *actor) {
	for _, a := range w.waiting {
		if best == nil || a.prio > best.prio {
			best = a
		}
	}
	return best
}

// account checks what the pool says about itself.
func (w *world) account(t *rapid.T) {
	require.Equal(t, w.slots, w.Slots())
	require.Equal(t, len(w.lent)+len(w.asking), w.Lending())
	on := append(append(slices.Clone(w.running), w.lent...), w.asking...)
	require.ElementsMatch(t, named(on), names(w.Running()))
	queued := slices.DeleteFunc(w.Queued(), func(t pool.Task) bool { return t.Dead() })
	require.ElementsMatch(t, named(w.waiting), names(queued))
	idle := len(on) == 0
	require.Equal(t, idle, w.Idle())
	require.True(t, !idle || w.idles > 0, "nobody was told that it is idle")
	if !idle {
		w.idles = 0
	}
	require.LessOrEqual(t, w.host.live.Load(), int64(len(on)+w.slots+64+1))
}

func named(as []*actor) (ns []string) {
	for _, a := range as {
		ns = append(ns, a.name)
	}
	return ns
}

// end closes the pool: it gives back exactly what has not begun.
func (w *world) end(t *rapid.T) {
	dropped := slices.DeleteFunc(w.Close(), func(t pool.Task) bool { return t.Dead() })
	require.ElementsMatch(t, named(w.waiting), names(dropped))
	for i, d := range dropped {
		if i > 0 {
			require.GreaterOrEqual(t, dropped[i-1].(*actor).prio, d.(*actor).prio)
		}
	}
}

// On one slot everything has its one order: who waits to go on, then the highest
// priority, then who came first; and a lent slot goes to whom it was lent.
func TestOneSlotModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			w := newWorld(t, 1)
			defer w.over()
			acts := w.actions()
			acts[""] = func(t *rapid.T) {
				var want []string
				if w.named != nil {
					want = append(want, w.named.name)
					w.begins(t, w.named)
					w.named = nil
				}
				if len(w.running) == 0 {
					if len(w.asking) > 0 {
						a := w.asking[0]
						want = append(want, a.name+" resumes")
						w.resumes(t, a)
					} else if a := w.first(); a != nil {
						want = append(want, a.name)
						w.begins(t, a)
					}
				}
				require.Equal(t, want, w.said())
				w.account(t)
			}
			rt.Repeat(acts)
			w.end(rt)
		})
	})
}

// On several slots, and while their number changes, what comes first still does, all
// slots have something to do as long as there is something, and never more than there
// should be begin.
func TestManySlotsModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			w := newWorld(t, rapid.IntRange(2, 4).Draw(rt, "slots"))
			defer w.over()
			acts := w.actions()
			acts["resize"] = func(t *rapid.T) {
				w.slots = rapid.IntRange(1, 5).Draw(t, "slots")
				w.Resize(w.slots)
			}
			before := 0
			acts[""] = func(t *rapid.T) {
				byName := map[string]*actor{}
				for _, a := range w.actors {
					byName[a.name] = a
				}
				var begun []*actor
				for _, what := range w.said() {
					if a := byName[what]; a != nil {
						w.begins(t, a)
						if a != w.named {
							begun = append(begun, a)
						}
					} else {
						var name string
						fmt.Sscanf(what, "%s resumes", &name)
						w.resumes(t, byName[name])
					}
				}
				w.named = nil
				if len(begun) > 0 {
					require.Empty(t, w.asking, "%s begins while somebody waits to go on", begun[0].name)
				}
				if first := w.first(); first != nil {
					for _, a := range begun {
						require.GreaterOrEqual(t, a.prio, first.prio, "%s begins before %s", a.name, first.name)
					}
				}
				if len(w.running) < w.slots {
					require.Empty(t, w.asking, "a slot idles")
					require.Empty(t, w.waiting, "a slot idles")
				}
				require.LessOrEqual(t, len(w.running), max(before, w.slots))
				before = len(w.running)
				w.account(t)
			}
			rt.Repeat(acts)
			w.end(rt)
		})
	})
}
