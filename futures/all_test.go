package futures_test

import (
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

func TestAll(t *testing.T) {
	fs, resolve := promises(3)
	a := futures.All(fs[0], fs[1], fs[2], fs[0])
	assert.Equal(t, "pending: for 4 inputs", a.String())
	resolve[2](2, nil)
	resolve[0](0, nil)
	assert.Equal(t, "pending: for 1 input", a.String())
	assert.Equal(t, futures.Pending, a.State())
	resolve[1](1, nil)
	require.NoError(t, a.Wait(t.Context()))
	v, err := a.Result(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1, 2, 0}, v)
	assert.Equal(t, "finished", a.String())
	assert.Empty(t, a.Key())

	v, err = futures.All(fs[2], fs[1]).Result(t.Context())
	require.NoError(t, err, "of what is there")
	assert.Equal(t, []int{2, 1}, v)
}

func TestAllOfNothing(t *testing.T) {
	a := futures.All[int]()
	require.Equal(t, futures.Finished, a.State())
	v, err := a.Result(t.Context())
	require.NoError(t, err)
	assert.NotNil(t, v)
	assert.Empty(t, v)
}

func TestJoin(t *testing.T) {
	f, resolveF := futures.New[int]()
	g, resolveG := futures.New[string]()
	j := futures.Join(f, g)
	assert.Equal(t, "pending: for 2 inputs", j.String())
	resolveG("g", nil)
	assert.Equal(t, "pending: for 1 input", j.String())
	resolveF(1, nil)
	v, err := j.Result(t.Context())
	require.NoError(t, err)
	assert.Equal(t, futures.Pair[int, string]{First: 1, Second: "g"}, v)
	assert.Empty(t, j.Key())

	same, err := futures.Join(f, f).Result(t.Context())
	require.NoError(t, err)
	assert.Equal(t, futures.Pair[int, int]{First: 1, Second: 1}, same)
}

// The first failure of an input ends a reference, with others still missing: All has
// failed with its place, Join ends as the input did.
func TestReferencesFailAtTheFirstFailure(t *testing.T) {
	for name, way := range ways {
		if way.err == nil {
			continue
		}
		for _, early := range []bool{false, true} {
			for at := range 2 {
				fs, resolve := promises(2)
				if early {
					way.end(fs[at], resolve[at])
				}
				a, j := futures.All(fs...), futures.Join(fs[0], fs[1])
				twice := futures.All(fs[at], fs[at])
				if !early {
					way.end(fs[at], resolve[at])
				}
				assert.Equal(t, futures.Failed, a.State(), name)
				assert.Equal(t, &futures.ItemError{Index: at, Err: way.err}, a.Err(), name)
				assert.Equal(t, &futures.ItemError{Index: 0, Err: way.err}, twice.Err(), name)
				assert.Equal(t, way.state, j.State(), name)
				assert.Equal(t, fs[at].Err(), j.Err(), name)
				if way.state == futures.Cancelled {
					assert.Same(t, fs[at].Err(), j.Err(), "not one CancelError around the other")
				}

				other := 1 - at
				assert.Equal(t, futures.Pending, fs[other].State())
				assert.True(t, resolve[other](0, errStop))
				assert.Equal(t, &futures.ItemError{Index: at, Err: way.err}, a.Err(), "for good")
				assert.Equal(t, fs[at].Err(), j.Err(), "for good")
			}
		}
	}
}

func TestCancelOfAReferenceLeavesItsInputs(t *testing.T) {
	fs, resolve := promises(2)
	a, j := futures.All(fs...), futures.Join(fs[0], fs[1])
	resolve[0](1, nil)
	assert.True(t, a.Cancel(errStop))
	assert.True(t, j.Cancel(errStop))
	for _, w := range []futures.Waiter{a, j} {
		assert.Equal(t, futures.Cancelled, w.State())
		assert.Equal(t, &futures.CancelError{Cause: errStop}, w.Err())
		assert.False(t, w.Cancel(nil))
	}
	assert.Equal(t, futures.Pending, fs[1].State())
	assert.True(t, resolve[1](2, nil))
	assert.Equal(t, futures.Cancelled, a.State())
}

