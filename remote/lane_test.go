package remote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// A parcel is an argument that holds pointers, and so is encoded when it is submitted.
type parcel struct {
	Text  string
	Parts []int
	Times int
}

var errOdd = errors.New("remote_test: odd")

func unpacked(_ context.Context, p parcel) (parcel, error) {
	p.Text = strings.Repeat(p.Text, p.Times)
	return p, nil
}

func evenOnly(_ context.Context, n int) (int, error) {
	if n%2 != 0 {
		return 0, fmt.Errorf("%d: %w", n, errOdd)
	}
	return n, nil
}

func awaitCtx(ctx context.Context, _ int) (string, error) {
	<-ctx.Done()
	return "", context.Cause(ctx)
}

// deepFib is recursion by plain calls.
func deepFib(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	ex, _ := executor.FromContext(ctx)
	a := executor.Submit(ctx, ex, deepFib, n-1)
	b := executor.Submit(ctx, ex, deepFib, n-2)
	x, err := a.Result(ctx)
	if err != nil {
		return 0, err
	}
	y, err := b.Result(ctx)
	return x + y, err
}

func ownID(ctx context.Context, _ int) (executor.TaskInfo, error) {
	info, _ := executor.TaskFromContext(ctx)
	return info, nil
}

func init() {
	executor.Register(unpacked)
	executor.Register(evenOnly)
	executor.Register(awaitCtx)
	executor.Register(deepFib)
	executor.Register(ownID)
	executor.Register(errMany)
	executor.RegisterError(errOdd)
}

const narrow = "proc://?workers=2&threads=1"

// Calls of several functions, with arguments and results of all sizes, keep apart.
func TestPlainCallsOfManyKinds(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	const n = 3000
	var squares, evens []*futures.Future[int]
	var parcels []*futures.Future[parcel]
	var texts []string
	for i := range n {
		squares = append(squares, executor.Submit(ctx, ex, squared, i))
		if i%3 == 0 {
			p := parcel{Text: fmt.Sprint(i, "-"), Parts: make([]int, i%50), Times: 1}
			switch {
			case i%300 == 0:
				p.Times = 50_000 // it stays at its worker
			case i%500 == 0:
				p.Text = strings.Repeat("long", 4000) // it is no plain call
			}
			texts = append(texts, strings.Repeat(p.Text, p.Times))
			parcels = append(parcels, executor.Submit(ctx, ex, unpacked, p))
		}
		evens = append(evens, executor.Submit(ctx, ex, evenOnly, i))
	}
	for i, f := range squares {
		v, err := f.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, i*i, v)
	}
	for i, f := range evens {
		v, err := f.Result(ctx)
		if i%2 != 0 {
			require.ErrorIs(t, err, errOdd)
			require.ErrorContains(t, err, fmt.Sprintf("%d: ", i))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, i, v)
	}
	for k, f := range parcels {
		i := 3 * k
		v, err := f.Result(ctx)
		require.NoError(t, err)
		require.True(t, texts[k] == v.Text, "text of %d", i)
		require.Len(t, v.Parts, i%50)
	}
	s := ex.Stats()
	assert.EqualValues(t, n/2, s.Failed)
	assert.EqualValues(t, 2*n+n/3-n/2, s.Finished)
	assert.Zero(t, s.Pending+s.Running+s.Cancelled+s.Abandoned)
}

// The end of a ctx reaches calls that nobody waits for: those that run, those that wait at
// a worker, and those that wait here.
func TestPlainCallsEndWithTheirCtx(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	mine, cancel := context.WithCancelCause(ctx)
	var fs []*futures.Future[string]
	for i := range 500 {
		fs = append(fs, executor.Submit(mine, ex, awaitCtx, i))
	}
	other := executor.Submit(ctx, ex, squared, 7)
	eventually(t, "two run", func() bool { return ex.Stats().Running == 2 })
	require.Equal(t, futures.Pending, other.State())
	why := errors.New("enough")
	cancel(why)
	v, err := other.Result(ctx) // the slots are free again
	require.NoError(t, err)
	require.Equal(t, 49, v)
	for _, f := range fs {
		require.Equal(t, futures.Cancelled, f.State())
		require.ErrorIs(t, f.Err(), why)
	}
	eventually(t, "all have returned", func() bool { s := ex.Stats(); return s.Running+s.Abandoned+s.Pending == 0 })
	assert.EqualValues(t, 500, ex.Stats().Cancelled)
}

// Calls that are cancelled one by one leave the others alone, wherever they are.
func TestPlainCallsCancelledOneByOne(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	held := []*futures.Future[string]{executor.Submit(ctx, ex, awaitCtx, 0), executor.Submit(ctx, ex, awaitCtx, 1)}
	eventually(t, "two run", func() bool { return ex.Stats().Running == 2 })
	var fs []*futures.Future[int]
	for i := range 1000 {
		fs = append(fs, executor.Submit(ctx, ex, squared, i))
	}
	require.Regexp(t, "pending: behind [0-9]+", fs[999].String())
	for i, f := range fs {
		if i%3 == 0 {
			require.True(t, f.Cancel(nil))
		}
	}
	for _, f := range held {
		require.True(t, f.Cancel(nil))
	}
	for i, f := range fs {
		v, err := f.Result(ctx)
		if i%3 == 0 {
			require.ErrorIs(t, err, futures.ErrCancelled)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, i*i, v)
	}
	require.NoError(t, ex.Shutdown(ctx))
}

