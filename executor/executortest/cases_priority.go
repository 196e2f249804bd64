package executortest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// priorityCases: higher priorities start first, and equal ones in the order of their submits.
func priorityCases(t *testing.T, open opener) {
	check(t, open, "G10/EqualStartInOrder", equalInOrder)
	check(t, open, "G10/HigherStartsFirst", higherFirst)
	check(t, open, "G10/HigherPassesWhatASlotHasTaken", higherPasses)
	check(t, open, "G10/PriorityHoldsForDependents", priorityOfDependents)
	check(t, open, "G10/PriorityHoldsForRetries", priorityOfRetried)
}

// inOrder reports whether one slot of this process runs all, so that the order in which
// tasks start is known for certain.
func inOrder(ex executor.Executor) bool { return ex.Slots() == 1 && inProcess(ex) }

func equalInOrder(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	var want []string
	var last *futures.Future[string]
	for i := range 500 {
		want = append(want, fmt.Sprint("task", i))
		var opts []executor.Option
		if i%3 == 1 {
			opts = append(opts, executor.WithPriority(0))
		}
		last = executor.Submit(t.Context(), ex, note, b.post(want[i]), opts...)
		if i%50 == 0 {
			all := executor.SubmitAll(t.Context(), ex, note, []Post{b.post("task"), b.post("task")})
			require.Len(t, all, 2)
			want[i] += " task task"
		}
	}
	b.open()
	result(t, last)
	eventually(t, "all have run", func() bool { return b.has("task") == 520 })
	if !inOrder(ex) {
		return
	}
	var got []string
	for _, line := range b.lines() {
		switch {
		case line == "task":
			got[len(got)-1] += " task"
		case line != "start slot0" && line != "end slot0":
			got = append(got, line)
		}
	}
	require.Equal(t, want, got)
}

func higherFirst(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	held := b.fillSlots(t.Context())
	rnd := rand.New(rand.NewPCG(3, 3))
	type entry struct {
		text     string
		priority int
	}
	var entries []entry
	var fs []*futures.Future[string]
	for i := range 400 {
		p := rnd.IntN(7) - 3
		entries = append(entries, entry{fmt.Sprintf("%d: %d", p, i), p})
		opts := []executor.Option{executor.WithPriority(p)}
		if p == 0 && i%2 == 0 {
			opts = nil
		}
		fs = append(fs, executor.Submit(t.Context(), ex, note, b.post(entries[i].text), opts...))
	}
	b.open()
	for _, f := range fs {
		result(t, f)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(b.priority, a.priority) })
	var got []string
	for _, line := range b.lines() {
		if line[0] != 's' && line[0] != 'e' {
			got = append(got, line)
		}
	}
	require.Len(t, got, len(entries))
	if !inProcess(ex) {
		return
	}
	missing := map[int]int{} // by priority: not written yet
	for _, e := range entries {
		missing[e.priority]++
	}
	for i, line := range got {
		if ex.Slots() == 1 {
			require.Equal(t, entries[i].text, line)
		}
		var p int
		_, err := fmt.Sscanf(line, "%d:", &p)
		require.NoError(t, err)
		missing[p]--
		late := 0
		for q, n := range missing {
			if q > p {
				late += n
			}
		}
		// A slot that has started one may be slow to write it.
		require.Less(t, late, len(held), "%s before others that are higher", line)
	}
}

// higherPasses submits tasks of other priorities when some have been taken from the queue.
func higherPasses(t *testing.T, ex executor.Executor) {
	b, end := newBoard(t, ex), newBoard(t, ex)
	first := b.fillSlots(t.Context())
	fs := []*futures.Future[string]{executor.Submit(t.Context(), ex, hold, end.post("second"))}
	for range 100 {
		fs = append(fs, executor.Submit(t.Context(), ex, note, end.post("low")))
	}
	b.open()
	result(t, first[0])
	end.wait(1, "start second") // and, on one slot, the next few are taken with it
	fs = append(fs, executor.Submit(t.Context(), ex, note, end.post("lower"), executor.WithPriority(-1)),
		executor.Submit(t.Context(), ex, note, end.post("high"), executor.WithPriority(1)),
		executor.Submit(t.Context(), ex, note, end.post("higher"), executor.WithPriority(2)))
	end.open()
	for _, f := range fs {
		result(t, f)
	}
	if inOrder(ex) {
		want := []string{"start second", "end second", "higher", "high"}
		want = append(want, slices.Repeat([]string{"low"}, 100)...)
		require.Equal(t, append(want, "lower"), end.lines())
	}
}

func priorityOfDependents(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	p, resolve := futures.New[Post]()
	low := executor.Then(t.Context(), ex, note, p, executor.WithPriority(-1))
	high := executor.Then(t.Context(), ex, noteHigh, p, executor.WithPriority(1))
	b.fillSlots(t.Context())
	mid := executor.Submit(t.Context(), ex, note, b.post("mid"))
	resolve(b.post("low"), nil)
	b.open()
	for _, f := range []*futures.Future[string]{low, mid, high} {
		result(t, f)
	}
	if inOrder(ex) {
		require.Equal(t, []string{"start slot0", "end slot0", "high", "mid", "low"}, b.lines())
	}
}

// priorityOfRetried has a failed task keep its place before those of a lower priority.
func priorityOfRetried(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	var fs []*futures.Future[string]
	for range 40 {
		fs = append(fs, executor.Submit(t.Context(), ex, note, b.post("low")))
	}
	high := executor.Submit(t.Context(), ex, attempts, Attempts{Board: b.name, Succeed: 3}, executor.WithRetries(3), executor.WithPriority(1))
	b.open()
	require.Equal(t, 3, result(t, high))
	for _, f := range fs {
		result(t, f)
	}
	if inOrder(ex) {
		require.Equal(t, []string{"start slot0", "end slot0", "attempt 1", "attempt 2", "attempt 3", "low"}, b.lines()[:6])
	}
}
