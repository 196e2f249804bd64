package futures

import (
	"context"
	"errors"
	"fmt"

	"github.com/nearfar/nearfar/internal/cell"
)

var (
	// ErrCancelled is what every *CancelError is.
	ErrCancelled = errors.New("futures: cancelled")
	// ErrReleased is the error of Result for a value that was released.
	ErrReleased = errors.New("futures: the value was released")
	// ErrGoexit is the error of a task whose function left by runtime.Goexit,
	// as testing.T.FailNow does, instead of returning.
	ErrGoexit = errors.New("futures: the function called runtime.Goexit")
)

// A CancelError is the error of a Cancelled future. It is ErrCancelled, and
// context.Canceled unless Cause is context.DeadlineExceeded, and it wraps Cause.
type CancelError struct {
	Cause error // what Cancel was given, or context.Cause of the ctx that ended; may be nil
}

func (e *CancelError) Error() string {
	if e.Cause == nil || e.Cause == context.Canceled {
		return "futures: cancelled"
	}
	return "futures: cancelled: " + e.Cause.Error()
}

// Is makes errors.Is find ErrCancelled, and context.Canceled where it applies.
func (e *CancelError) Is(target error) bool {
	return target == ErrCancelled ||
		target == context.Canceled && !errors.Is(e.Cause, context.DeadlineExceeded)
}

// Unwrap is the cause.
func (e *CancelError) Unwrap() error { return e.Cause }

func init() { cell.CancelError = newCancelError }

// newCancelError makes the error of a cancellation. The cancellation of an input
// is the same error for its dependents, not one around the other.
func newCancelError(cause error) error {
	if e, ok := cause.(*CancelError); ok {
		return e
	}
	return &CancelError{Cause: cause}
}

// A PanicError is the error of a task whose function panicked.
type PanicError struct {
	Value any    // what panic was called with; far, the error, or the text that %v gives
	Stack []byte // the stack of the panic, without the frames of this library
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("futures: the function panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap is Value, where that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// An ItemError is the error of one item of many, as Gather, All and Batch report it.
type ItemError struct {
	Index int // of the item, in the order of the input
	Err   error
}

func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap is Err.
func (e *ItemError) Unwrap() error { return e.Err }
