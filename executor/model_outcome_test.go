package executor_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearfar/nearfar/futures"
)

// wrongError says what is wrong with the error of a future.
func (m *machine) wrongError(n *modelNode, err error) string {
	var cancelled *futures.CancelError
	var panicked *futures.PanicError
	switch n.state {
	case futures.Cancelled:
		if !errors.As(err, &cancelled) || !errors.Is(err, futures.ErrCancelled) || !errors.Is(err, n.err) && !m.racing {
			return fmt.Sprintf("cancelled with %v, not %v", err, n.err)
		}
	case futures.Failed:
		if !errors.Is(err, n.err) || errors.Is(err, futures.ErrCancelled) {
			return fmt.Sprintf("failed with %v, not %v", err, n.err)
		}
		if errors.As(err, &panicked) && len(panicked.Stack) == 0 {
			return "a panic without a stack"
		}
	default:
		if err != nil {
			return fmt.Sprintf("%v with error %v", n.state, err)
		}
	}
	return ""
}

// wrongOutcome says what is wrong with what a future that is done gives.
func (m *machine) wrongOutcome(n *modelNode) string {
	v, err := n.f.Result(context.Background())
	if n.released && n.state == futures.Finished {
		if !errors.Is(err, futures.ErrReleased) {
			return fmt.Sprintf("released, and Result gives %v, %v", v, err)
		}
		return ""
	}
	return m.wrongValue(n, futures.Outcome[int]{Value: v, Err: err})
}

func (m *machine) wrongValue(n *modelNode, o futures.Outcome[int]) string {
	if n.state == futures.Finished && o.Err == nil && o.Value != n.value {
		return fmt.Sprintf("it has %d, not %d", o.Value, n.value)
	}
	if n.released && errors.Is(o.Err, futures.ErrReleased) {
		return ""
	}
	return m.wrongError(n, o.Err)
}
