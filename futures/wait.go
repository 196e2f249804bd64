package futures

import (
	"context"
	"fmt"
	"iter"
)

// Until says when Wait has waited enough.
type Until uint8

const (
	AllCompleted   Until = iota // all are resolved
	FirstCompleted              // one is resolved, or all were none
	FirstFailed                 // one has Failed or was Cancelled, or all are resolved
)

// Wait waits until what until asks for, or until ctx ends, and then says which of fs
// are resolved and which are not, each in the order of fs. err is nil unless ctx
// ended it; the two lists are good in any case. No value is touched.
func Wait[F Waiter](ctx context.Context, until Until, fs ...F) (done, pending []F, err error) {
	switch until {
	case AllCompleted:
		order := newOrder(ctx, len(fs))
		for k := range fs {
			if err = fs[order.index(k)].core().Wait(ctx); err != nil {
				break
			}
		}
	case FirstCompleted, FirstFailed:
		err = waitFirst(ctx, until, fs)
	default:
		err = fmt.Errorf("futures: Wait until %d: there are only AllCompleted, FirstCompleted and FirstFailed", until)
	}
	for _, f := range fs {
		if f.core().Settled() {
			done = append(done, f)
		} else {
			pending = append(pending, f)
		}
	}
	return done, pending, err
}

func waitFirst[F Waiter](ctx context.Context, until Until, fs []F) error {
	t := &trip{until: until}
	list(t, fs)
	defer t.stop()
	for _, f := range fs {
		for !t.gate.Settled() && !f.core().Settled() {
			if err := f.core().WaitEither(ctx, &t.gate); err != nil {
				return err
			}
		}
	}
	return nil
}

// AsCompleted yields each of fs once, as it is resolved; those that are already
// come first, in the order of fs. It ends when all were yielded, or ctx has ended.
func AsCompleted[F Waiter](ctx context.Context, fs ...F) iter.Seq[F] {
	return func(yield func(F) bool) {
		c := NewCompletions(fs...)
		defer c.stop()
		c.All(ctx)(yield)
	}
}
