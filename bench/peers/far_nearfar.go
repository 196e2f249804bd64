package main

import (
	"context"
	"errors"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/remote"
)

// spunItem is a task that costs something: two ints, as the other peers send them.
func spunItem(_ context.Context, it Item) (int, error) { return spun(it.Turns, it.X), nil }

func length(_ context.Context, b []byte) (int, error) { return len(b), nil }

func init() {
	executor.Register(square)
	executor.Register(spunItem)
	executor.Register(length)
	atStart = append([]func(){remote.Init}, atStart...)

	items := []Mapping{single, {Label: ", Map"}}
	farPeers = append(farPeers,
		Peer{Name: nearfarTCP, Start: startNearfar("proc://?workers=2&threads=1"), Loop: loopGo, Submit: true, Trips: true, Send: true,
			Million: items[1:], Items: items},
		Peer{Name: nearfarUnix, Start: startNearfar("proc://?workers=2&threads=1&transport=unix"), Loop: loopGo, Submit: true, Trips: true, Send: true,
			Million: items[1:], Items: items},
	)
}

func startNearfar(dsn string) func() (*far, error) {
	return func() (*far, error) {
		ctx, cancel := context.WithTimeout(background, farLimit)
		defer cancel()
		ex, err := executor.Open(ctx, dsn)
		if err != nil {
			return nil, err
		}
		w := wire{
			one: func(turns int, in, out []int) error {
				if turns == 0 {
					return submitAll(ex, square, in, out)
				}
				return submitAll(ex, spunItem, itemsOf(turns, in), out)
			},
			call: func(x int) (int, error) { return executor.Submit(background, ex, square, x).Result(background) },
			send: func(b []byte) (int, error) {
				return executor.Submit(background, ex, length, b).Result(background)
			},
			close: func() { ex.Close() },
		}
		f := w.far()
		f.spread = spreadOver(ex)
		f.mapped = func(n int, item time.Duration, chunk int) (time.Duration, error) {
			in, turns := inputs(n), turnsFor(item)
			switch {
			case chunk == 1:
				return f.submit(n, item)
			case turns == 0:
				return mapTimed(ex, square, in)
			}
			return mapTimed(ex, spunItem, itemsOf(turns, in))
		}
		return f, nil
	}
}

func itemsOf(turns int, in []int) []Item {
	items := make([]Item, len(in))
	for i, x := range in {
		items[i] = Item{x, turns}
	}
	return items
}

// submitAll submits one by one: a future, and a Submit, an item.
func submitAll[A any](ex executor.Executor, fn func(context.Context, A) (int, error), in []A, out []int) error {
	fs := make([]*futures.Future[int], len(in))
	for i, x := range in {
		fs[i] = executor.Submit(background, ex, fn, x)
	}
	got, err := futures.Gather(background, fs...)
	copy(out, got)
	return err
}

func mapTimed[A any](ex executor.Executor, fn func(context.Context, A) (int, error), in []A) (time.Duration, error) {
	start := time.Now()
	out, err := executor.Map(background, ex, fn, in).Results(background)
	d := time.Since(start)
	if err != nil {
		return 0, err
	}
	if len(out) != len(in) {
		return 0, errors.New("not all results")
	}
	check(out, len(in))
	return d, nil
}
