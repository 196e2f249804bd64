package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func Example() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "") // or executor.FromEnv(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }
	half := func(_ context.Context, n int) (float64, error) { return float64(n) / 2, nil }

	f := executor.Submit(ctx, ex, square, 3) // a future, at once
	h := executor.Then(ctx, ex, half, f)     // runs when f is done
	fmt.Println(h.Result(ctx))
	// Output: 4.5 <nil>
}

func ExampleOpen() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?threads=3&max_pending=1000")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	fmt.Println(ex.Slots())

	_, err = executor.Open(ctx, "local://?threads=many")
	fmt.Println(errors.Is(err, executor.ErrConfig))
	// Output:
	// 3
	// true
}

// Strict mode refuses here what could not travel elsewhere.
func ExampleOpen_strict() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?strict=true")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	unheardOf := func(_ context.Context, n int) (int, error) { return n, nil }

	_, err = executor.Submit(ctx, ex, unheardOf, 1).Result(ctx)
	fmt.Println(errors.Is(err, executor.ErrNotRegistered))
	// Output: true
}

func ExampleNew() {
	cfg := executor.Config{Threads: 2, MaxPending: 10}
	fmt.Println(cfg)
	ex, err := executor.New(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	fmt.Println(ex.Slots())
	// Output:
	// local://?threads=2&max_pending=10
	// 2
}

func ExampleSubmit() {
	ctx := context.Background()
	upper := func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }
	divide := func(_ context.Context, by int) (int, error) { return 1 / by, nil }

	fmt.Println(executor.Submit(ctx, executor.Default(), upper, "near").Result(ctx))

	_, err := executor.Submit(ctx, executor.Default(), divide, 0).Result(ctx)
	var panicked *futures.PanicError
	if errors.As(err, &panicked) {
		fmt.Println("a panic:", panicked.Value)
	}
	// Output:
	// NEAR <nil>
	// a panic: runtime error: integer divide by zero
}

// An argument may hold futures: the task starts when they are done.
func ExampleSubmit_futures() {
	ctx := context.Background()
	type order struct {
		Price *futures.Future[int]
		Count int
	}
	price := func(_ context.Context, item string) (int, error) { return len(item), nil }
	total := func(ctx context.Context, o order) (int, error) {
		p, err := o.Price.Result(ctx) // at once
		return p * o.Count, err
	}

	p := executor.Submit(ctx, executor.Default(), price, "cheese")
	fmt.Println(executor.Submit(ctx, executor.Default(), total, order{p, 3}).Result(ctx))
	// Output: 18 <nil>
}

// A task may submit others and wait for them, even on one slot, which it lends meanwhile.
func ExampleFromContext() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?threads=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	var factorial func(ctx context.Context, n int) (int, error)
	factorial = func(ctx context.Context, n int) (int, error) {
		if n == 0 {
			return 1, nil
		}
		ex, _ := executor.FromContext(ctx)
		below, err := executor.Submit(ctx, ex, factorial, n-1).Result(ctx)
		return n * below, err
	}
	fmt.Println(executor.Submit(ctx, ex, factorial, 10).Result(ctx))
	// Output: 3628800 <nil>
}

func ExampleGo() {
	ctx := context.Background()
	name := "closure"
	f := executor.Go(ctx, executor.Default(), func(context.Context) (string, error) {
		return "a " + name + " stays in this process", nil
	})
	fmt.Println(f.Result(ctx))
	// Output: a closure stays in this process <nil>
}

func ExampleThen() {
	ctx := context.Background()
	words := func(_ context.Context, text string) ([]string, error) { return strings.Fields(text), nil }
	count := func(_ context.Context, words []string) (int, error) { return len(words), nil }

	f := executor.Submit(ctx, executor.Default(), words, "one two three")
	n := executor.Then(ctx, executor.Default(), count, f)
	fmt.Println(n.Result(ctx))

	none := executor.Then(ctx, executor.Default(), count, futures.Error[[]string](errors.New("no text")))
	fmt.Println(none.Result(ctx)) // it does not run
	// Output:
	// 3 <nil>
	// 0 no text
}

func ExampleSubmitAll() {
	ctx := context.Background()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }
	fs := executor.SubmitAll(ctx, executor.Default(), square, []int{1, 2, 3})
	fmt.Println(futures.Gather(ctx, fs...))
	// Output: [1 4 9] <nil>
}

func ExampleMap() {
	ctx := context.Background()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }
	items := make([]int, 1000)
	for i := range items {
		items[i] = i
	}
	squares, err := executor.Map(ctx, executor.Default(), square, items).Results(ctx)
	fmt.Println(len(squares), squares[999], err)
	// Output: 1000 998001 <nil>
}

