package futures_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

type completions = futures.Completions[*futures.Future[int]]

// The loop's body adds what follows from what it got.
func TestCompletionsGrow(t *testing.T) {
	watch(t)
	c := futures.NewCompletions(futures.Value(5))
	var got []int
	for f := range c.All(t.Context()) {
		n, err := f.Result(t.Context())
		require.NoError(t, err)
		got = append(got, n)
		if n > 0 {
			p, resolve := futures.New[int]()
			c.Add(p)
			go resolve(n-1, nil)
		}
	}
	assert.Equal(t, []int{5, 4, 3, 2, 1, 0}, got)
	assert.Zero(t, c.Len())
}

func TestCompletionsCount(t *testing.T) {
	var c completions // the zero value
	assert.Zero(t, c.Len())
	assert.Empty(t, slices.Collect(c.All(t.Context())))
	c.Add()
	assert.Zero(t, c.Len())

	fs, resolve := promises(3)
	c.Add(fs[0], fs[1], fs[0])
	c.Add(fs[1], fs[2])
	assert.Equal(t, 3, c.Len(), "duplicates count once")
	resolve[1](1, nil)
	assert.Equal(t, 3, c.Len(), "it is there, but not yielded")
	for f := range c.All(t.Context()) {
		assert.Same(t, fs[1], f)
		assert.Equal(t, 2, c.Len())
		break
	}
	c.Add(fs[1]) // again, since it was yielded
	assert.Equal(t, 3, c.Len())
	assert.Equal(t, fs[1:2], slices.Collect(c.All(ended())))

	resolve[2](2, nil)
	fs[0].Cancel(nil)
	assert.Equal(t, []*futures.Future[int]{fs[2], fs[0]}, slices.Collect(c.All(t.Context())), "what another loop left")
	assert.Zero(t, c.Len())
}

// Who waits is woken by what is added meanwhile.
func TestCompletionsAddedToFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, resolve := promises(2)
		c := futures.NewCompletions(fs[0])
		got := make(chan *futures.Future[int])
		go func() {
			defer close(got)
			for f := range c.All(t.Context()) {
				got <- f
			}
		}()
		synctest.Wait()
		late := futures.Value(1)
		c.Add(late)
		assert.Same(t, late, <-got)
		c.Add(fs[1])
		synctest.Wait()
		resolve[1](1, nil)
		assert.Same(t, fs[1], <-got)
		resolve[0](1, nil)
		assert.Same(t, fs[0], <-got)
		_, more := <-got
		assert.False(t, more)
	})
}

func TestContextOfCompletionsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, resolve := promises(1)
		c := futures.NewCompletions(fs...)
		ctx, end := context.WithCancel(t.Context())
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			assert.Empty(t, slices.Collect(c.All(ctx)))
		}()
		synctest.Wait()
		end()
		<-returned
		assert.Equal(t, 1, c.Len())
		resolve[0](1, nil)
		assert.Equal(t, fs, slices.Collect(c.All(t.Context())))
	})
}

// Several loops share what is added while they run: each future goes to one of them.
func TestCompletionsShared(t *testing.T) {
	watch(t)
	const n = 3000
	var c completions
	fs, resolve := promises(n)
	c.Add(fs[0]) // so that no loop ends before the rest is added
	var readers, writers sync.WaitGroup
	got := make([][]*futures.Future[int], 3)
	for i := range got {
		readers.Go(func() { got[i] = slices.Collect(c.All(context.Background())) })
	}
	for part := range 3 {
		writers.Go(func() {
			for i := 1 + part; i < n; i += 3 {
				c.Add(fs[i])
			}
		})
		writers.Go(func() {
			for i := 1 + part; i < n; i += 3 {
				switch i % 5 {
				case 0:
					resolve[i](0, errBoom)
				case 1:
					fs[i].Cancel(nil)
				default:
					resolve[i](i, nil)
				}
			}
		})
	}
	writers.Wait()
	resolve[0](0, nil)
	readers.Wait()
	times := map[*futures.Future[int]]int{}
	for _, f := range slices.Concat(got...) {
		times[f]++
	}
	for i, f := range fs {
		require.Equal(t, 1, times[f], "future %d", i)
	}
	assert.Zero(t, c.Len())
}