// A worker that is lost with many plain calls, and a task among them that uses its ctx.
func TestPlainCallsSurviveTheirWorker(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	var fs []*futures.Future[int]
	for i := range 20_000 {
		fs = append(fs, executor.Submit(ctx, ex, spin, i))
	}
	seen := watched(fs[len(fs)-1])
	for _, part := range []int{500, 5000} {
		require.NoError(t, fs[part].Wait(ctx))
		kill9(t, ex.Stats().Workers[0].PID)
	}
	for i, f := range fs {
		v, err := f.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, i*i, v)
	}
	seen.check(t)
	s := ex.Stats()
	assert.EqualValues(t, len(fs), s.Finished)
	assert.Positive(t, s.Lost)
}

// Without a worker plain calls wait for the next, and fail if there is none.
func TestPlainCallsWithoutWorkers(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=1&threads=1")
	held := executor.Submit(ctx, ex, awaitCtx, 0)
	eventually(t, "it runs", func() bool { return ex.Stats().Running == 1 })
	var fs []*futures.Future[int]
	for i := range 5000 {
		fs = append(fs, executor.Submit(ctx, ex, squared, i))
	}
	kill9(t, ex.Stats().Workers[0].PID)
	eventually(t, "another worker has it", func() bool { s := ex.Stats(); return s.Running == 1 && s.Lost > 0 })
	held.Cancel(nil)
	for i, f := range fs {
		v, err := f.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, i*i, v)
	}
}

func TestPlainCallsRecurse(t *testing.T) {
	ctx := watch(t)
	for _, dsn := range []string{"proc://?workers=1&threads=1", "proc://?workers=2&threads=2"} {
		v, err := executor.Submit(ctx, open(t, dsn), deepFib, 11).Result(ctx)
		require.NoError(t, err)
		require.Equal(t, 89, v)
	}
}

// errMany is an error of 40 errors of 16 KB each: more than a frame holds.
func errMany(_ context.Context, n int) (int, error) {
	list := make([]error, 40)
	for i := range list {
		list[i] = fmt.Errorf("%s %w", strings.Repeat("x", 16<<10), errOdd)
	}
	return 0, errors.Join(list...)
}

func TestPlainCallWithALargeError(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	for range 3 {
		_, err := executor.Submit(ctx, ex, errMany, 1).Result(ctx)
		require.ErrorIs(t, err, errOdd)
		require.Greater(t, len(err.Error()), 60<<10)
	}
	v, err := executor.Submit(ctx, ex, squared, 5).Result(ctx)
	require.NoError(t, err)
	require.Equal(t, 25, v)
}

// A plain call's function sees what any other's does.
func TestPlainCallKnowsItself(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	ids := map[string]bool{}
	for range 100 {
		info, err := executor.Submit(ctx, ex, ownID, 0).Result(ctx)
		require.NoError(t, err)
		require.Regexp(t, `^task-\d+$`, info.ID)
		require.False(t, ids[info.ID], "an ID was used twice")
		ids[info.ID] = true
		require.Equal(t, 1, info.Attempt)
		require.Contains(t, []string{"proc-0", "proc-1"}, info.Worker)
		require.Contains(t, info.Name, "ownID")
	}
}

// Closing with many under way ends them all, and Submit after it fails.
func TestPlainCallsAndClose(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	var fs []*futures.Future[int]
	for i := range 10_000 {
		fs = append(fs, executor.Submit(ctx, ex, squared, i))
	}
	require.NoError(t, ex.Close())
	for _, f := range fs {
		require.True(t, f.State().Done(), f.String())
		if err := f.Err(); err != nil {
			require.ErrorIs(t, err, executor.ErrClosed)
		}
	}
	require.ErrorIs(t, executor.Submit(ctx, ex, squared, 1).Err(), executor.ErrClosed)
}

// Many ctxs that can end, in turn, leave nothing behind with the one above.
func TestPlainCallsUnderManyCtxs(t *testing.T) {
	ctx := watch(t)
	ex := open(t, narrow)
	a, stopA := context.WithCancel(ctx)
	defer stopA()
	b, stopB := context.WithCancel(ctx)
	var fs []*futures.Future[int]
	for i := range 2000 {
		for _, under := range []context.Context{a, b} {
			fs = append(fs, executor.Submit(under, ex, squared, i))
		}
	}
	stopB()
	for i, f := range fs {
		v, err := f.Result(ctx)
		if i%2 == 1 && err != nil {
			require.ErrorIs(t, err, context.Canceled)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, (i/2)*(i/2), v)
	}
	require.ErrorIs(t, executor.Submit(b, ex, squared, 1).Err(), context.Canceled)
}
