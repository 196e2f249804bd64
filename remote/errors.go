package remote

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nearfar/nearfar/executor"
)

var (
	// ErrWorkerLost is the error of a task whose worker was lost, where it may not be
	// run again, and what *LostError is.
	ErrWorkerLost = errors.New("remote: worker lost")
	// ErrDataLost is the error of a value whose last copy was lost, and that no task
	// can compute again.
	ErrDataLost = errors.New("remote: data lost")
	// ErrNoWorkers is the error of tasks that have waited NoWorkersTimeout for a worker.
	ErrNoWorkers = errors.New("remote: no workers")
	// ErrHandshake is the error of a connection that came to nothing.
	ErrHandshake = errors.New("remote: handshake failed")
	// ErrAuth is the error of a connection to a worker with another token.
	ErrAuth = errors.New("remote: authentication failed")
)

// A LostError is the error of a task that was running when its worker was lost, as
// often as Config.MaxLosses allows. It is ErrWorkerLost.
type LostError struct {
	Losses  int
	Workers []string // that were lost with it
	Cause   error    // how the last one ended
}

func (e *LostError) Error() string {
	return fmt.Sprintf("remote: the task was running on %d workers when they were lost (%s): %v",
		e.Losses, strings.Join(e.Workers, ", "), e.Cause)
}

// Is makes it ErrWorkerLost.
func (e *LostError) Is(target error) bool { return target == ErrWorkerLost }

// Unwrap is Cause.
func (e *LostError) Unwrap() error { return e.Cause }

// TaskError is executor.TaskError: an error that could not travel as itself.
type TaskError = executor.TaskError

func init() {
	executor.RegisterError(ErrWorkerLost, ErrDataLost, ErrNoWorkers, ErrHandshake, ErrAuth)
}
