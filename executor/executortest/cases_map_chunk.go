package executortest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

func mapChunkCases(t *testing.T, open opener) {
	check(t, open, "G17/ChunkSizeIsKept", chunkSizeKept)
	check(t, open, "G17/PlanSaysWhatWasDecided", planOfChunks)
	check(t, open, "G17/StuckItemDoesNotHoldTheRest", stuckItem)
	check(t, open, "G17/ItemsOfAChunkDoNotShareTheirCtx", chunkCtx)
	bubble(t, open, "G17/NoSlotIdlesWhileItemsWait", noSlotIdles)
	bubble(t, open, "G17/NoSlotIdlesWhileTasksWait", noSlotIdlesSubmit)
	bubble(t, open, "G17/NoSlotIdlesBetweenBatches", noSlotIdlesTwo)
	bubble(t, open, "G17/FixedChunksAreNeitherCutNorTakenBack", fixedChunks)
}

// bubble is checkNear in a synctest bubble, with an executor that lives in it. Its clock
// goes on only when nothing else can, to the next end of a Sleep: what sleeps is work,
// and takes exactly as long as it says, on any number of slots and any machine.
func bubble(t *testing.T, open opener, name string, body func(t *testing.T, ex executor.Executor)) {
	checkNear(t, open, name, func(t *testing.T, _ executor.Executor) {
		synctest.Test(t, func(t *testing.T) { body(t, open(t)) })
	})
}

// chunkSizeKept: a chunk of a fixed size is one run, whatever waits beside it.
func chunkSizeKept(t *testing.T, ex executor.Executor) {
	names := make([]string, 12)
	for i := range names {
		names[i] = newBoard(t, ex).name
	}
	same := slices.Repeat([]string{names[0]}, 12)
	b := executor.Map(t.Context(), ex, crowding, same, executor.WithChunkSize(12))
	got, err := b.Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]int64{1}, 12), got, "items of one chunk ran beside each other")
	require.Equal(t, 1, b.Plan().Chunks)

	var four []string // chunks of 3, each with a name of its own
	for i := range 12 {
		four = append(four, names[1+i/3])
	}
	got, err = executor.Map(t.Context(), ex, crowding, four, executor.WithChunkSize(3)).Results(soon(t))
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]int64{1}, 12), got, "items of one chunk ran beside each other")

	info, err := executor.Map(t.Context(), ex, describe, make([]int, 50), executor.WithChunkSize(50)).Results(soon(t))
	require.NoError(t, err)
	for _, i := range info {
		require.Equal(t, info[0].Worker, i.Worker, "items of one chunk ran in two processes")
	}
}

func planOfChunks(t *testing.T, ex executor.Executor) {
	for _, c := range []struct{ n, size int }{{100, 7}, {100, 100}, {100, 1000}, {100, 1}, {1, 1}} {
		b := executor.Map(t.Context(), ex, doStep, steps(c.n, nil), executor.WithChunkSize(c.size))
		require.NoError(t, b.Wait(soon(t)))
		p := b.Plan()
		require.Equal(t, (c.n+c.size-1)/c.size, p.Chunks, "%+v", c)
		require.InDelta(t, float64(c.n)/float64(p.Chunks), p.ItemsPerChunk, 1)
	}
	b := executor.Map(t.Context(), ex, doStep, steps(5000, nil))
	require.NoError(t, b.Wait(soon(t)))
	p := b.Plan()
	require.Positive(t, p.Chunks)
	require.LessOrEqual(t, p.Chunks, 5000)
	require.Positive(t, p.ItemsPerChunk)
	require.Positive(t, p.Slice)
	require.Positive(t, p.MessageCost)
	require.GreaterOrEqual(t, p.ItemCost, time.Duration(0))
	require.GreaterOrEqual(t, p.Efficiency, 0.0)
	require.LessOrEqual(t, p.Efficiency, 1.0)
}

// stuckItem: with one item that does not end, all but its own run of the rest gets done.
func stuckItem(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: one is stuck")
	}
	const n = 10_000
	for _, at := range []int{0, 1, n / 2} {
		b := newBoard(t, ex)
		batch := executor.Map(t.Context(), ex, doStep, steps(n, func(s *step) {
			if s.I == at {
				s.Await = b.name
			}
		}))
		eventually(t, fmt.Sprintf("half the items are done, with item %d stuck", at), func() bool {
			done, _ := batch.Progress()
			return done >= n/2
		})
		b.open()
		got, err := batch.Results(soon(t))
		require.NoError(t, err)
		require.Equal(t, answers(n), got)
	}
}

