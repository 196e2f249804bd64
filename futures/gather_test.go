package futures_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

func TestGather(t *testing.T) {
	watch(t)
	const n = 10000
	fs, resolve := promises(n)
	want := make([]int, n)
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < n; i += 4 {
				resolve[i](i, nil)
			}
		})
	}
	for i := range want {
		want[i] = i
	}
	got, err := futures.Gather(t.Context(), fs...)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	wg.Wait()

	got, err = futures.Gather(t.Context(), fs[2], fs[1], fs[2])
	require.NoError(t, err)
	assert.Equal(t, []int{2, 1, 2}, got)
	got, err = futures.Gather(ended(), fs[:3]...)
	require.NoError(t, err, "finished futures win over an ended ctx")
	assert.Equal(t, []int{0, 1, 2}, got)
}

func TestGatherOfNothing(t *testing.T) {
	got, err := futures.Gather[int](ended())
	require.NoError(t, err)
	assert.NotNil(t, got)
	assert.Empty(t, got)
	assert.Empty(t, futures.Settle[int](ended()))
}

func TestGatherFails(t *testing.T) {
	released := futures.Value(1)
	released.Release()
	never, _ := futures.New[int]()
	for name, c := range map[string]struct {
		fs    []*futures.Future[int]
		index int
		err   error
	}{
		"one":                    {[]*futures.Future[int]{futures.Error[int](errBoom)}, 0, errBoom},
		"the lowest of many":     {[]*futures.Future[int]{futures.Value(1), futures.Error[int](errBoom), futures.Error[int](errStop)}, 1, errBoom},
		"cancelled":              {[]*futures.Future[int]{futures.Value(1), cancelled(errStop)}, 1, errStop},
		"released":               {[]*futures.Future[int]{released, futures.Value(1)}, 0, futures.ErrReleased},
		"before one that waits":  {[]*futures.Future[int]{futures.Error[int](errBoom), never}, 0, errBoom},
		"behind one that waits":  {[]*futures.Future[int]{never, futures.Error[int](errBoom)}, 1, errBoom},
		"between some that wait": {[]*futures.Future[int]{never, futures.Error[int](errBoom), never}, 1, errBoom},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t)
			got, err := futures.Gather(t.Context(), c.fs...)
			assert.Nil(t, got)
			var item *futures.ItemError
			require.ErrorAs(t, err, &item)
			assert.Equal(t, c.index, item.Index)
			assert.ErrorIs(t, item.Err, c.err)
		})
	}
	assert.Equal(t, futures.Pending, never.State(), "the others go on")
}

// The first failure ends a Gather, wherever in the list it is, and whatever it waits for.
func TestGatherEndsAtTheFirstFailure(t *testing.T) {
	for at := range 3 {
		synctest.Test(t, func(t *testing.T) {
			fs, resolve := promises(3)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := futures.Gather(t.Context(), fs...)
				assert.Equal(t, &futures.ItemError{Index: at, Err: errBoom}, err)
			})
			synctest.Wait()
			resolve[at](0, errBoom)
			wg.Wait()
			for i, f := range fs {
				assert.Equal(t, i == at, f.State().Done())
			}
		})
	}
}

func TestContextOfAGatherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, resolve := promises(3)
		resolve[1](1, nil)
		ctx, end := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := futures.Gather(ctx, fs...)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errStop)
			var item *futures.ItemError
			assert.NotErrorAs(t, err, &item)
		})
		wg.Go(func() {
			out := futures.Settle(ctx, fs...)
			assert.Equal(t, futures.Outcome[int]{Value: 1}, out[1])
			for _, i := range []int{0, 2} {
				assert.ErrorIs(t, out[i].Err, context.Canceled)
				assert.ErrorIs(t, out[i].Err, errStop)
			}
		})
		synctest.Wait()
		end(errStop)
		wg.Wait()
		assert.Equal(t, futures.Pending, fs[0].State())
	})
}

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, resolve := promises(5)
		fs[4] = fs[0]
		released := futures.Value(1)
		released.Release()
		var wg sync.WaitGroup
		wg.Go(func() {
			assert.Equal(t, []futures.Outcome[int]{
				{Value: 1}, {Err: errBoom}, {Err: &futures.CancelError{Cause: errStop}}, {Value: 2}, {Value: 1},
				{Err: futures.ErrReleased},
			}, futures.Settle(t.Context(), append(fs, released)...))
		})
		resolve[1](0, errBoom)
		fs[2].Cancel(errStop)
		synctest.Wait()
		resolve[3](2, nil)
		resolve[0](1, nil)
		wg.Wait()
	})
}
