package executor_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func newStrict(t *testing.T, cfg executor.Config) *executor.Local {
	t.Helper()
	cfg.Strict = true
	ex, err := executor.NewLocal(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ex.Close()) })
	return ex
}

// Functions for strict tests, of which only some are registered.

type (
	strictChan   struct{ Parts []struct{ Out chan int } }
	strictFunc   struct{ Hooks map[string]func() }
	strictAny    struct{ Box struct{ V any } }
	strictHidden struct{ Box struct{ V, v int } }
	strictRing   struct {
		Name string
		Next *strictRing
	}
	strictIn struct {
		One  *futures.Future[int]
		Many []*futures.Future[int]
		Plus int
	}
)

func strictEcho[T any](_ context.Context, v T) (T, error) { return v, nil }

func strictUnregistered(context.Context, int) (int, error) { return 0, nil }

func strictMakesRing(_ context.Context, n int) (*strictRing, error) {
	r := &strictRing{Name: "a"}
	r.Next = &strictRing{Name: "b", Next: r}
	return r, nil
}

func strictMakesChan(context.Context, int) (chan int, error) { return nil, nil }

func strictMakesBytes(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }

func strictChanges(_ context.Context, v []int) (int, error) {
	slices.Sort(v)
	return v[0], nil
}

func strictChangesAndFails(_ context.Context, v []int) (int, error) {
	slices.Sort(v)
	return 0, io.EOF
}

// strictKept is the argument that the function got, and the result that it gave.
var strictKept [2][]int

func strictKeeps(_ context.Context, v []int) ([]int, error) {
	strictKept = [2][]int{v, slices.Clone(v)}
	return strictKept[1], nil
}

func strictSum(ctx context.Context, in strictIn) (int, error) {
	total := in.Plus
	for _, f := range append([]*futures.Future[int]{in.One}, in.Many...) {
		v, err := f.Result(ctx)
		if err != nil {
			return 0, err
		}
		total += v
	}
	return total, nil
}

func strictTotal(_ context.Context, v []int) (total int, err error) {
	for _, n := range v {
		total += n
	}
	return total, nil
}

type strictKey struct{}

func strictValue(ctx context.Context, _ int) (string, error) {
	return fmt.Sprint(ctx.Value(strictKey{})), nil
}

func init() {
	executor.Register(strictEcho[int])
	executor.Register(strictEcho[[]int])
	executor.Register(strictEcho[strictChan])
	executor.Register(strictEcho[strictFunc])
	executor.Register(strictEcho[strictAny])
	executor.Register(strictEcho[strictHidden])
	executor.Register(strictEcho[*strictRing])
	executor.Register(strictEcho[func()])
	executor.Register(strictEcho[[]byte])
	executor.Register(strictMakesRing)
	executor.Register(strictMakesChan)
	executor.Register(strictMakesBytes)
	executor.Register(strictChanges)
	executor.Register(strictChangesAndFails)
	executor.Register(strictKeeps)
	executor.Register(strictSum)
	executor.Register(strictTotal)
	executor.Register(strictValue)
	executor.Register(strictFails)
}

// failed waits for a future that must have failed with want, and checks that the error
// says each of texts.
func failed(t *testing.T, w futures.Waiter, want error, texts ...string) {
	t.Helper()
	err := w.Wait(t.Context())
	require.ErrorIs(t, err, want)
	require.Equal(t, futures.Failed, w.State())
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}

func TestStrictRefusesFunctions(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 2})
	captured := 1
	closure := func(context.Context, int) (int, error) { return captured, nil }
	is := executor.ErrNotRegistered

	failed(t, executor.Submit(t.Context(), ex, strictUnregistered, 1), is,
		"executor_test.strictUnregistered", "strict_test.go:", "executor.Register(strictUnregistered)")
	failed(t, executor.Submit(t.Context(), ex, closure, 1), is, "TestStrictRefusesFunctions", "literal", "top-level function")
	failed(t, executor.Go(t.Context(), ex, func(context.Context) (int, error) { return captured, nil }), is)
	failed(t, executor.Then(t.Context(), ex, strictUnregistered, futures.Value(1)), is, "strictUnregistered")
	failed(t, executor.SubmitAll(t.Context(), ex, strictUnregistered, []int{1, 2})[1], is, "strictUnregistered")
	failed(t, executor.Map(t.Context(), ex, strictUnregistered, []int{1, 2}), is, "strictUnregistered")
	failed(t, executor.Submit(t.Context(), ex, strictUnregistered, 1, executor.WithKey("k")), is, "strictUnregistered")
	ins := []*futures.Future[int]{futures.Value(1), futures.Value(2)}
	failed(t, executor.Reduce(t.Context(), ex, func(context.Context, []int) (int, error) { return captured, nil }, ins), is)
	for _, err := range executor.MapSeq(t.Context(), ex, strictUnregistered, slices.Values([]int{1})) {
		require.ErrorIs(t, err, is)
	}
	_, err := executor.RunOnAll(t.Context(), ex, strictUnregistered, 1)
	require.ErrorIs(t, err, is)
}

