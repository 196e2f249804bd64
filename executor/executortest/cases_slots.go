package executortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// slotCases: however tasks wait and end, there are as many slots as there were.
func slotCases(t *testing.T, open opener) {
	check(t, open, "G7/TaskLendsOneSlotAtMost", crowdOfOneTask)
	checkNear(t, open, "G7/OneWaitsWhileAnotherResumes", waitsWhileResuming)
	check(t, open, "G7/NoMoreRunThanSlots", noMoreThanSlots)
	check(t, open, "G7/WaiterThatGivesUpHasItsSlot", waiterGivesUp)
	check(t, open, "G7/CancelOfWaiting", cancelOfWaiting)
	check(t, open, "G7/CancelOfAwaited", cancelOfAwaited)
	check(t, open, "G7/GoroutineThatWaitsLongerThanItsTask", strayWaiters)
	for _, how := range []string{"string", "goexit", "error"} {
		check(t, open, "G7/LeavingAfterWaiting/"+how, func(t *testing.T, ex executor.Executor) { leavesAfterWaiting(t, ex, how) })
	}
}

// requireSlots checks that ex runs as many tasks at a time as it has slots.
func requireSlots(t *testing.T, ex executor.Executor) {
	t.Helper()
	b := newBoard(t, ex)
	slots := ex.Slots()
	fs := make([]*futures.Future[string], 2*slots+2)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, occupy, b.post(fmt.Sprint(i)))
	}
	b.wait(slots, "start")
	defer func() { // not a Cleanup: by then, t's ctx has ended, and what is wrong may be gone
		if t.Failed() {
			t.Logf("%+v", ex.Stats())
		}
	}()
	eventually(t, "as many run as there are slots", func() bool {
		s := ex.Stats()
		return s.Running == int64(slots) && s.Pending == int64(len(fs)-slots)
	})
	require.Equal(t, slots, b.has("start"), "tasks have started on more slots than there are")
	b.open()
	for _, f := range fs {
		result(t, f)
	}
	requireThreads(t, ex, b)
}

// requireThreads checks that no process had more tasks at work than it has threads.
func requireThreads(t *testing.T, ex executor.Executor, b *board) {
	t.Helper()
	threads := 0
	for _, w := range ex.Stats().Workers {
		threads = max(threads, w.Threads)
	}
	require.LessOrEqual(t, b.busiest(), threads, "tasks at work in a process, and its threads")
}

func crowdOfOneTask(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	fs := make([]*futures.Future[int], ex.Slots()+1)
	for i := range fs {
		fs[i] = executor.Submit(t.Context(), ex, throng, Family{Board: b.name, Children: 40})
	}
	for _, f := range fs {
		require.Equal(t, 40, result(t, f))
	}
	requireThreads(t, ex, b)
	requireSlots(t, ex)
}

// waitsWhileResuming has one goroutine of a task wait while another has been woken, and
// waits for a slot, since all are taken.
func waitsWhileResuming(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var held []*futures.Future[string]
	for i := range ex.Slots() - 1 {
		held = append(held, executor.Submit(t.Context(), ex, hold, b.post(fmt.Sprint("other", i))))
	}
	for _, f := range held {
		started(t, f)
	}
	promises, resolve := promised(2)
	second := make(chan struct{})
	f := executor.Go(t.Context(), ex, func(ctx context.Context) (int, error) {
		var wg sync.WaitGroup
		var got [2]int
		wg.Go(func() { got[0], _ = promises[0].Result(ctx) })
		wg.Go(func() { <-second; got[1], _ = promises[1].Result(ctx) })
		wg.Wait()
		return got[0] + got[1], nil
	})
	eventually(t, "it waits", func() bool { return ex.Stats().Waiting == 1 })
	taken := executor.Submit(t.Context(), ex, hold, b.post("taken"))
	started(t, taken)
	last := executor.Go(t.Context(), ex, func(context.Context) (bool, error) { return resolve[1](2, nil), nil })
	resolve[0](1, nil) // who waits for it has no slot to go on with
	close(second)
	for range 100 {
		runtime.Gosched() // for the second to get to its wait; it matters only to what is wrong
	}
	b.open()
	require.True(t, result(t, last))
	require.Equal(t, 3, result(t, f))
	requireSlots(t, ex)
}

