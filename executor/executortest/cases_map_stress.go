package executortest

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func mapStressCases(t *testing.T, open opener) {
	check(t, open, "G14/AMillionItems", mapMillion)
	check(t, open, "G15/AnyMixtureOfFailuresAndCancels", mapAnyMixture)
}

func mapMillion(t *testing.T, ex executor.Executor) {
	items := make([]int, 1_000_000/less)
	for i := range items {
		items[i] = i
	}
	for range 3 {
		b := executor.Map(t.Context(), ex, triple, items)
		got, err := b.Results(soon(t))
		require.NoError(t, err)
		for i, v := range got {
			if v != 3*i {
				t.Fatalf("item %d: %d", i, v)
			}
		}
		b.Release()
	}
}

// mapAnyMixture compares batches made by chance with what their items say.
func mapAnyMixture(t *testing.T, ex executor.Executor) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		n := rnd.IntN(1 + 1<<rnd.IntN(10))
		keep, cancelAt := rnd.IntN(2) == 0, -1
		var opts []executor.Option
		if rnd.IntN(2) == 0 {
			opts = append(opts, executor.WithChunkSize(1+rnd.IntN(n+3)))
		}
		if keep {
			opts = append(opts, executor.WithKeepGoing())
		}
		if rnd.IntN(3) == 0 {
			cancelAt = rnd.IntN(n + 1)
		}
		rate := rnd.IntN(200) + 1
		items := steps(n, func(s *step) {
			if rnd.IntN(rate) == 0 {
				s.Do = []string{fails, panics, exits}[rnd.IntN(3)]
			}
		})
		b := executor.Map(t.Context(), ex, doStep, items, opts...)
		cancelled := cancelAt == 0 && b.Cancel(errCause)
		if cancelAt > 0 {
			left := cancelAt
			for range b.AsCompleted(soon(t)) {
				if left--; left == 0 {
					cancelled = b.Cancel(errCause)
					break
				}
			}
		}
		requireModel(t, b, items, keep, cancelled)
	}
}

// requireModel: the batch is what comes of the items, if it keeps going or not, and was
// cancelled or not.
func requireModel(t *testing.T, b *futures.Batch[int], items []step, keep, cancelled bool) {
	t.Helper()
	out, err := b.Outcomes(soon(t))
	require.NoError(t, err)
	require.Len(t, out, len(items))
	first, ran, willFail := -1, 0, false
	for i, o := range out {
		willFail = willFail || items[i].Do != ""
		if errors.Is(o.Err, futures.ErrCancelled) {
			continue
		}
		ran++
		var p *futures.PanicError
		switch items[i].Do {
		case "":
			require.NoError(t, o.Err)
			require.Equal(t, answer(i), o.Value, "item %d of %d, keep %v, cancelled %v, batch %v", i, len(items), keep, cancelled, b)
			continue
		case fails:
			require.ErrorIs(t, o.Err, errStep)
		case panics:
			require.ErrorAs(t, o.Err, &p)
		case exits:
			require.ErrorIs(t, o.Err, futures.ErrGoexit)
		}
		if first < 0 {
			first = i
		}
	}
	done, total := b.Progress()
	require.Equal(t, []int{ran, len(items)}, []int{done, total})
	v, err := b.Results(soon(t))
	switch {
	case cancelled:
		require.Equal(t, futures.Cancelled, b.State())
		require.ErrorIs(t, err, errCause)
		return
	case !willFail:
		require.Equal(t, futures.Finished, b.State())
		require.NoError(t, err)
		require.Equal(t, answers(len(items)), append([]int{}, v...))
	case keep:
		require.Equal(t, futures.Finished, b.State())
		require.Equal(t, len(items), ran)
		requireItem(t, err, first, nil)
	default:
		require.Equal(t, futures.Failed, b.State())
		requireItem(t, err, first, nil)
	}
	at := 0
	for v, err := range b.All(soon(t)) {
		if err == nil {
			require.Equal(t, answer(at), v)
		} else if keep || at == first {
			requireItem(t, err, at, nil)
		}
		at++
	}
	require.True(t, at == len(items) || !keep && at > 0, "All yielded %d of %d", at, len(items))
}
