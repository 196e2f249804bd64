// Command pipeline finds the first primes above a number: an input without end, a
// bounded number of items in flight, and a loop that leaves when it has enough.
//
//	go run ./examples/pipeline -above 1000000000 -count 5
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log"
	"os"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

func init() { executor.Register(smallestFactor) }

// smallestFactor is the smallest factor of n above 1: n itself if n is prime.
func smallestFactor(ctx context.Context, n int) (int, error) {
	for f := 2; f*f <= n; f++ {
		if n%f == 0 {
			return f, nil
		}
		if f%4096 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return n, nil
}

// oddFrom yields odd numbers, for ever.
func oddFrom(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n |= 1; yield(n); n += 2 {
		}
	}
}

func main() {
	remote.Init()
	dsn := flag.String("executor", os.Getenv("NEARFAR_EXECUTOR"), "where to run: a DSN")
	above := flag.Int("above", 1_000_000_000, "where to begin")
	count := flag.Int("count", 5, "how many")
	flag.Parse()
	ctx := context.Background()
	ex, err := executor.Open(ctx, *dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer ex.Close()

	n, found := *above|1, 0
	for factor, err := range executor.MapSeq(ctx, ex, smallestFactor, oddFrom(*above)) {
		if err != nil {
			log.Fatal(err)
		}
		if factor == n {
			fmt.Println(n)
			if found++; found == *count {
				break // the input is stopped, and what is in flight cancelled
			}
		}
		n += 2
	}
}