func noMoreThanSlots(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var fs []*futures.Future[int]
	for i := range 8 {
		fs = append(fs, executor.Submit(t.Context(), ex, ramble, Ramble{b.name, 4, uint64(i)}))
	}
	for _, f := range fs {
		require.Equal(t, 1+3+9+27+81, result(t, f))
	}
	requireThreads(t, ex, b)
	requireSlots(t, ex)
}

// waiterGivesUp has tasks wait for what does not end with a ctx that does.
func waiterGivesUp(t *testing.T, ex executor.Executor) {
	b := newBoard(t, ex)
	var fs []*futures.Future[string]
	for i := range 4 * ex.Slots() {
		fs = append(fs, executor.Submit(t.Context(), ex, giveUp, b.post(fmt.Sprint(i))))
	}
	for i, f := range fs {
		require.Equal(t, kinds(context.DeadlineExceeded), result(t, f), "task %d", i)
	}
	requireThreads(t, ex, b)
	requireSlots(t, ex)
}

func cancelOfWaiting(t *testing.T, ex executor.Executor) {
	for range 5 {
		b := newBoard(t, ex)
		var fs []*futures.Future[string]
		for range ex.Slots() {
			fs = append(fs, executor.Submit(t.Context(), ex, nest, Nest{b.name, "hold"}))
		}
		b.wait(ex.Slots(), "start child")
		for _, f := range fs {
			require.True(t, f.Cancel(errStop))
			requireStopped(t, failure(t, f, futures.Cancelled))
		}
		b.wait(ex.Slots(), "ctx child")
	}
	eventually(t, "all have returned", func() bool { s := ex.Stats(); return s.Abandoned+s.Running+s.Waiting == 0 })
	requireSlots(t, ex)
}

// cancelOfAwaited ends what tasks wait for by a cancel from outside, as their waits begin.
func cancelOfAwaited(t *testing.T, ex executor.Executor) {
	for range 50 {
		ctx, cancel := context.WithCancelCause(t.Context())
		fs := make([]*futures.Future[int], 2*ex.Slots())
		for i := range fs {
			fs[i] = executor.Submit(ctx, ex, descend, 3)
		}
		if rand.IntN(2) == 0 {
			runtime.Gosched()
		}
		cancel(errStop)
		for _, f := range fs {
			ended(t, f)
		}
	}
	eventually(t, "all have returned", func() bool { s := ex.Stats(); return s.Abandoned+s.Running+s.Waiting+s.Pending == 0 })
	requireSlots(t, ex)
}

// strayWaiters have goroutines of tasks that have returned still wait with the task's ctx.
func strayWaiters(t *testing.T, ex executor.Executor) {
	for _, outlive := range []bool{false, true} {
		b := newBoard(t, ex)
		if outlive { // else the children would have the slots for good
			b.open()
		}
		n := 0
		var fs []*futures.Future[int]
		for i := range 10 * ex.Slots() {
			fs = append(fs, executor.Submit(t.Context(), ex, strayWaiter, Family{Board: b.name, Children: i % 4, Outlive: outlive}))
			n += i % 4
		}
		for i, f := range fs {
			require.Equal(t, i%4, result(t, f))
		}
		b.wait(n, "waited")
		// Those children that outlive their tasks may be queued behind what comes now, in another place.
		eventually(t, "all have returned", func() bool { s := ex.Stats(); return s.Abandoned+s.Running+s.Waiting+s.Pending == 0 })
		requireSlots(t, ex)
	}
}

func leavesAfterWaiting(t *testing.T, ex executor.Executor, how string) {
	for range 10 {
		var fs []*futures.Future[string]
		for range 2 * ex.Slots() {
			fs = append(fs, executor.Submit(t.Context(), ex, waitThenCrash, how))
		}
		for _, f := range fs {
			failure(t, f, futures.Failed)
		}
	}
	requireSlots(t, ex)
}