// chunkCtx: what an item does with its ctx ends with it, though the chunk goes on.
func chunkCtx(t *testing.T, ex executor.Executor) {
	if !isNear(ex) {
		t.Skip("means something near only")
	}
	var before context.Context
	var fired chan struct{}
	fn := func(ctx context.Context, i int) (int, error) {
		if before != nil {
			<-fired // of the item before: it is over
			if before.Err() == nil {
				return 0, fmt.Errorf("the ctx of the item before %d has not ended", i)
			}
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("item %d got a ctx that has ended: %w", i, context.Cause(ctx))
		}
		done := make(chan struct{})
		context.AfterFunc(ctx, func() { close(done) })
		before, fired = ctx, done
		return i, nil
	}
	_, err := executor.Map(t.Context(), ex, fn, make([]int, 50), executor.WithChunkSize(50)).Results(soon(t))
	require.NoError(t, err)
	await(t, "the last item's ctx ends", fired)
}

// A stint is the time that an item has run, from the start of the batch.
type stint struct{ from, to time.Duration }

// A clockwork records the stints of items that sleep, in a bubble.
type clockwork struct {
	began time.Time
	mu    sync.Mutex
	all   []stint // guarded by mu
}

func (w *clockwork) work(_ context.Context, cost time.Duration) (time.Duration, error) {
	from := time.Since(w.began)
	time.Sleep(cost)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, stint{from, time.Since(w.began)})
	return cost, nil
}

// requireBusy: a slot that fell idle while unstarted items waited was at work again when
// the items that ran then had ended. Which slot took an item is not known; it is taken
// to be the one that was idle for longest, which is the most lenient reading.
func (w *clockwork) requireBusy(t *testing.T, slots int, name string) {
	t.Helper()
	starts := slices.Clone(w.all)
	slices.SortFunc(starts, func(a, b stint) int { return cmp.Compare(a.from, b.from) })
	ends := slices.Clone(w.all)
	slices.SortFunc(ends, func(a, b stint) int { return cmp.Compare(a.to, b.to) })
	type gap struct{ since, until time.Duration }
	idle := make([]gap, slots) // from the start, without an item to wait for
	for len(starts) > 0 {
		now := starts[0].from
		if len(ends) > 0 {
			now = min(now, ends[0].to)
		}
		for ; len(ends) > 0 && ends[0].to == now; ends = ends[1:] {
			idle = append(idle, gap{since: now})
		}
		for ; len(starts) > 0 && starts[0].from == now; starts = starts[1:] {
			require.NotEmpty(t, idle, "%s: more items than slots at %v", name, now)
			idle = idle[1:]
		}
		latest := now // end of the items that run now
		for _, s := range w.all {
			if s.from <= now && now < s.to {
				latest = max(latest, s.to)
			}
		}
		for i := range idle {
			if idle[i].since == now {
				idle[i].until = latest
			}
		}
		if len(starts) > 0 && len(idle) > 0 && now >= idle[0].until {
			require.Failf(t, "a slot idles", "%s: at %v a slot has been idle since %v, the items that ran then have ended, and %d have not started", name, now, idle[0].since, len(starts))
		}
	}
}

