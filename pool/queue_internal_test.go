package pool

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// An entry is a task that is nothing but queued.
type entry struct {
	id   int
	dead bool
}

func (*entry) Run(*Runner)                {}
func (*entry) Broke(*Runner, any, []byte) {}
func (e *entry) Dead() bool               { return e.dead }

// A queue is a list a priority, of which the highest that is not empty comes first.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		model := map[int][]*entry{}
		next := 0
		prio := rapid.SampledFrom([]int{0, 0, 0, 1, 2, -1, 1 << 40})
		// A burst is more than a segment now and then.
		burst := rapid.SampledFrom([]int{1, 1, 1, 2, 30, segmentLen, segmentLen + 1, 2 * segmentLen})
		top := func() (p int, some bool) {
			for k, l := range model {
				if len(l) > 0 && (!some || k > p) {
					p, some = k, true
				}
			}
			return p, some
		}
		t.Repeat(map[string]func(*rapid.T){
			"push back": func(t *rapid.T) {
				p := prio.Draw(t, "prio")
				for range burst.Draw(t, "n") {
					e := &entry{id: next}
					next++
					q.of(p).pushBack(e)
					model[p] = append(model[p], e)
				}
			},
			"push front": func(t *rapid.T) {
				p := prio.Draw(t, "prio")
				var front []*entry
				for range burst.Draw(t, "n") {
					e := &entry{id: next}
					next++
					q.of(p).pushFront(e)
					front = append(front, e)
				}
				slices.Reverse(front)
				model[p] = append(front, model[p]...)
			},
			"pop": func(t *rapid.T) {
				for range burst.Draw(t, "n") {
					d, p := q.top()
					want, some := top()
					if d == nil && !some {
						return
					}
					if d == nil || !some || p != want {
						t.Fatalf("top is of %d, want %d", p, want)
					}
					if front := d.front(); front != d.popFront() || front != model[p][0] {
						t.Fatal("not the first")
					}
					model[p] = model[p][1:]
				}
			},
			"die": func(t *rapid.T) {
				k := rapid.IntRange(2, 5).Draw(t, "every")
				for _, l := range model {
					for _, e := range l {
						e.dead = e.id%k == 0
					}
				}
			},
			"bury": func(*rapid.T) {
				q.bury()
				for p := range model {
					model[p] = slices.DeleteFunc(model[p], func(e *entry) bool { return e.dead })
				}
			},
			"": func(t *rapid.T) {
				n := 0
				for p, want := range model {
					n += len(want)
					d := &q.normal
					if p != 0 {
						if len(want) == 0 && q.byPrio[p] == nil {
							continue
						}
						d = &q.byPrio[p].deque
					}
					same := d.n == len(want)
					d.each(func(t Task) {
						same = same && t == want[0]
						want = want[1:]
					})
					if !same {
						t.Fatalf("priority %d is not in order", p)
					}
				}
				all := 0
				q.each(func(Task) { all++ })
				if all != n || q.len() != n {
					t.Fatalf("%d visited of %d, want %d", all, q.len(), n)
				}
			},
		})
	})
}

// A deque keeps nothing of what it held, but one segment to use again.
func TestDequeKeepsNothing(t *testing.T) {
	var d deque
	for range 10 * segmentLen {
		d.pushBack(&entry{})
	}
	for d.n > 0 {
		d.popFront()
	}
	require.Nil(t, d.first)
	require.Nil(t, d.last)
	require.NotNil(t, d.spare)
	for i := range d.spare.tasks {
		require.Nil(t, d.spare.tasks[i])
	}
	require.Nil(t, d.spare.next)
}
