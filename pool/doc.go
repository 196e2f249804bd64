// Package pool runs tasks on slots: a queue of its own, and goroutines to drain it,
// which ants hosts.
//
// A slot is the right to run, one task at a time. There are as many slots as Config
// says; a goroutine that holds one is a Runner. Submitting to ants is a hand-off under
// a lock, half a microsecond a task; here a Push costs that only when it finds a slot
// idle, and else a place in the queue.
//
// # The queue
//
// Tasks start in the order of Push, those of a higher priority before. A slot takes up
// to 16 ahead, so that the lock is taken once for all; what it has taken and not started
// goes back when something of a higher priority comes, or when its task lends the slot,
// and is cut in half for a slot that finds nothing to do (G10, G17).
//
// # Lending
//
// A task that waits for another lends its slot: first to the task that it waits for, if
// that is queued, then to waiters that want theirs back, then to the queue. It resumes
// before new tasks start. So tasks that wait for tasks need one slot, and as many
// goroutines as they are deep (G7).
//
// # Spans
//
// A Span is a loop over n items that all slots run together. Slots claim runs of items
// as long as their cost allows, at most half of a fair share of what is left, and a slot
// without work cuts off half of the largest claim. What has started stays where it is;
// what has not is handed over at the next item at the latest (G17).
//
// # Ends
//
// A panic or a runtime.Goexit in a task is reported to the task, and takes no slot with
// it (G4). Close refuses new tasks and gives back those that have not started; Wait
// returns when the last has ended, and with it the last goroutine (G8).
//
// # Costs
//
// docs/near.md has what each of these costs, and what was tried instead.
package pool
