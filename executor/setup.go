package executor

import (
	"context"
	"fmt"
	"sync"

	"github.com/nearfar/nearfar/futures"
)

// RegisterSetup has fn called once in each process that runs tasks, before its first,
// in the order of registration. data is Config.SetupData. A setup that fails keeps the
// process from running tasks: near, New returns a *SetupError. It is called at package
// init.
func RegisterSetup(fn func(ctx context.Context, data []byte) error) {
	if fn == nil {
		panic("executor: RegisterSetup of a nil function")
	}
	setups.mu.Lock()
	defer setups.mu.Unlock()
	if setups.done {
		panic("executor: RegisterSetup after the process has been set up; register at package init")
	}
	setups.list = append(setups.list, fn)
}

// A SetupError is what kept a process from running tasks.
type SetupError struct {
	Worker string
	Err    error
}

func (e *SetupError) Error() string {
	return fmt.Sprintf("executor: the setup of worker %s failed: %v", e.Worker, e.Err)
}

// Unwrap is Err.
func (e *SetupError) Unwrap() error { return e.Err }

// setups are the functions that set this process up, and how that went.
var setups struct {
	mu   sync.Mutex
	list []func(context.Context, []byte) error
	done bool
	err  error
}

// setUp sets this process up, the first time.
func setUp(ctx context.Context, worker string, data []byte) error {
	setups.mu.Lock()
	defer setups.mu.Unlock()
	if !setups.done {
		setups.done = true
		for _, fn := range setups.list {
			if setups.err = guardedSetup(ctx, fn, data); setups.err != nil {
				break
			}
		}
	}
	if setups.err != nil {
		return &SetupError{Worker: worker, Err: setups.err}
	}
	return nil
}

func guardedSetup(ctx context.Context, fn func(context.Context, []byte) error, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &futures.PanicError{Value: p, Stack: trimStack(stackOf(p))}
		}
	}()
	return fn(ctx, data)
}
