package executortest

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// seqCases are those of MapSeq: G16.
func seqCases(t *testing.T, open func(t *testing.T) executor.Executor) {
	check(t, open, "G16/ResultsAreInOrder", seqOrder)
	check(t, open, "G16/UnorderedYieldsEachOnce", seqUnordered)
	check(t, open, "G16/SlowItemDoesNotHoldUpUnordered", seqUnorderedSlow)
	check(t, open, "G16/HoldsAtMostInFlight", seqWindow)
	check(t, open, "G16/WindowIsFilled", seqFills)
	check(t, open, "G16/PullsInTheConsumersTurn", seqTurn)
	check(t, open, "G16/NothingHappensBeforeTheLoop", seqLazy)
	check(t, open, "G16/InputMayDependOnResults", seqFeedback)
	check(t, open, "G16/ItemsStartWhileTheInputIsSlow", seqSlowInput)
	check(t, open, "G16/LongStream", seqLong)
	check(t, open, "G16/StreamsDoNotDisturbEachOther", seqTwo)
	check(t, open, "G16/StreamInsideATask", seqInside)
	check(t, open, "G20/StreamOfItemsWithFutures", seqOfFutures)
	seqLeaveCases(t, open)
	seqFailCases(t, open)
}

// An intake is the input of a stream, and counts what is taken from it.
type intake struct {
	pulled  atomic.Int64
	yielded atomic.Int64 // counted by the loop
	stopped atomic.Bool  // its loop was left
	edit    func(s *step)
	before  func(i int) // each pull
}

// steps are n steps, or without end if n is negative.
func (in *intake) steps(n int) iter.Seq[step] {
	return func(yield func(step) bool) {
		defer in.stopped.Store(true)
		for i := 0; i != n; i++ {
			if in.before != nil {
				in.before(i)
			}
			s := step{I: i}
			if in.edit != nil {
				in.edit(&s)
			}
			in.pulled.Add(1)
			if !yield(s) {
				return
			}
		}
	}
}

func seqOrder(t *testing.T, ex executor.Executor) {
	for _, n := range []int{0, 1, 2, ex.Slots(), 40, 300} {
		for _, opts := range [][]executor.Option{nil, {executor.WithInFlight(1)}, {executor.WithInFlight(3)}, {executor.WithInFlight(1000)}, {executor.WithKeepGoing()}} {
			in := &intake{edit: func(s *step) {
				if s.I < 40 {
					s.Nap = time.Duration(40-s.I) * 20 * time.Microsecond
				}
			}}
			var got []int
			for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(n), opts...) {
				require.NoError(t, err)
				got = append(got, v)
			}
			require.Equal(t, answers(n), append([]int{}, got...))
			require.EqualValues(t, n, in.pulled.Load())
			require.True(t, in.stopped.Load())
		}
	}
}

func seqUnordered(t *testing.T, ex executor.Executor) {
	for _, n := range []int{0, 1, 300} {
		for _, opts := range [][]executor.Option{nil, {executor.WithInFlight(1)}, {executor.WithInFlight(5)}} {
			opts = append(opts, executor.WithUnordered())
			var got []int
			for v, err := range executor.MapSeq(soon(t), ex, doStep, new(intake).steps(n), opts...) {
				require.NoError(t, err)
				got = append(got, v)
			}
			slices.Sort(got)
			require.Equal(t, answers(n), append([]int{}, got...))
		}
	}
}

// seqUnorderedSlow: the first item ends last, long after a window's worth of others.
func seqUnorderedSlow(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: one has the slow item")
	}
	gate := newBoard(t, ex)
	in := &intake{edit: func(s *step) {
		if s.I == 0 {
			s.Await = gate.name
		}
	}}
	n := 0
	for v, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(100), executor.WithUnordered(), executor.WithInFlight(4)) {
		require.NoError(t, err)
		if n++; n < 100 {
			require.NotEqual(t, answer(0), v)
		} else {
			require.Equal(t, answer(0), v)
		}
		if n == 99 {
			gate.open()
		}
	}
	require.Equal(t, 100, n)
}

func seqWindow(t *testing.T, ex executor.Executor) {
	for _, c := range []struct{ given, most int }{{1, 1}, {2, 2}, {7, 7}, {0, 64 * ex.Slots()}} {
		for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithKeepGoing()}} {
			if c.given > 0 {
				opts = append(opts, executor.WithInFlight(c.given))
			}
			in := &intake{}
			held := func() {
				n := int(in.pulled.Load() - in.yielded.Load())
				require.LessOrEqual(t, n, c.most, "items taken and not yielded")
			}
			in.before = func(int) {
				in.pulled.Add(1) // the one that is about to be taken
				held()
				in.pulled.Add(-1)
			}
			for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(500), opts...) {
				require.NoError(t, err)
				in.yielded.Add(1)
				held()
			}
			require.EqualValues(t, 500, in.yielded.Load())
		}
	}
}