// loads are costs of items that trap one way or another to hand them out.
func loads(rnd *rand.Rand) map[string][]time.Duration {
	const small = 200 * time.Nanosecond
	fill := func(n int, cost func(i int) time.Duration) []time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = cost(i)
		}
		return all
	}
	huge := func(at int) []time.Duration {
		all := slices.Repeat([]time.Duration{small}, 1000)
		all[at] = 1000 * small
		return all
	}
	kinds := map[string][]time.Duration{
		"all alike":             fill(1000, func(int) time.Duration { return small }),
		"all slow":              fill(100, func(int) time.Duration { return 5 * time.Millisecond }),
		"fewer than slots":      fill(2, func(int) time.Duration { return time.Millisecond }),
		"fast first, slow last": fill(1000, func(i int) time.Duration { return []time.Duration{small, 300 * time.Microsecond}[i/900] }),
		"slow first, fast last": fill(1000, func(i int) time.Duration { return []time.Duration{300 * time.Microsecond, small}[min(1, i/100)] }),
		"growing":               fill(600, func(i int) time.Duration { return time.Duration(i*i+1) * 3 * time.Nanosecond }),
		"shrinking":             fill(600, func(i int) time.Duration { return time.Duration((600-i)*(600-i)+1) * 3 * time.Nanosecond }),
		"in turns":              fill(800, func(i int) time.Duration { return []time.Duration{small, 40 * time.Microsecond}[i%2] }),
		"in waves":              fill(1000, func(i int) time.Duration { return []time.Duration{small, 100 * time.Microsecond}[i/100%2] }),
		"huge first":            huge(0),
		"huge in the middle":    huge(500),
		"huge near the end":     huge(990),
		"huge last":             huge(999),
		"two huge side by side": append([]time.Duration{small, 1000 * small, 1000 * small}, huge(0)[1:]...),
	}
	for i := range 8 {
		kinds[fmt.Sprintf("by chance %d", i)] = fill(300+rnd.IntN(700), func(int) time.Duration {
			return time.Duration(1) << (6 + rnd.IntN(6)*rnd.IntN(4))
		})
	}
	return kinds
}

func noSlotIdles(t *testing.T, ex executor.Executor) {
	seed := rand.Uint64()
	for name, costs := range loads(rand.New(rand.NewPCG(seed, 0))) {
		w := &clockwork{began: time.Now()}
		got, err := executor.Map(t.Context(), ex, w.work, costs).Results(soon(t))
		require.NoError(t, err)
		require.Equal(t, costs, got)
		w.requireBusy(t, ex.Slots(), fmt.Sprintf("%s, seed %d", name, seed))
	}
}

// noSlotIdlesSubmit: tasks that a slot has taken ahead are stolen by one that is hungry.
func noSlotIdlesSubmit(t *testing.T, ex executor.Executor) {
	seed := rand.Uint64()
	for name, costs := range loads(rand.New(rand.NewPCG(seed, 0))) {
		w := &clockwork{began: time.Now()}
		fs := executor.SubmitAll(t.Context(), ex, w.work, costs[:len(costs)/2])
		for _, cost := range costs[len(costs)/2:] {
			fs = append(fs, executor.Submit(t.Context(), ex, w.work, cost))
		}
		for i, f := range fs {
			require.Equal(t, costs[i], result(t, f))
		}
		w.requireBusy(t, ex.Slots(), fmt.Sprintf("%s, seed %d", name, seed))
	}
}

// noSlotIdlesTwo: the end of one batch is the beginning of the next, with tasks between.
func noSlotIdlesTwo(t *testing.T, ex executor.Executor) {
	seed := rand.Uint64()
	kinds := loads(rand.New(rand.NewPCG(seed, 0)))
	for _, pair := range [][2]string{
		{"huge last", "all alike"}, {"huge first", "huge first"}, {"fast first, slow last", "slow first, fast last"},
		{"fewer than slots", "all alike"}, {"by chance 0", "by chance 1"},
	} {
		w := &clockwork{began: time.Now()}
		first := executor.Map(t.Context(), ex, w.work, kinds[pair[0]])
		between := executor.SubmitAll(t.Context(), ex, w.work, kinds["by chance 2"][:50])
		second := executor.Map(t.Context(), ex, w.work, kinds[pair[1]])
		for _, f := range between {
			result(t, f)
		}
		require.NoError(t, second.Wait(soon(t)))
		require.NoError(t, first.Wait(soon(t)))
		w.requireBusy(t, ex.Slots(), fmt.Sprintf("%v, seed %d", pair, seed))
	}
}

// fixedChunks: the items of a fixed chunk follow each other without a gap, though other
// slots have nothing to do.
func fixedChunks(t *testing.T, ex executor.Executor) {
	const n, size = 95, 10
	began := time.Now()
	var all [n]stint
	fn := func(_ context.Context, i int) (int, error) {
		from := time.Since(began)
		time.Sleep(time.Duration(1+i*i) * time.Microsecond)
		all[i] = stint{from, time.Since(began)}
		return i, nil
	}
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	require.NoError(t, executor.Map(t.Context(), ex, fn, items, executor.WithChunkSize(size)).Wait(soon(t)))
	for i := range items {
		if i%size != 0 {
			require.Equal(t, all[i-1].to, all[i].from, "between items %d and %d of one chunk", i-1, i)
		}
	}
}
