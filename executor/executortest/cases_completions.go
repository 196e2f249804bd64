package executortest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// completionCases: futures in the order in which they are resolved.
func completionCases(t *testing.T, open opener) {
	t.Run("R8/AsCompletedYieldsInOrderOfCompletion", completionOrder)
	t.Run("R8/AsCompletedYieldsDuplicatesOnce", completionDuplicates)
	t.Run("R8/AsCompletedEndsWithCtx", completionCtx)
	t.Run("R8/AsCompletedIsLeft", completionLeft)
	check(t, open, "R8/AsCompletedYieldsAll", completionAll)
	t.Run("R8/CompletionsGrow", completionsGrow)
	t.Run("R8/CompletionsLen", completionsLen)
	t.Run("R8/CompletionsAreShared", completionsShared)
	t.Run("R8/CompletionsGoOnAfterCtx", completionsResume)
	t.Run("R8/CompletionsAddedFromOutside", completionsFromOutside)
	check(t, open, "R8/CompletionsCrawl", completionsCrawl)
}

type future = *futures.Future[int]

func completionOrder(t *testing.T) {
	fs, resolve := promised(6)
	resolve[4](4, nil)
	resolve[1](0, errRefused)
	var got []future
	next := []int{5, 0, 3, 2}
	for f := range futures.AsCompleted(soon(t), fs...) {
		got = append(got, f)
		if len(got) >= 2 && len(next) > 0 {
			if next[0] == 3 {
				fs[3].Cancel(nil)
			} else {
				resolve[next[0]](1, nil)
			}
			next = next[1:]
		}
	}
	require.Equal(t, []future{fs[1], fs[4], fs[5], fs[0], fs[3], fs[2]}, got)
}

func completionDuplicates(t *testing.T) {
	fs, resolve := promised(2)
	resolve[0](1, nil)
	n := 0
	for range futures.AsCompleted(soon(t), fs[0], fs[1], fs[0], fs[1], fs[1]) {
		n++
		resolve[1](1, nil)
	}
	require.Equal(t, 2, n)
}

func completionCtx(t *testing.T) {
	fs, resolve := promised(3)
	resolve[0](1, nil)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	within(t, "AsCompleted with an ended ctx", func() {
		for range futures.AsCompleted(ctx, fs...) {
			n++
			cancel()
		}
	})
	require.Equal(t, 1, n)
	require.Equal(t, futures.Pending, fs[1].State())
}

func completionLeft(t *testing.T) {
	fs, resolve := promised(3)
	for i := range fs {
		resolve[i](i, nil)
	}
	for range futures.AsCompleted(soon(t), fs...) {
		break
	}
	seq := futures.AsCompleted(soon(t), fs...)
	for range 2 { // a sequence may be read again
		n := 0
		for range seq {
			n++
		}
		require.Equal(t, 3, n)
	}
	pending, _ := promised(2)
	assert.PanicsWithValue(t, "in the loop", func() {
		for range futures.AsCompleted(soon(t), append(pending, fs...)...) {
			panic("in the loop")
		}
	})
}

func completionAll(t *testing.T, ex executor.Executor) {
	const n = 5000
	args := make([]int, n)
	for i := range args {
		args[i] = i
	}
	seen := map[future]bool{}
	for f := range futures.AsCompleted(soon(t), executor.SubmitAll(t.Context(), ex, echo, args)...) {
		require.Equal(t, futures.Finished, f.State())
		require.False(t, seen[f])
		seen[f] = true
	}
	require.Len(t, seen, n)
}

func completionsGrow(t *testing.T) {
	var c futures.Completions[future]
	c.Add(futures.Value(0))
	n := 0
	for f := range c.All(soon(t)) {
		v := result(t, f)
		require.Equal(t, n, v)
		if n++; n < 100 {
			p, resolve := futures.New[int]()
			c.Add(p)
			go resolve(n, nil)
		}
	}
	require.Equal(t, 100, n)
	require.Zero(t, c.Len())
	for range c.All(soon(t)) {
		require.Fail(t, "all was yielded")
	}
}

func completionsLen(t *testing.T) {
	fs, resolve := promised(3)
	c := futures.NewCompletions(fs...)
	require.Equal(t, 3, c.Len())
	c.Add(fs[0], fs[1])
	require.Equal(t, 3, c.Len(), "what is in it and was not yielded is not added again")
	resolve[0](1, nil)
	for f := range c.All(soon(t)) {
		require.Same(t, fs[0], f)
		require.Equal(t, 2, c.Len())
		break
	}
	c.Add(fs[0])
	require.Equal(t, 3, c.Len(), "what was yielded may be added again")
	resolve[1](1, nil)
	resolve[2](1, nil)
	n := 0
	for range c.All(soon(t)) {
		n++
	}
	require.Equal(t, 3, n)
	require.Zero(t, c.Len())
}

// completionsShared has several loops read, so that each future goes to one of them.
func completionsShared(t *testing.T) {
	const n = 2000
	fs, resolve := promised(n)
	c := futures.NewCompletions(fs...)
	var yielded [n]atomic.Int32
	at := map[future]int{}
	for i, f := range fs {
		at[f] = i
	}
	ctx := soon(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for f := range c.All(ctx) {
				yielded[at[f]].Add(1)
			}
		})
	}
	for k := range 3 {
		wg.Go(func() {
			for i := k; i < n; i += 3 {
				resolve[i](i, nil)
			}
		})
	}
	within(t, "all loops", wg.Wait)
	for i := range yielded {
		require.EqualValues(t, 1, yielded[i].Load())
	}
}

func completionsResume(t *testing.T) {
	fs, resolve := promised(3)
	c := futures.NewCompletions(fs...)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range c.All(ctx) {
		require.Fail(t, "none is resolved")
	}
	require.Equal(t, 3, c.Len())
	for i := range fs {
		resolve[i](i, nil)
	}
	n := 0
	for range c.All(soon(t)) {
		n++
	}
	require.Equal(t, 3, n)
}

// completionsFromOutside adds to what a loop waits for.
func completionsFromOutside(t *testing.T) {
	first, resolve := futures.New[int]()
	c := futures.NewCompletions(first)
	got := make(chan int, 1)
	ctx := soon(t)
	go func() {
		n := 0
		for range c.All(ctx) {
			n++
		}
		got <- n
	}()
	for range 100 {
		c.Add(futures.Value(1))
	}
	eventually(t, "what was added is yielded", func() bool { return c.Len() == 1 })
	p, late := futures.New[int]()
	c.Add(p)
	late(1, nil)
	resolve(1, nil)
	within(t, "the loop", func() { assert.Equal(t, 102, <-got) })
}

// completionsCrawl submits what the results ask for, until there is no more.
func completionsCrawl(t *testing.T, ex executor.Executor) {
	c := futures.NewCompletions(executor.Submit(t.Context(), ex, echo, 10))
	n := 0
	for f := range c.All(soon(t)) {
		n++
		for below := range max(0, min(result(t, f), 3)) {
			c.Add(executor.Submit(t.Context(), ex, echo, result(t, f)-2*below-3))
		}
	}
	require.Equal(t, crawled(10), n)
}

// crawled is how many futures completionsCrawl sees.
func crawled(v int) int {
	n := 1
	for below := range max(0, min(v, 3)) {
		n += crawled(v - 2*below - 3)
	}
	return n
}