// seqFills: while the first item runs, as many are taken as there is room for and slots
// to run them; and not one more.
func seqFills(t *testing.T, ex executor.Executor) {
	slots := ex.Slots()
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}} {
		b, gate := newBoard(t, ex), newBoard(t, ex)
		in := &intake{edit: func(s *step) { s.Await, s.Board = gate.name, b.name }}
		opts = append(opts, executor.WithInFlight(slots+2))
		done := make(chan int)
		go func() { // ends with the stream
			n := 0
			for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(5*slots), opts...) {
				if err == nil {
					n++
				}
			}
			done <- n
		}()
		b.wait(slots, "start ")
		eventually(t, "the window is filled", func() bool { return in.pulled.Load() >= int64(slots) })
		require.LessOrEqual(t, in.pulled.Load(), int64(slots+2))
		gate.open()
		require.Equal(t, 5*slots, <-done)
	}
}

// seqTurn: the input and the body of the loop share a variable without a lock, and are
// never at work together.
func seqTurn(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}} {
		inBody, turns := false, 0
		in := &intake{before: func(int) {
			require.False(t, inBody, "pulled while the loop's body runs")
			turns++
		}}
		for range executor.MapSeq(soon(t), ex, doStep, in.steps(200), opts...) {
			inBody = true
			turns++
			time.Sleep(10 * time.Microsecond)
			inBody = false
		}
		require.Equal(t, 400, turns)
	}
}

func seqLazy(t *testing.T, ex executor.Executor) {
	in := &intake{}
	seq := executor.MapSeq(soon(t), ex, doStep, in.steps(10))
	before := ex.Stats().Submitted
	time.Sleep(time.Millisecond) // for whoever would pull on a goroutine
	require.Zero(t, in.pulled.Load())
	require.Equal(t, before, ex.Stats().Submitted)
	for range 2 { // each loop is a stream of its own
		n := 0
		for v, err := range seq {
			require.NoError(t, err)
			require.Equal(t, answer(n), v)
			n++
		}
		require.Equal(t, 10, n)
	}
	require.EqualValues(t, 20, in.pulled.Load())
}

// seqFeedback: with one item in flight, an item may be made of the result before it.
func seqFeedback(t *testing.T, ex executor.Executor) {
	last := 1
	items := func(yield func(int) bool) {
		for range 10 {
			if !yield(last) {
				return
			}
		}
	}
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}} {
		last = 1
		for v, err := range executor.MapSeq(soon(t), ex, triple, items, append(opts, executor.WithInFlight(1))...) {
			require.NoError(t, err)
			last = v
		}
		require.Equal(t, 59049, last)
	}
}

// seqSlowInput: an item that was taken starts, though the next is long in coming.
func seqSlowInput(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}} {
		b := newBoard(t, ex)
		in := &intake{edit: func(s *step) { s.Board = b.name }}
		in.before = func(i int) { b.wait(i, "end ") }
		n := 0
		for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(20), opts...) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 20, n)
	}
}

func seqLong(t *testing.T, ex executor.Executor) {
	const n = 100_000 / less
	items := func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
	at := 0
	for v, err := range executor.MapSeq(soon(t), ex, triple, items) {
		if err != nil || v != 3*at {
			t.Fatalf("item %d: %d, %v", at, v, err)
		}
		at++
	}
	require.Equal(t, n, at)
}

// seqTwo reads two streams in turns, and leaves one of them early.
func seqTwo(t *testing.T, ex executor.Executor) {
	first, stop1 := iter.Pull2(executor.MapSeq(soon(t), ex, doStep, new(intake).steps(-1)))
	defer stop1()
	in := &intake{}
	second, stop2 := iter.Pull2(executor.MapSeq(soon(t), ex, doStep, in.steps(-1), executor.WithUnordered()))
	defer stop2()
	seen := map[int]bool{}
	for i := range 100 {
		v, err, ok := first()
		require.True(t, ok)
		require.NoError(t, err)
		require.Equal(t, answer(i), v)
		if i < 50 {
			v, err, ok = second()
			require.True(t, ok)
			require.NoError(t, err)
			require.False(t, seen[v])
			seen[v] = true
		} else if i == 50 {
			stop2()
			require.True(t, in.stopped.Load())
		}
	}
}

func seqInside(t *testing.T, ex executor.Executor) {
	n := 3 * ex.Slots()
	fs := executor.SubmitAll(t.Context(), ex, streamInside, slices.Repeat([]int{50}, n))
	got, err := futures.Gather(soon(t), fs...)
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]int{3*50*49/2 + 50}, n), got)
}

func seqOfFutures(t *testing.T, ex executor.Executor) {
	items := func(yield func(Inputs) bool) {
		for i := range 50 {
			one := executor.Submit(t.Context(), ex, triple, i)
			if !yield(Inputs{One: one, Plus: 1}) {
				return
			}
		}
	}
	at := 0
	for v, err := range executor.MapSeq(soon(t), ex, sumOfInputs, items) {
		require.NoError(t, err)
		require.Equal(t, 3*at+1, v)
		at++
	}
	require.Equal(t, 50, at)
	// one that fails is an item that fails
	bad := Inputs{Many: []*futures.Future[int]{futures.Error[int](errStep)}}
	var errs []error
	for _, err := range executor.MapSeq(context.WithoutCancel(soon(t)), ex, sumOfInputs, slices.Values([]Inputs{{Plus: 1}, bad, {Plus: 2}}), executor.WithKeepGoing()) {
		errs = append(errs, err)
	}
	require.Len(t, errs, 3)
	require.NoError(t, errs[0])
	requireItem(t, errs[1], 1, errStep)
	require.NoError(t, errs[2])
}
