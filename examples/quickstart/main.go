// Command quickstart is the minute of code of the README.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -executor 'local://?strict=true'
//	go run ./examples/quickstart -executor 'proc://?workers=2'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

// Functions that may run in another process are registered, and remote.Init is the first
// line of main: a process that was started as a worker stays there. Near, that changes nothing.
func init() {
	executor.Register(area)
	executor.Register(volume)
	executor.Register(sum)
	executor.Register(wait)
}

var errNegative = errors.New("a radius must not be negative")

func init() { executor.RegisterError(errNegative) }

func area(_ context.Context, r float64) (float64, error) {
	if r < 0 {
		return 0, fmt.Errorf("area of %v: %w", r, errNegative)
	}
	return math.Pi * r * r, nil
}

func volume(_ context.Context, base float64) (float64, error) { return 10 * base, nil }

// wait waits for what never comes, as long as it may.
func wait(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", context.Cause(ctx)
}

func sum(_ context.Context, xs []float64) (float64, error) {
	total := 0.0
	for _, x := range xs {
		total += x
	}
	return total, nil
}

func main() {
	remote.Init()
	dsn := flag.String("executor", os.Getenv("NEARFAR_EXECUTOR"), "where to run: a DSN")
	flag.Parse()
	ctx := context.Background()
	ex, err := executor.Open(ctx, *dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer ex.Close()

	// One call: a future, at once.
	a := executor.Submit(ctx, ex, area, 2)

	// What follows it runs where its value is, when that is there.
	v := executor.Then(ctx, ex, volume, a)
	cylinder, err := v.Result(ctx)
	fmt.Printf("%.2f %v\n", cylinder, err)

	// Many calls: results in order, handed out in chunks that are found from their cost.
	radii := make([]float64, 1000)
	for i := range radii {
		radii[i] = float64(i)
	}
	batch := executor.Map(ctx, ex, area, radii)
	areas, err := batch.Results(ctx)
	fmt.Printf("%d %.2f %v\n", len(areas), areas[999], err)

	// A tree of calls, on values that need not come home.
	total, err := executor.Reduce(ctx, ex, sum, batch.Futures()).Result(ctx)
	fmt.Printf("%.2f %v\n", total, err)

	// Errors keep their meaning, wherever they come from.
	_, err = executor.Submit(ctx, ex, area, -1).Result(ctx)
	fmt.Println(err, errors.Is(err, errNegative))

	// Cancelling wakes who waits, and ends the function's ctx.
	forever := executor.Submit(ctx, ex, wait, "forever")
	forever.Cancel(errors.New("lunch"))
	_, err = forever.Result(ctx)
	fmt.Println(err, forever.State())
}
