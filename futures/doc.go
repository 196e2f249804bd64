// Package futures has the results of tasks, now or later: Future, Batch, and
// what waits for many of them.
//
// A Future is a reference to a result, not the result: it may be passed on,
// waited for and dropped without its value being touched. Package executor makes
// futures of tasks; New, Value and Error make them by hand. The package knows no
// executor and starts no goroutine, except one for each callback of OnDone.
//
// # States
//
// A future is Pending until its task starts, Running while the function runs, and
// then, for good, one of three: Finished with a value, Failed with an error, or
// Cancelled. Between two attempts of a task that is retried it is Pending again.
//
// # Guarantees
//
// The numbers are those of the design; every backend of package executor is held
// to them by package executor/executortest.
//
//   - A future is resolved exactly once, and State and Err do not change after that.
//     A finished future wins over an ended ctx; a waiter whose own ctx ends gets
//     an error that is ctx.Err() and its cause, and leaves the future alone (G1).
//   - Cancel resolves the future at once and wakes all who wait, keeps a pending task
//     from starting, and ends the ctx of a running one. Dependents are cancelled with
//     it; inputs never are (G3).
//   - An input that failed or was cancelled ends what depends on it with the same
//     error (G5).
//   - Result, Wait, Gather, Settle, AsCompleted, Completions and the methods of Batch
//     lend the slot of the task that calls them with its own ctx, or one made from it.
//     Receiving from Done does not (G7).
//   - Release drops the value wherever it is; tasks that were submitted with it as
//     an input still get it (G21).
//
// # Waiting for many
//
// Gather wants all values and stops at the first failure; Settle wants all outcomes.
// Wait and AsCompleted move no values. Completions is AsCompleted that may grow while
// it is read. All and Join make one future of many, and wait for nothing.
//
// Everything here is safe for use by many goroutines at once.
package futures