// The first failure ends a Map, unless it is to keep going.
func ExampleWithKeepGoing() {
	ctx := context.Background()
	positive := func(_ context.Context, n int) (int, error) {
		if n < 0 {
			return 0, fmt.Errorf("%d is negative", n)
		}
		return n, nil
	}
	batch := executor.Map(ctx, executor.Default(), positive, []int{1, -2, 3}, executor.WithKeepGoing())
	for n, err := range batch.All(ctx) {
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// 0 item 1: -2 is negative
	// 3 <nil>
}

// The input may have no end: MapSeq takes from it what it has room for.
func ExampleMapSeq() {
	ctx := context.Background()
	square := func(_ context.Context, n int) (int, error) { return n * n, nil }
	numbers := func(yield func(int) bool) {
		for n := 1; yield(n); n++ {
		}
	}
	for n, err := range executor.MapSeq(ctx, executor.Default(), square, numbers, executor.WithInFlight(8)) {
		if err != nil || n > 20 {
			break // which stops the input, and cancels what is in flight
		}
		fmt.Println(n)
	}
	// Output:
	// 1
	// 4
	// 9
	// 16
}

func ExampleReduce() {
	ctx := context.Background()
	join := func(_ context.Context, parts []string) (string, error) { return strings.Join(parts, ""), nil }
	upper := func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }

	batch := executor.Map(ctx, executor.Default(), upper, strings.Split("nearfar", ""))
	whole := executor.Reduce(ctx, executor.Default(), join, batch.Futures(), executor.WithFanIn(2))
	fmt.Println(whole.Result(ctx))
	// Output: NEARFAR <nil>
}

// What many tasks need is sent to them once.
func ExampleScatter() {
	ctx := context.Background()
	type query struct {
		Prices *futures.Future[map[string]int]
		Item   string
	}
	look := func(ctx context.Context, q query) (int, error) {
		prices, err := q.Prices.Result(ctx)
		return prices[q.Item], err
	}

	prices, err := executor.Scatter(ctx, executor.Default(), map[string]int{"cheese": 7, "bread": 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	batch := executor.Map(ctx, executor.Default(), look, []query{{prices, "bread"}, {prices, "cheese"}})
	fmt.Println(batch.Results(ctx))
	// Output: [3 7] <nil>
}

func ExampleGroup() {
	g, ctx := executor.NewGroup(context.Background(), executor.Default())
	words := make(chan string)
	g.Go(func() error {
		defer close(words)
		for _, w := range []string{"near", "far"} {
			select {
			case words <- w:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for w := range words {
			fmt.Println(w)
		}
		return nil
	})
	fmt.Println(g.Wait())
	// Output:
	// near
	// far
	// <nil>
}

func ExampleWithRetries() {
	ctx := context.Background()
	flaky := func(ctx context.Context, _ struct{}) (string, error) {
		info, _ := executor.TaskFromContext(ctx)
		if info.Attempt < 3 {
			return "", errors.New("not yet")
		}
		return fmt.Sprint("attempt ", info.Attempt), nil
	}
	f := executor.Submit(ctx, executor.Default(), flaky, struct{}{}, executor.WithRetries(3), executor.WithBackoff(time.Microsecond))
	fmt.Println(f.Result(ctx))
	// Output: attempt 3 <nil>
}

func ExampleWithTimeout() {
	ctx := context.Background()
	forever := func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	_, err := executor.Go(ctx, executor.Default(), forever, executor.WithTimeout(time.Millisecond)).Result(ctx)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

// Submits of one key share one run.
func ExampleWithKey() {
	ctx := context.Background()
	var runs atomic.Int64
	load := func(_ context.Context, name string) (string, error) {
		runs.Add(1)
		return "contents of " + name, nil
	}
	a := executor.Submit(ctx, executor.Default(), load, "a.txt", executor.WithKey("load a.txt"))
	b := executor.Submit(ctx, executor.Default(), load, "a.txt", executor.WithKey("load a.txt"))
	fmt.Println(b.Result(ctx))
	fmt.Println(a.Result(ctx))
	fmt.Println(runs.Load())
	// Output:
	// contents of a.txt <nil>
	// contents of a.txt <nil>
	// 1
}

// While the only slot is taken, what is queued behind it is put in order.
func ExampleWithPriority() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?threads=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	slotFree := make(chan struct{})
	executor.Go(ctx, ex, func(context.Context) (int, error) {
		<-slotFree
		return 0, nil
	})
	say := func(_ context.Context, s string) (int, error) { return fmt.Println(s) }

	fs := []*futures.Future[int]{
		executor.Submit(ctx, ex, say, "some time", executor.WithPriority(-1)),
		executor.Submit(ctx, ex, say, "as usual"),
		executor.Submit(ctx, ex, say, "at once", executor.WithPriority(10)),
	}
	close(slotFree)
	if _, err := futures.Gather(ctx, fs...); err != nil {
		fmt.Println(err)
	}
	// Output:
	// at once
	// as usual
	// some time
}

// An executor that bounds what waits has submits block; or fail, where that is wanted.
func ExampleWithNoWait() {
	ctx := context.Background()
	ex, err := executor.Open(ctx, "local://?threads=1&max_pending=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ex.Close()
	started, slotFree := make(chan struct{}), make(chan struct{})
	executor.Go(ctx, ex, func(context.Context) (int, error) {
		close(started)
		<-slotFree
		return 0, nil
	})
	<-started
	double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }

	waits := executor.Submit(ctx, ex, double, 1)
	full := executor.Submit(ctx, ex, double, 2, executor.WithNoWait())
	fmt.Println(errors.Is(full.Err(), executor.ErrFull))
	close(slotFree)
	fmt.Println(waits.Result(ctx))
	// Output:
	// true
	// 2 <nil>
}
