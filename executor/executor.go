package executor

import (
	"context"
	"errors"

	"github.com/nearfar/nearfar/internal/cell"
)

// An Executor runs tasks. Submit, Map and the other functions of this package give
// it work; the methods are for who owns it. A wrapper embeds an Executor and may
// override the rest, as long as Backend stays that of the Executor inside.
type Executor interface {
	// Slots is how many tasks run at a time.
	Slots() int
	// Stats is the executor's own account of what it did.
	Stats() Stats
	// Shutdown refuses new tasks, waits until those that were submitted have
	// ended, and closes the executor. When ctx ends first it cancels what is
	// left, waits for it for CloseGrace at most, and returns an error that is
	// ctx's and says how many functions still run.
	Shutdown(ctx context.Context) error
	// Close refuses new tasks, cancels the rest with ErrClosed as the cause,
	// and waits for the functions that run to return. It may be called again,
	// and by many; inside a task it does nothing but return an error.
	Close() error
	// Backend is the driver's side of the executor.
	Backend() Backend
}

// A Backend is how calls get run: in this process, or elsewhere. What calls mean
// (options, retries, keys, inputs, priorities, batches, counting) is this package's,
// and the same for all; a Backend only runs what it is given. It may implement
// further interfaces of this package, to do better what is otherwise done by calls.
type Backend interface {
	// Base is what the package keeps for the executor: NewBase makes one.
	Base() *Base
	// Enqueue takes a call whose inputs are there. It does not block. Calls
	// start by priority, and in this order where it is equal. A backend that is
	// closed fails the call with ErrClosed.
	Enqueue(c *Call)
	// Cancelled is told that a call that was enqueued has been cancelled: it is
	// not to be started, and if it was, its ctx has ended.
	Cancelled(c *Call)
	// Lend gives the slot of a running attempt away for as long as the attempt
	// waits: to the call to first, if that is not nil.
	Lend(a *Attempt, to *Call)
	// Resume asks for a slot back, and calls w.Wake when there is one, before
	// new calls start.
	Resume(a *Attempt, w Waker)
	// Release drops a value that Finish left with the backend.
	Release(c *Call)
}

// A Waker is a goroutine that waits for its slot.
type Waker interface{ Wake() }

var (
	// ErrClosed is the error of a task that was submitted to a closed executor,
	// and the cause of the cancellation of those that Close found.
	ErrClosed = errors.New("executor: closed")
	// ErrNotRegistered is the error of a task whose function was not registered,
	// where it would have to travel.
	ErrNotRegistered = errors.New("executor: function not registered")
	// ErrNotEncodable is the error of an argument or a result that cannot be
	// encoded faithfully, where it would have to travel.
	ErrNotEncodable = errors.New("executor: value not encodable")
	// ErrTooLarge is the error of a value larger than Config.MaxValueBytes.
	ErrTooLarge = errors.New("executor: value too large")
	// ErrFull is the error of a task with WithNoWait that found MaxPending tasks
	// waiting.
	ErrFull = errors.New("executor: full")
	// ErrKeyConflict is the error of a task whose key belongs to another function.
	ErrKeyConflict = errors.New("executor: key in use by another function")
	// ErrConfig is what every error of a wrong configuration or option is.
	ErrConfig = errors.New("executor: bad configuration")
)

// A Call is one task, as a Backend sees it. It is the same memory as the inside of
// the task's future: making one costs nothing.
type Call cell.Core

func (c *Call) core() *cell.Core { return (*cell.Core)(c) }

func (c *Call) work() work { return c.Owner.(work) }
