package futures_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// A promise is a future that is resolved by hand.
func ExampleNew() {
	f, resolve := futures.New[string]()
	fmt.Println(f.State())
	go resolve("done", nil)
	fmt.Println(f.Result(context.Background()))
	fmt.Println(resolve("again", nil))
	// Output:
	// pending
	// done <nil>
	// false
}

func ExampleFuture_Cancel() {
	f, _ := futures.New[int]()
	fmt.Println(f.Cancel(errors.New("lunch")))

	_, err := f.Result(context.Background())
	fmt.Println(err)
	fmt.Println(errors.Is(err, futures.ErrCancelled), errors.Is(err, context.Canceled))
	// Output:
	// true
	// futures: cancelled: lunch
	// true true
}

// A waiter whose ctx ends leaves the future alone.
func ExampleFuture_Result() {
	f, resolve := futures.New[int]()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := f.Result(ctx)
	fmt.Println(err)

	resolve(42, nil)
	fmt.Println(f.Result(ctx)) // it is there, which wins over an ended ctx
	// Output:
	// context deadline exceeded
	// 42 <nil>
}

func ExampleFuture_OnDone() {
	f, resolve := futures.New[int]()
	called := make(chan struct{})
	stop := f.OnDone(func(f *futures.Future[int]) {
		fmt.Println(f)
		close(called)
	})
	resolve(42, nil)
	<-called
	fmt.Println("stopped:", stop())
	// Output:
	// finished
	// stopped: false
}

func ExampleGather() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	half := func(_ context.Context, n int) (int, error) {
		if n%2 != 0 {
			return 0, fmt.Errorf("%d is odd", n)
		}
		return n / 2, nil
	}

	fs := executor.SubmitAll(ctx, ex, half, []int{2, 4, 6})
	fmt.Println(futures.Gather(ctx, fs...))

	fs = executor.SubmitAll(ctx, ex, half, []int{2, 3, 4})
	_, err = futures.Gather(ctx, fs...)
	var item *futures.ItemError
	if errors.As(err, &item) {
		fmt.Println(item.Index, item.Err)
	}
	// Output:
	// [1 2 3] <nil>
	// 1 3 is odd
}

func ExampleSettle() {
	fs := []*futures.Future[int]{futures.Value(1), futures.Error[int](errors.New("no luck")), futures.Value(3)}
	for i, o := range futures.Settle(context.Background(), fs...) {
		fmt.Println(i, o.Value, o.Err)
	}
	// Output:
	// 0 1 <nil>
	// 1 0 no luck
	// 2 3 <nil>
}

// Whoever is first, of several that do the same.
func ExampleWait() {
	slow, _ := futures.New[string]()
	fast := futures.Value("fast")
	done, pending, err := futures.Wait(context.Background(), futures.FirstCompleted, slow, fast)
	fmt.Println(len(done), len(pending), err)
	for _, f := range pending {
		f.Cancel(errors.New("too late"))
	}
	fmt.Println(slow)
	// Output:
	// 1 1 <nil>
	// cancelled: futures: cancelled: too late
}

func ExampleAsCompleted() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?threads=4")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	length := func(_ context.Context, s string) (int, error) { return len(s), nil }

	fs := executor.SubmitAll(ctx, ex, length, []string{"a", "bb", "ccc"})
	for f := range futures.AsCompleted(ctx, fs...) {
		fmt.Println(f.Result(ctx))
	}
	// Unordered output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

// A walk of a tree: what is found is followed in turn.
func ExampleCompletions() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	children := func(_ context.Context, n int) ([]int, error) {
		if n > 3 {
			return nil, nil
		}
		return []int{2 * n, 2*n + 1}, nil
	}

	visited := 0
	c := futures.NewCompletions(executor.Submit(ctx, ex, children, 1))
	for f := range c.All(ctx) {
		visited++
		nodes, err := f.Result(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		c.Add(executor.SubmitAll(ctx, ex, children, nodes)...)
	}
	fmt.Println(visited)
	// Output: 7
}

// A reference to many values is an argument like any other.
func ExampleAll() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }
	sum := func(_ context.Context, ns []int) (total int, err error) {
		for _, n := range ns {
			total += n
		}
		return total, nil
	}

	squares := executor.SubmitAll(ctx, ex, square, []int{1, 2, 3})
	total := executor.Then(ctx, ex, sum, futures.All(squares...))
	fmt.Println(total.Result(ctx))
	// Output: 14 <nil>
}

func ExampleJoin() {
	name, age := futures.Value("Ada"), futures.Value(36)
	both := futures.Join(name, age)
	fmt.Println(both.Result(context.Background()))
	// Output: {Ada 36} <nil>
}

// Results come in the order of the input, each as soon as it can be.
func ExampleBatch_All() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }

	batch := executor.Map(ctx, ex, square, []int{1, 2, 3})
	for n, err := range batch.All(ctx) {
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// 4 <nil>
	// 9 <nil>
}

func ExampleBatch_Outcomes() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	inverse := func(_ context.Context, n int) (int, error) { return 12 / n, nil }

	batch := executor.Map(ctx, ex, inverse, []int{1, 0, 3}, executor.WithKeepGoing())
	outcomes, err := batch.Outcomes(ctx)
	for i, o := range outcomes {
		var panicked *futures.PanicError
		if errors.As(o.Err, &panicked) {
			fmt.Println(i, panicked.Value)
		} else {
			fmt.Println(i, o.Value)
		}
	}
	fmt.Println(err)
	// Output:
	// 0 12
	// 1 runtime error: integer divide by zero
	// 2 4
	// <nil>
}

func ExampleBatch_AsCompleted() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	length := func(_ context.Context, s string) (int, error) { return len(s), nil }

	batch := executor.Map(ctx, ex, length, []string{"a", "bb", "ccc"})
	for i, o := range batch.AsCompleted(ctx) {
		fmt.Println(i, o.Value)
	}
	fmt.Println(batch.Progress())
	// Unordered output:
	// 0 1
	// 1 2
	// 2 3
	// 3 3
}
