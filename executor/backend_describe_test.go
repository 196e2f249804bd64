package executor_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func init() {
	executor.Register(sumOf)
	executor.Register(echoOf)
}

func sumOf(_ context.Context, in []int) (n int, _ error) {
	for _, v := range in {
		n += v
	}
	return n, nil
}

func echoOf(_ context.Context, x int) (int, error) { return x, nil }

// A describer is a toy that asks for the Request of what it is given, as one that sends
// it elsewhere does.
type describer struct{ *toy }

func (b describer) Backend() executor.Backend { return b }

func (b describer) Enqueue(c *executor.Call) {
	r, err := c.Request()
	if err == nil && r.Arg.Data == nil && r.Arg.Parts == nil {
		panic("a Request without its argument")
	}
	b.toy.Enqueue(c)
}

// A call may be cancelled while its backend describes it.
func TestRequestOfWhatIsCancelled(t *testing.T) {
	b := describer{newToy(t, 2, executor.Config{Strict: true})}
	b.base = executor.NewBase(executor.Config{Strict: true}, b)
	for range 500 {
		head, resolve := futures.New[int]()
		fs := []*futures.Future[int]{executor.Then(t.Context(), b, echoOf, head)}
		var in []*futures.Future[int]
		for range 8 {
			in = append(in, head)
		}
		fs = append(fs, executor.Reduce(t.Context(), b, sumOf, in))
		began := make(chan struct{})
		go func() { // ends when all inputs have arrived
			close(began)
			resolve(1, nil)
		}()
		<-began
		runtime.Gosched()
		for _, f := range fs {
			f.Cancel(nil)
		}
		for _, f := range fs {
			if err := f.Wait(t.Context()); err != nil {
				require.ErrorIs(t, err, futures.ErrCancelled)
			}
		}
	}
}
