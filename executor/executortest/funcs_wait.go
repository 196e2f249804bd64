package executortest

import (
	"context"
	"slices"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func init() {
	executor.Register(waitBy)
}

// Wait says how a task is to wait for its children.
type Wait struct {
	Board string
	How   string // a key of waits
	Under string // a key of derived, or ""
}

// waitBy waits for children 1, 2 and 3 in one of the ways there are, and returns the
// sum of what it got.
func waitBy(ctx context.Context, w Wait) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	s := sheetOf(w.Board)
	s.write("start")
	select {
	case <-s.gate:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if derive := derived[w.Under]; derive != nil {
		under, cancel := derive(ctx)
		defer cancel()
		ctx = under
	}
	return waits[w.How](ctx, ex, executor.SubmitAll(ctx, ex, echo, []int{1, 2, 3}))
}

// derived are ways to make one ctx of another.
var derived = map[string]func(context.Context) (context.Context, context.CancelFunc){
	"Timeout": func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Hour)
	},
	"Cancel": context.WithCancel,
	"Value": func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithValue(ctx, tagKey{}, 1), func() {}
	},
	"All": func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(context.WithValue(ctx, tagKey{}, 1))
		ctx, stop := context.WithTimeout(ctx, time.Hour)
		return context.WithValue(ctx, tagKey{}, 2), func() { stop(); cancel(nil) }
	},
}

type waitFunc = func(context.Context, executor.Executor, []*futures.Future[int]) (int, error)

// waits are the ways to wait in a task that lend its slot.
var waits = map[string]waitFunc{
	"Result": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		for _, f := range slices.Backward(fs) {
			n, err := f.Result(ctx)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	},
	"Wait": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		for _, f := range fs {
			if err := f.Wait(ctx); err != nil {
				return 0, err
			}
		}
		return gathered(futures.Gather(context.Background(), fs...))
	},
	"Gather": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (int, error) {
		return gathered(futures.Gather(ctx, fs...))
	},
	"Settle": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		for _, o := range futures.Settle(ctx, fs...) {
			if o.Err != nil {
				return 0, o.Err
			}
			total += o.Value
		}
		return total, nil
	},
	"WaitAllCompleted": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (int, error) {
		done, _, err := futures.Wait(ctx, futures.AllCompleted, fs...)
		if err != nil {
			return 0, err
		}
		return gathered(futures.Gather(context.Background(), done...))
	},
	"WaitFirstCompleted": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		for len(fs) > 0 {
			done, pending, err := futures.Wait(ctx, futures.FirstCompleted, fs...)
			if err != nil {
				return 0, err
			}
			n, err := gathered(futures.Gather(context.Background(), done...))
			if err != nil {
				return 0, err
			}
			total, fs = total+n, pending
		}
		return total, nil
	},
	"WaitFirstFailed": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (int, error) {
		done, _, err := futures.Wait(ctx, futures.FirstFailed, fs...)
		if err != nil {
			return 0, err
		}
		return gathered(futures.Gather(context.Background(), done...))
	},
	"AsCompleted": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		for f := range futures.AsCompleted(ctx, fs...) {
			n, err := f.Result(context.Background())
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	},
	"Completions": func(ctx context.Context, ex executor.Executor, fs []*futures.Future[int]) (total int, err error) {
		c := futures.NewCompletions(fs[:2]...)
		for f := range c.All(ctx) {
			n, err := f.Result(ctx)
			if err != nil {
				return 0, err
			}
			if total += n; n == 1 {
				c.Add(executor.Submit(ctx, ex, echo, 3))
			}
		}
		return total, nil
	},
	"All": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (int, error) {
		return gathered(futures.All(fs...).Result(ctx))
	},
	"Join": func(ctx context.Context, _ executor.Executor, fs []*futures.Future[int]) (int, error) {
		p, err := futures.Join(futures.Join(fs[0], fs[1]), fs[2]).Result(ctx)
		return p.First.First + p.First.Second + p.Second, err
	},
	"Then": func(ctx context.Context, ex executor.Executor, fs []*futures.Future[int]) (int, error) {
		return executor.Then(ctx, ex, sum, futures.All(fs...)).Result(ctx)
	},
	"Reduce": func(ctx context.Context, ex executor.Executor, fs []*futures.Future[int]) (int, error) {
		return executor.Reduce(ctx, ex, sum, fs, executor.WithFanIn(2)).Result(ctx)
	},
	"BatchResults": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (int, error) {
		return gathered(executor.Map(ctx, ex, echo, []int{1, 2, 3}).Results(ctx))
	},
	"BatchOutcomes": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (total int, err error) {
		outcomes, err := executor.Map(ctx, ex, echo, []int{1, 2, 3}).Outcomes(ctx)
		for _, o := range outcomes {
			total += o.Value
		}
		return total, err
	},
	"BatchWait": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (int, error) {
		b := executor.Map(ctx, ex, echo, []int{1, 2, 3}, executor.WithChunkSize(1))
		if err := b.Wait(ctx); err != nil {
			return 0, err
		}
		return gathered(b.Results(ctx))
	},
	"BatchAll": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (total int, err error) {
		for n, err := range executor.Map(ctx, ex, echo, []int{1, 2, 3}).All(ctx) {
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	},
	"BatchAsCompleted": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (total int, err error) {
		for _, o := range executor.Map(ctx, ex, echo, []int{1, 2, 3}).AsCompleted(ctx) {
			if o.Err != nil {
				return 0, o.Err
			}
			total += o.Value
		}
		return total, nil
	},
	"BatchFuture": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (int, error) {
		return gathered(executor.Map(ctx, ex, echo, []int{1, 2, 3}).Future().Result(ctx))
	},
	"BatchFutures": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (int, error) {
		return gathered(futures.Gather(ctx, executor.Map(ctx, ex, echo, []int{1, 2, 3}).Futures()...))
	},
	"MapSeq": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (total int, err error) {
		for n, err := range executor.MapSeq(ctx, ex, echo, slices.Values([]int{1, 2, 3}), executor.WithInFlight(2)) {
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	},
	"MapSeqUnordered": func(ctx context.Context, ex executor.Executor, _ []*futures.Future[int]) (total int, err error) {
		for n, err := range executor.MapSeq(ctx, ex, echo, slices.Values([]int{1, 2, 3}), executor.WithUnordered()) {
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	},
}

// gathered adds up values that came with an error, or without one.
func gathered(ns []int, err error) (total int, _ error) {
	for _, n := range ns {
		total += n
	}
	return total, err
}