func init() {
	executor.Register(occupy)
	executor.Register(workFor)
	executor.Register(throng)
	executor.Register(ramble)
	executor.Register(giveUp)
	executor.Register(strayWaiter)
	executor.Register(waitThenCrash)
}

// occupy is at work until the board is opened.
func occupy(ctx context.Context, p Post) (string, error) {
	s := sheetOf(p.Board)
	s.work()
	defer s.rest()
	return hold(ctx, p)
}

// throng waits for each of its children in a goroutine of its own.
func throng(ctx context.Context, f Family) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	var wg sync.WaitGroup
	got := make([]int, f.Children)
	for i := range got {
		wg.Go(func() {
			child := executor.Submit(ctx, ex, workFor, Work{f.Board, 50 * time.Microsecond})
			if i%2 == 0 {
				got[i], _ = child.Result(ctx)
			} else {
				got[i], _ = gathered(futures.Gather(ctx, child))
			}
		})
	}
	all, _ := gathered(futures.Gather(ctx, executor.Submit(ctx, ex, echo, 0)))
	wg.Wait()
	for _, n := range got {
		all += n
	}
	return all, nil
}

// Ramble says how deep ramble is to go.
type Ramble struct {
	Board string
	Depth int
	Seed  uint64
}

// ramble has three children, for which it waits in ways that it picks at random, and is
// at work before that, in between, and after. It returns how many there were of them all.
func ramble(ctx context.Context, r Ramble) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	s := sheetOf(r.Board)
	rnd := rand.New(rand.NewPCG(r.Seed, uint64(r.Depth)))
	toil := func() {
		s.work()
		spin(time.Duration(rnd.IntN(20)) * time.Microsecond)
		s.rest()
	}
	toil()
	if r.Depth == 0 {
		return 1, nil
	}
	var fs []*futures.Future[int]
	for i := range 3 {
		fs = append(fs, executor.Submit(ctx, ex, ramble, Ramble{r.Board, r.Depth - 1, r.Seed*3 + uint64(i)}))
	}
	total := 1
	for _, i := range rnd.Perm(3) {
		if rnd.IntN(3) == 0 {
			under, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(100))*time.Microsecond)
			_ = fs[i].Wait(under)
			cancel()
			toil()
		}
		n, err := fs[i].Result(ctx)
		if err != nil {
			return 0, err
		}
		total += n
		toil()
	}
	return total, nil
}

// giveUp waits for a child that does not end until its time for that is over, and
// returns which error that was.
func giveUp(ctx context.Context, p Post) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	s := sheetOf(p.Board)
	never, _ := futures.New[int]()
	child := executor.Then(ctx, ex, echo, never) // one that ran would have the slot
	under, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := child.Result(under)
	s.work()
	spin(20 * time.Microsecond)
	s.rest()
	return kinds(err), nil
}

// strayWaiter leaves goroutines behind that wait with its ctx.
func strayWaiter(ctx context.Context, f Family) (int, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errNoExecutor
	}
	under := ctx
	if f.Outlive {
		under = context.WithoutCancel(ctx)
	}
	for range f.Children {
		child := executor.Submit(under, ex, hold, Post{f.Board, "child"})
		go func() { // ends with ctx, when the task does
			_, err := child.Result(ctx)
			sheetOf(f.Board).write("waited: %v", err)
		}()
	}
	runtime.Gosched()
	return f.Children, nil
}

func waitThenCrash(ctx context.Context, how string) (string, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return "", errNoExecutor
	}
	if _, err := executor.Submit(ctx, ex, echo, 1).Result(ctx); err != nil {
		return "", err
	}
	executor.Submit(ctx, ex, sleeper, 1)
	return crash(ctx, how)
}

// Work says how long a task is to be at work.
type Work struct {
	Board string
	For   time.Duration
}

func workFor(_ context.Context, w Work) (int, error) {
	s := sheetOf(w.Board)
	s.work()
	defer s.rest()
	spin(w.For)
	return 1, nil
}

// spin is at it for d.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		runtime.Gosched()
	}
}
