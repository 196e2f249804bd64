package child

import (
	"fmt"
	"os"
	"strings"
)

// An ExitError says how a process ended. An end with code 0 has one as well: whether that is
// an error, the reader knows.
type ExitError struct {
	PID    int
	Code   int    // or -1, if a signal ended it
	Signal string // that ended it, in words as "killed", or ""
	Stderr string // 20 lines from the first "panic:" or "fatal error:", and the last 20

	cause error // why it is not known
}

func newExitError(pid int, state *os.ProcessState, err error, stderr string) *ExitError {
	e := &ExitError{PID: pid, Code: -1, Stderr: stderr}
	if state == nil { // somebody else has waited for it
		e.cause = err
		return e
	}
	e.Code, e.Signal = state.ExitCode(), signalOf(state)
	return e
}

func (e *ExitError) Error() string {
	var b strings.Builder
	switch {
	case e.cause != nil:
		fmt.Fprintf(&b, "process %d ended, and how is not known: %v", e.PID, e.cause)
	case e.Signal != "":
		fmt.Fprintf(&b, "process %d was ended by a signal: %s", e.PID, e.Signal)
	default:
		fmt.Fprintf(&b, "process %d exited with code %d", e.PID, e.Code)
	}
	if e.Stderr == "" {
		return b.String() + ", and nothing on stderr"
	}
	b.WriteString("; its stderr:")
	for line := range strings.Lines(e.Stderr) {
		b.WriteString("\n\t" + strings.TrimSuffix(line, "\n"))
	}
	return b.String()
}

// Unwrap is why nothing is known of the end, if so.
func (e *ExitError) Unwrap() error { return e.cause }
