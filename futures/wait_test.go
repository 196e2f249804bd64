package futures_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

// Each case resolves four futures in an order, and says after how many Wait returns.
func TestWait(t *testing.T) {
	type step struct {
		at  int
		way string
	}
	good := []step{{2, "value"}, {0, "value"}, {3, "value"}, {1, "value"}}
	bad := []step{{2, "value"}, {0, "error"}, {3, "value"}, {1, "error"}}
	stopped := []step{{3, "value"}, {2, "value"}, {1, "cancel"}, {0, "value"}}
	for name, c := range map[string]struct {
		until futures.Until
		steps []step
		after int
	}{
		"all":                          {futures.AllCompleted, good, 4},
		"all, whatever fails":          {futures.AllCompleted, bad, 4},
		"first":                        {futures.FirstCompleted, good, 1},
		"first, a failure":             {futures.FirstCompleted, bad[1:], 1},
		"first, a cancellation":        {futures.FirstCompleted, stopped[2:], 1},
		"first failed":                 {futures.FirstFailed, bad, 2},
		"first failed, a cancellation": {futures.FirstFailed, stopped, 3},
		"first failed, none does":      {futures.FirstFailed, good, 4},
	} {
		for before := range c.after + 1 { // steps before Wait is called
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fs, resolve := promises(4)
					take := func(s step) { ways[s.way].end(fs[s.at], resolve[s.at]) }
					for _, s := range c.steps[:before] {
						take(s)
					}
					returned := make(chan struct{})
					go func() {
						defer close(returned)
						done, pending, err := futures.Wait(t.Context(), c.until, fs...)
						assert.NoError(t, err)
						var wantDone, wantPending []*futures.Future[int] // in the order of fs
						for i, f := range fs {
							isDone := func(s step) bool { return s.at == i }
							if slices.ContainsFunc(c.steps[:c.after], isDone) {
								wantDone = append(wantDone, f)
							} else {
								wantPending = append(wantPending, f)
							}
						}
						assert.Equal(t, wantDone, done)
						assert.Equal(t, wantPending, pending)
					}()
					for _, s := range c.steps[before:c.after] {
						synctest.Wait()
						assert.False(t, isClosed(returned))
						take(s)
					}
					<-returned
				})
			})
		}
	}
}

func TestWaitForNothing(t *testing.T) {
	for _, until := range []futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed} {
		done, pending, err := futures.Wait[*futures.Future[int]](ended(), until)
		require.NoError(t, err)
		assert.Empty(t, done)
		assert.Empty(t, pending)
	}
}

func TestWaitForDuplicates(t *testing.T) {
	f, g := futures.Value(1), cancelled(errStop)
	for _, until := range []futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed} {
		done, pending, err := futures.Wait(t.Context(), until, f, g, f)
		require.NoError(t, err)
		assert.Equal(t, []*futures.Future[int]{f, g, f}, done)
		assert.Empty(t, pending)
	}
}

func TestWaitersOfDifferentTypes(t *testing.T) {
	p, _ := futures.New[string]()
	ws := []futures.Waiter{futures.Value(1), p, futures.Error[[]byte](errBoom)}
	done, pending, err := futures.Wait(t.Context(), futures.FirstFailed, ws...)
	require.NoError(t, err)
	assert.Equal(t, []futures.Waiter{ws[0], ws[2]}, done)
	assert.Equal(t, []futures.Waiter{p}, pending)
}

// The lists are good even if ctx ended the wait.
func TestContextOfAWaitEnds(t *testing.T) {
	for _, until := range []futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed} {
		synctest.Test(t, func(t *testing.T) {
			fs, resolve := promises(3)
			if until != futures.FirstCompleted {
				resolve[1](1, nil)
			}
			ctx, end := context.WithCancelCause(t.Context())
			returned := make(chan struct{})
			go func() {
				defer close(returned)
				done, pending, err := futures.Wait(ctx, until, fs...)
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, errStop)
				if until == futures.FirstCompleted {
					assert.Equal(t, fs, pending)
				} else {
					assert.Equal(t, fs[1:2], done)
					assert.Equal(t, []*futures.Future[int]{fs[0], fs[2]}, pending)
				}
			}()
			synctest.Wait()
			assert.False(t, isClosed(returned))
			end(errStop)
			<-returned
		})
	}
	for _, until := range []futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed} {
		_, _, err := futures.Wait(ended(), until, futures.Error[int](errBoom))
		assert.NoError(t, err, "what is there wins")
	}
}

func TestWaitUntilWhat(t *testing.T) {
	done, pending, err := futures.Wait(t.Context(), futures.Until(7), futures.Value(1))
	assert.ErrorContains(t, err, "until 7")
	assert.Len(t, done, 1)
	assert.Empty(t, pending)
}

func TestAsCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, resolve := promises(5)
		resolve[3](3, nil)
		fs[1].Cancel(nil)
		got := make(chan *futures.Future[int])
		go func() {
			defer close(got)
			for f := range futures.AsCompleted(t.Context(), append(fs, fs[1], fs[4])...) {
				got <- f
			}
		}()
		assert.Same(t, fs[1], <-got, "those that are there come in the order of the list")
		assert.Same(t, fs[3], <-got)
		for _, i := range []int{4, 0} {
			synctest.Wait()
			assert.Empty(t, got)
			resolve[i](i, nil)
			assert.Same(t, fs[i], <-got)
		}
		resolve[2](0, errBoom)
		assert.Same(t, fs[2], <-got)
		_, more := <-got
		assert.False(t, more, "each comes once")
	})
}

func TestAsCompletedTwice(t *testing.T) {
	fs := []*futures.Future[int]{futures.Value(0), futures.Value(1)}
	seq := futures.AsCompleted(t.Context(), fs...)
	for range 2 {
		assert.Equal(t, fs, slices.Collect(seq))
	}
	assert.Empty(t, slices.Collect(futures.AsCompleted[*futures.Future[int]](t.Context())))
}

func TestAsCompletedIsLeft(t *testing.T) {
	fs, resolve := promises(3)
	resolve[2](2, nil)
	for f := range futures.AsCompleted(t.Context(), fs...) {
		assert.Same(t, fs[2], f)
		break
	}
	assert.Panics(t, func() {
		for range futures.AsCompleted(t.Context(), fs...) {
			panic("of the loop")
		}
	})
	assert.Equal(t, fs[2:], slices.Collect(futures.AsCompleted(ended(), fs...)), "ctx ends it after what is there")
	assert.True(t, resolve[0](0, nil))
}

func TestContextOfAsCompletedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, _ := promises(2)
		ctx, end := context.WithCancel(t.Context())
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			assert.Empty(t, slices.Collect(futures.AsCompleted(ctx, fs...)))
		}()
		synctest.Wait()
		assert.False(t, isClosed(returned))
		end()
		<-returned
	})
}
