// Package executortest is the conformance suite of executors: Run holds one to the
// guarantees of the design, which are the same near and far. A case is named by the
// guarantee it tests, as in G3/CancelOfRunningEndsItsCtx.
//
// The functions that the cases submit are registered when the package is imported, so a
// program that is to serve as a worker under test imports it too. They tell a case what
// became of them by their results, and by what they leave on a board in their own
// process, which the case reads with RunOnAll. What needs closures or shared memory
// runs only on an executor that is near.
//
// A case that gets nowhere fails with the stacks of all goroutines instead of hanging.
package executortest

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// Run holds the executors that open returns to the guarantees. Each case opens its own,
// and closes it; open registers with t whatever else there is to clean up. All of them
// are to be alike.
//
// An executor with room for fewer than 64 pending tasks is given the cases of MaxPending
// (G12) only: the others need more. One with a CloseGrace below the default of 5 s
// takes less time.
func Run(t *testing.T, open func(t *testing.T) executor.Executor) {
	room := roomOf(t, open)
	open = guarded(open)
	if room < unbounded {
		pendingCases(t, open, room)
		return
	}
	resolveCases(t, open)
	onDoneCases(t, open)
	scopeCases(t, open)
	cancelCases(t, open)
	panicCases(t, open)
	dependCases(t, open)
	lendCases(t, open)
	slotCases(t, open)
	closeCases(t, open)
	shutdownCases(t, open)
	retryCases(t, open)
	timeoutCases(t, open)
	priorityCases(t, open)
	keyCases(t, open)
	combineCases(t, open)
	completionCases(t, open)
	groupCases(t, open)
	statsCases(t, open)
	optionCases(t, open)
	mapCases(t, open)
	seqCases(t, open)
	dataCases(t, open)
	errorCases(t, open)
	refuseCases(t, open)
}

// An opener makes a new executor for a case, and cleans up after it.
type opener = func(t *testing.T) executor.Executor

// guarded adds to open what holds for every case: it ends, Close returns, and then the
// executor's account says that nothing is left.
func guarded(open opener) opener {
	return func(t *testing.T) executor.Executor {
		t.Helper()
		watch(t)
		ex := open(t)
		t.Cleanup(func() {
			within(t, "Close at the end of the case", func() { require.NoError(t, ex.Close()) })
			if executor.Executor(executor.Default()) != ex {
				requireAllAccounted(t, ex)
			}
		})
		return ex
	}
}

// check runs a case on an executor of its own.
func check(t *testing.T, open opener, name string, body func(t *testing.T, ex executor.Executor)) {
	t.Run(name, func(t *testing.T) { body(t, open(t)) })
}

// checkNear is check for a case that means something only where functions run in this
// process on the values as they are.
func checkNear(t *testing.T, open opener, name string, body func(t *testing.T, ex executor.Executor)) {
	check(t, open, name, func(t *testing.T, ex executor.Executor) {
		if !isNear(ex) {
			t.Skip("means something near only")
		}
		body(t, ex)
	})
}

// inProcess reports whether ex runs functions in this process, strict or not.
func inProcess(ex executor.Executor) bool {
	w := ex.Stats().Workers
	return len(w) == 1 && w[0].PID == os.Getpid()
}

// isNear reports whether ex runs functions in this process, on the values as they are,
// so that closures and shared memory work. It submits a task to find out.
func isNear(ex executor.Executor) bool {
	return inProcess(ex) && !errors.Is(tryClosure(ex), executor.ErrNotRegistered)
}

// requireAllAccounted checks that nothing is left in a closed executor.
func requireAllAccounted(t *testing.T, ex executor.Executor) {
	t.Helper()
	s := ex.Stats()
	require.Zero(t, s.Pending, "pending after Close: %+v", s)
	require.Zero(t, s.Running, "running after Close: %+v", s)
	require.Zero(t, s.Waiting, "waiting after Close: %+v", s)
	require.Equal(t, s.Submitted, s.Finished+s.Failed+s.Cancelled, "submitted is not what became of it: %+v", s)
	if inProcess(ex) {
		require.Zero(t, s.Abandoned, "abandoned after Close: %+v", s)
	}
}

// unbounded stands for room that was not found to have an end.
const unbounded = 64

// roomOf is how many tasks may be pending on what open returns. It is no case of its
// own: which cases there are depends on it.
func roomOf(t *testing.T, open opener) (room int) {
	ex := open(t)
	b := newBoard(t, ex)
	b.fillSlots(t.Context())
	for room < unbounded {
		f := executor.Submit(t.Context(), ex, echo, room, executor.WithNoWait())
		if errors.Is(f.Err(), executor.ErrFull) {
			break
		}
		require.Equal(t, futures.Pending, f.State())
		room++
	}
	require.Positive(t, room, "there is no room for one pending task")
	b.open()
	require.NoError(t, ex.Close())
	return room
}
