// Package executor runs functions in parallel and gives their results as futures: near,
// on goroutines of this process, or far, on worker processes, with one API and one
// configuration string between them.
//
//	ex, err := executor.Open(ctx, "local://?threads=8") // or executor.FromEnv(ctx)
//	defer ex.Close()
//
//	f := executor.Submit(ctx, ex, area, 2.0)      // *futures.Future[float64]
//	v := executor.Then(ctx, ex, volume, f)        // runs when f is done, where its value is
//	b := executor.Map(ctx, ex, area, radii)       // *futures.Batch[float64], in chunks
//	total := executor.Reduce(ctx, ex, sum, b.Futures())
//	x, err := total.Result(ctx)
//
// It mirrors the futures of Python's dask.distributed and concurrent.futures: submit, map,
// gather, scatter, as_completed, futures as arguments, results left where they are.
//
// # Which function for what
//
//   - Submit: one call. Go: one closure, which stays in this process. SubmitAll: a future
//     for each of many arguments.
//   - Map: many items, one batch, chunks that the library chooses. MapSeq: a stream, with
//     a bound on what is in flight.
//   - Then: a call on the value of a future. Reduce: a tree of calls on many. Any argument
//     may hold futures, too; the task starts when they are done.
//   - Scatter: a value put where tasks run. RunOnAll: a call in every worker.
//   - Group: golang.org/x/sync/errgroup, for functions that wait for one another.
//
// # Concurrency
//
//   - ctx of a submit is the task's parent: when it ends, the task is cancelled. The ctx
//     that a function receives ends when it returns, and cancels what it submitted with
//     it (G2). Cancel resolves a future at once; the slot is free when the function has
//     returned (G3).
//   - A panic, or a Goexit, fails the future and nothing else (G4).
//   - A task that waits for others with its own ctx lends its slot, so recursion ends on
//     one slot, and no graph of tasks can block the executor (G6, G7).
//   - Tasks of one priority start in the order of their submission (G10). MaxPending bounds
//     what has not started: then submits block, or fail WithNoWait; those of tasks never
//     do (G12).
//   - Close cancels what is left and returns when the last function has; Shutdown lets it
//     finish first. After either, nothing is left: no goroutine, file or socket (G8).
//   - Arguments and values belong to nearfar until the task is done, and are not to be
//     changed by anybody (R7).
//
// # Far
//
// A function that may run in another process is registered at package init, by a program
// that both sides run; see Register. What may travel is what can be encoded faithfully:
// exported fields, numbers, strings, slices, maps, pointers without cycles, times, types
// with their own marshalers; no channels, functions or interfaces. Errors keep their
// meaning where they were registered; see RegisterError.
//
// Strict mode, local://?strict=true, rehearses all of it in this process: each call gets
// copies, made by the codec, without the values of ctx, and what could not travel fails
// with ErrNotRegistered or ErrNotEncodable, saying where.
//
// # Backends
//
// A backend registers itself by name, as database/sql drivers do. This package has local;
// a blank import of package remote adds proc, tcp, tls and unix. Another one implements
// Backend, which is small: options, retries, keys, inputs, priorities and batches are
// this package's, and the same for all. Package executortest is what it must pass.
package executor
