// Command fib computes a Fibonacci number by submitting two tasks for each that is not
// trivial, and waiting for them, on one slot. A pool whose tasks hold their slot while
// they wait would be stuck at the second task; here a task that waits lends it.
//
//	go run ./examples/fib -n 20
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

func init() { executor.Register(fib) }

func fib(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	ex, _ := executor.FromContext(ctx)
	a := executor.Submit(ctx, ex, fib, n-1)
	b := executor.Submit(ctx, ex, fib, n-2)
	x, err := a.Result(ctx)
	if err != nil {
		return 0, err
	}
	y, err := b.Result(ctx)
	return x + y, err
}

func main() {
	remote.Init()
	dsn := os.Getenv("NEARFAR_EXECUTOR")
	if dsn == "" {
		dsn = "local://?threads=1"
	}
	flag.StringVar(&dsn, "executor", dsn, "where to run: a DSN")
	n := flag.Int("n", 20, "which number")
	flag.Parse()
	ctx := context.Background()
	ex, err := executor.Open(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer ex.Close()
	v, err := executor.Submit(ctx, ex, fib, *n).Result(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("fib(%d) = %d\n", *n, v)
	fmt.Fprintf(os.Stderr, "%d tasks on %d slots\n", ex.Stats().Finished, ex.Slots())
}
