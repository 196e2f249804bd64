// Command errgroup shows the swap: a program written for golang.org/x/sync/errgroup runs
// on executor.Group, with panics as errors. Only the import and two lines differ:
//
//	type Group = executor.Group
//	func WithContext(ctx context.Context) (*Group, context.Context) { return executor.NewGroup(ctx, executor.Default()) }
//
//	go run ./examples/errgroup
//
// It is near only: the functions of a group are closures that talk to each other, so they run
// in this process, whatever executor the group is on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/remote"
)

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

	// Functions of a group may wait for one another: each starts at once.
	g, gctx := executor.NewGroup(ctx, ex)
	words := make(chan string)
	g.Go(func() error {
		defer close(words)
		for _, w := range []string{"near", "and", "far"} {
			select {
			case words <- w:
			case <-gctx.Done():
				return gctx.Err()
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
	fmt.Println("first group:", g.Wait())

	// The first error ends the group's context; a panic is an error.
	g, gctx = executor.NewGroup(ctx, ex)
	g.Go(func() error { panic("out of cheese") })
	g.Go(func() error {
		<-gctx.Done()
		return nil
	})
	var panicked *futures.PanicError
	if errors.As(g.Wait(), &panicked) {
		fmt.Println("second group: a panic:", panicked.Value)
	}
}