func TestStrictRefusesTypes(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 2})
	is := executor.ErrNotEncodable
	failed(t, executor.Submit(t.Context(), ex, strictEcho, strictChan{}), is, "the argument of", "chan int", "Parts")
	failed(t, executor.Submit(t.Context(), ex, strictEcho, strictFunc{}), is, "the argument of", "func()", "Hooks")
	failed(t, executor.Submit(t.Context(), ex, strictEcho, strictAny{}), is, "the argument of", "interface", "Box.V")
	failed(t, executor.Submit(t.Context(), ex, strictEcho, strictHidden{}), is, "the argument of", "Box.v")
	failed(t, executor.Submit(t.Context(), ex, strictEcho[func()], nil), is, "the argument of", "func()")
	failed(t, executor.Submit(t.Context(), ex, strictMakesChan, 1), is, "the result of", "chan int")
	failed(t, executor.Map(t.Context(), ex, strictEcho, make([]strictChan, 3)), is, "Parts")
	failed(t, executor.Then(t.Context(), ex, strictEcho, futures.Value(strictChan{})), is, "Parts")
	_, err := executor.Scatter(t.Context(), ex, strictChan{})
	require.ErrorIs(t, err, is)
	require.ErrorContains(t, err, "Parts")
}

func TestStrictRefusesCycles(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 2})
	ring, _ := strictMakesRing(t.Context(), 0)
	is := executor.ErrNotEncodable
	failed(t, executor.Submit(t.Context(), ex, strictEcho, ring), is, "the argument of", "leads back to itself", "Next")
	failed(t, executor.Then(t.Context(), ex, strictEcho, futures.Value(ring)), is, "the argument of", "leads back to itself", "Next")
	failed(t, executor.Submit(t.Context(), ex, strictMakesRing, 0), is, "the result of", "leads back to itself", "Next")
	list := &strictRing{"a", &strictRing{"b", nil}}
	got, err := executor.Submit(t.Context(), ex, strictEcho, list).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, list, got)
	require.NotSame(t, list.Next, got.Next)
}

func TestStrictRefusesWhatIsTooLarge(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 2, MaxValueBytes: 1000})
	is := executor.ErrTooLarge
	large := make([]byte, 1001)
	failed(t, executor.Submit(t.Context(), ex, strictEcho, large), is, "the argument of", "strictEcho", "MaxValueBytes is 1000")
	failed(t, executor.Submit(t.Context(), ex, strictMakesBytes, 1001), is, "the result of", "strictMakesBytes", "MaxValueBytes is 1000")
	failed(t, executor.Then(t.Context(), ex, strictEcho, futures.Value(large)), is, "the argument of")
	failed(t, executor.Map(t.Context(), ex, strictMakesBytes, []int{1, 5000, 2}), is, "the result of")
	_, err := executor.Scatter(t.Context(), ex, large)
	require.ErrorIs(t, err, is)
	_, err = executor.Submit(t.Context(), ex, strictMakesBytes, 900).Result(t.Context())
	require.NoError(t, err)
}

func TestStrictNoticesAChangedArgument(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 2})
	is := executor.ErrArgumentChanged
	arg := []int{3, 1, 2}
	failed(t, executor.Submit(t.Context(), ex, strictChanges, arg), is, "strictChanges")
	failed(t, executor.Then(t.Context(), ex, strictChanges, futures.Value(arg)), is, "strictChanges")
	failed(t, executor.Map(t.Context(), ex, strictChanges, [][]int{arg}), is, "strictChanges")
	require.Equal(t, []int{3, 1, 2}, arg, "it got a copy")
	f := executor.Submit(t.Context(), ex, strictChangesAndFails, arg)
	failed(t, f, is)
	v, err := executor.Submit(t.Context(), ex, strictChanges, []int{1, 2, 3}).Result(t.Context())
	require.NoError(t, err, "sorted already")
	require.Equal(t, 1, v)
}

func TestStrictCopiesValues(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 1})
	arg := []int{1, 2, 3}
	for name, submit := range map[string]func() *futures.Future[[]int]{
		"Submit": func() *futures.Future[[]int] { return executor.Submit(t.Context(), ex, strictKeeps, arg) },
		"Then":   func() *futures.Future[[]int] { return executor.Then(t.Context(), ex, strictKeeps, futures.Value(arg)) },
		"Map": func() *futures.Future[[]int] {
			return executor.Map(t.Context(), ex, strictKeeps, [][]int{arg}).Futures()[0]
		},
	} {
		got, err := submit().Result(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, arg, got, name)
		for _, kept := range strictKept {
			require.NotSame(t, &arg[0], &kept[0], name)
			require.NotSame(t, &got[0], &kept[0], name)
		}
	}
	scattered, err := executor.Scatter(t.Context(), ex, arg)
	require.NoError(t, err)
	got, err := scattered.Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, arg, got)
	require.NotSame(t, &arg[0], &got[0])
}

func TestStrictHidesTheValuesOfCtx(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 1})
	ctx := context.WithValue(t.Context(), strictKey{}, "seen")
	got, err := executor.Submit(ctx, ex, strictValue, 0).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, "<nil>", got)
	all, err := executor.Map(ctx, ex, strictValue, []int{0}).Results(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"<nil>"}, all)
}

func TestStrictTakesFutures(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 1})
	one := executor.Submit(t.Context(), ex, strictEcho, 1)
	in := strictIn{One: one, Many: []*futures.Future[int]{one, futures.Value(10), executor.Then(t.Context(), ex, strictEcho, one)}, Plus: 100}
	got, err := executor.Submit(t.Context(), ex, strictSum, in).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 113, got)
	all, err := executor.Map(t.Context(), ex, strictSum, []strictIn{in, {One: one}}).Results(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{113, 1}, all)
	total, err := executor.Reduce(t.Context(), ex, strictTotal, in.Many, executor.WithFanIn(2)).Result(t.Context())
	require.NoError(t, err)
	require.Equal(t, 12, total)
	in.Many[1] = futures.Error[int](io.EOF)
	failed(t, executor.Submit(t.Context(), ex, strictSum, in), io.EOF)
}
