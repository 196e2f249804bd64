package cell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/internal/cell"
)

// ran reports a run without counting it.
func ran(l *cell.Ledger, lo, hi int) { l.Ran(lo, hi, func(int, int) {}) }

// A ledger's account is that of a plain list of what ran, in whatever runs and in
// whatever order they are reported.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "items")
		l := &cell.Ledger{N: n}
		cuts := slices.Compact(append(append([]int{0}, slices.Sorted(slices.Values(rapid.SliceOf(rapid.IntRange(0, n)).Draw(t, "cuts")))...), n))
		runs := make([]cell.Run, 0, len(cuts))
		for i := range len(cuts) - 1 {
			runs = append(runs, cell.Run{Lo: cuts[i], Hi: cuts[i+1]})
		}
		runs = rapid.Permutation(runs).Draw(t, "runs")

		done := make([]bool, n)
		failed := map[int]error{}
		read := make([]int, 0, n)
		var each []int
		var cursor cell.Cursor
		var bad, good int
		readAll := func() {
			for r, ok := l.Next(&cursor); ok; r, ok = l.Next(&cursor) {
				for i := r.Lo; i < r.Hi; i++ {
					read = append(read, i)
				}
			}
		}
		order := []int{}
		for k, r := range runs {
			if k == rapid.IntRange(0, len(runs)).Draw(t, "each at") && each == nil {
				each = []int{}
				l.Each(func(lo, hi int) {
					for i := lo; i < hi; i++ {
						each = append(each, i)
					}
				})
			}
			for i := r.Lo; i < r.Hi; i++ {
				order = append(order, i)
				if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
					failed[i] = fmt.Errorf("item %d", i)
					l.FailItem(i, failed[i])
				}
			}
			l.Ran(r.Lo, r.Hi, func(g, b int) { good += g; bad += b })
			for i := r.Lo; i < r.Hi; i++ {
				done[i] = true
			}
			if rapid.Bool().Draw(t, "read") {
				readAll()
			}
			front := slices.Index(done, false)
			if front < 0 {
				front = n
			}
			got, failures := l.Front()
			require.Equal(t, front, got)
			require.Equal(t, len(failed) > 0, failures)
			require.Equal(t, len(order), l.Progress())
			require.Equal(t, len(order), good+bad)
			require.Equal(t, len(failed), bad)
			lowest, err := l.Failure()
			if len(failed) > 0 {
				want := slices.Min(keys(failed))
				require.Equal(t, want, lowest)
				require.Equal(t, failed[want], err)
			} else {
				require.NoError(t, err)
			}
		}
		readAll()
		require.Equal(t, order, read, "the cursor gives every item once, as they were reported")
		if each != nil {
			require.ElementsMatch(t, order, each)
		}
		for i := range n {
			require.Equal(t, failed[i], l.ItemErr(i))
		}
		require.Equal(t, n, l.Close())
		ran(l, 0, n)
		require.Equal(t, n, l.Progress(), "nothing is recorded once it is closed")
	})
}

func keys(m map[int]error) (ks []int) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

func TestLedgerReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &cell.Ledger{N: 10}
		l.Start(0)
		var mu sync.Mutex
		var got []string
		say := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf(format, args...))
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			var c cell.Cursor
			for {
				r, ok, err := l.WaitNext(t.Context(), &c)
				if !ok || err != nil {
					say("over %v", err)
					return
				}
				say("run %d-%d", r.Lo, r.Hi)
			}
		})
		synctest.Wait()
		assert.EqualValues(t, 1, l.Readers.Load())
		ran(l, 4, 6)
		synctest.Wait()
		ran(l, 6, 8) // the run grows
		synctest.Wait()
		wg.Go(func() {
			if err := l.WaitFront(t.Context(), 4); err != nil {
				panic(err)
			}
			n, _ := l.Front()
			say("front %d", n)
		})
		wg.Go(func() {
			ctx, end := context.WithTimeoutCause(t.Context(), time.Hour, errStop)
			defer end()
			if err := l.WaitFront(ctx, 9); !errors.Is(err, errStop) {
				panic(err)
			}
			say("late")
		})
		synctest.Wait()
		ran(l, 0, 4)
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		finish(&l.Core)
		wg.Wait()
		assert.Zero(t, l.Readers.Load())
		slices.Sort(got)
		assert.Equal(t, []string{"front 8", "late", "over <nil>", "run 0-4", "run 4-6", "run 6-8"}, got)
	})
}

// Readers see every item once, in time, while runs are reported from everywhere.
func TestLedgerReadersAgainstRuns(t *testing.T) {
	watch(t)
	for range 200 {
		const n = 60
		l := &cell.Ledger{N: n}
		l.Start(0)
		var readers, writers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				var c cell.Cursor
				seen := map[int]bool{}
				for {
					r, ok, err := l.WaitNext(context.Background(), &c)
					if err != nil {
						panic(err)
					}
					if !ok {
						break
					}
					for i := r.Lo; i < r.Hi; i++ {
						if seen[i] {
							panic("twice")
						}
						seen[i] = true
					}
				}
				if len(seen) != n {
					panic(fmt.Sprintf("saw %d", len(seen)))
				}
			})
			readers.Go(func() {
				for i := 0; i < n; {
					if err := l.WaitFront(context.Background(), i); err != nil {
						panic(err)
					}
					front, _ := l.Front()
					if front <= i {
						panic("woken for nothing")
					}
					i = front
				}
			})
		}
		for part := range 3 {
			writers.Go(func() {
				for i := part; i < n; i += 3 {
					ran(l, i, i+1)
				}
			})
		}
		writers.Wait()
		finish(&l.Core)
		readers.Wait()
	}
}

func TestSheetRelease(t *testing.T) {
	o := &owner{}
	s := &cell.Sheet[int]{Out: []int{1, 2}}
	s.Owner = o
	assert.Equal(t, []int{1, 2}, s.Results())
	s.Release()
	s.Release()
	assert.Nil(t, s.Results())
	assert.True(t, s.Core.Released())
	assert.Equal(t, 1, o.released)
}
