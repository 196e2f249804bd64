package futures

import (
	"fmt"

	"github.com/nearfar/nearfar/internal/cell"
)

// A State is where a future stands.
type State uint8

const (
	Pending   State = State(cell.Pending)   // waiting for its inputs or for a slot
	Running   State = State(cell.Running)   // a worker has started it
	Finished  State = State(cell.Finished)  // it has a value
	Failed    State = State(cell.Failed)    // it returned an error, panicked, or an input failed
	Cancelled State = State(cell.Cancelled) // it was cancelled before it finished
)

var stateNames = [...]string{"pending", "running", "finished", "failed", "cancelled"}

// String is "pending", "running", "finished", "failed" or "cancelled".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("futures.State(%d)", uint8(s))
}

// Done reports whether the state is final: Finished, Failed or Cancelled.
func (s State) Done() bool { return s >= Finished }