// An input that is released after it became one still gives its value.
func TestReferencesKeepReleasedInputs(t *testing.T) {
	for _, early := range []bool{false, true} { // the release, before the value
		fs, resolve := promises(2)
		a, j := futures.All(fs...), futures.Join(fs[1], fs[0])
		resolve[0](1, nil)
		if early {
			fs[1].Release()
		}
		resolve[1](2, nil)
		fs[0].Release()
		fs[1].Release()
		v, err := a.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2}, v)
		pair, err := j.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, futures.Pair[int, int]{First: 2, Second: 1}, pair)
		_, err = fs[1].Result(t.Context())
		assert.Equal(t, futures.ErrReleased, err)

		a.Release()
		_, err = a.Result(t.Context())
		assert.Equal(t, futures.ErrReleased, err)
	}
}

func TestReferencesToWhatWasReleasedBefore(t *testing.T) {
	pending, _ := futures.New[int]()
	for _, f := range []*futures.Future[int]{futures.Value(1), pending} {
		f.Release()
		assert.Equal(t, &futures.ItemError{Index: 1, Err: futures.ErrReleased}, futures.All(futures.Value(0), f).Err())
		assert.Equal(t, futures.ErrReleased, futures.Join(f, futures.Value(0)).Err())
		assert.Equal(t, futures.ErrReleased, futures.Join(futures.Value(0), f).Err())
	}
}

// A value that all references to it have let go of is garbage.
func TestReleasedAllKeepsNothing(t *testing.T) {
	watch(t)
	type large [1 << 16]byte
	f, resolve := futures.New[*large]()
	a := futures.All(f)
	v := func() weak.Pointer[large] {
		v := &large{}
		resolve(v, nil)
		return weak.Make(v)
	}()
	f.Release()
	runtime.GC()
	assert.NotNil(t, v.Value())
	a.Release()
	for v.Value() != nil {
		runtime.GC()
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(a)
}

// References may be inputs of references, and one future an input of many.
func TestReferencesOfReferences(t *testing.T) {
	for name, way := range ways {
		f, resolve := futures.New[int]()
		var alls []*futures.Future[[]int]
		for range 1000 {
			alls = append(alls, futures.All(f, futures.Value(1)))
		}
		top := futures.Join(futures.All(alls...), f)
		way.end(f, resolve)
		require.True(t, top.State().Done(), name)
		v, err := top.Result(t.Context())
		if way.err != nil {
			assert.ErrorIs(t, err, f.Err(), name)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, 7, v.Second)
		require.Len(t, v.First, 1000)
		assert.Equal(t, []int{7, 1}, v.First[999])
	}
}

// The inputs come from many goroutines while the reference is cancelled.
func TestReferencesUnderRace(t *testing.T) {
	watch(t)
	for round := range 1500 {
		fs, resolve := promises(4)
		var a *futures.Future[[]int]
		var j *futures.Future[futures.Pair[int, int]]
		var wg sync.WaitGroup
		for i := range fs {
			wg.Go(func() {
				if round%3 == 0 && i == 2 {
					resolve[i](0, errBoom)
				} else {
					resolve[i](i, nil)
				}
			})
		}
		wg.Go(func() {
			a, j = futures.All(fs...), futures.Join(fs[1], fs[2])
			if round%2 == 0 {
				a.Cancel(errStop)
				j.Cancel(errStop)
			}
		})
		wg.Go(func() {
			fs[0].Release()
			fs[2].Release()
		})
		wg.Wait()
		require.True(t, a.State().Done())
		require.True(t, j.State().Done())
		switch v, err := a.Result(t.Context()); a.State() {
		case futures.Finished:
			require.Equal(t, []int{0, 1, 2, 3}, v)
		case futures.Cancelled:
			require.ErrorIs(t, err, errStop)
		default:
			var item *futures.ItemError
			require.ErrorAs(t, err, &item)
			require.Contains(t, []error{errBoom, futures.ErrReleased}, item.Err)
		}
		switch v, err := j.Result(t.Context()); j.State() {
		case futures.Finished:
			require.Equal(t, futures.Pair[int, int]{First: 1, Second: 2}, v)
		case futures.Cancelled:
			require.ErrorIs(t, err, errStop)
		default:
			require.Contains(t, []error{errBoom, futures.ErrReleased}, err)
		}
	}
}
