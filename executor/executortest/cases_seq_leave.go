package executortest

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

func seqLeaveCases(t *testing.T, open opener) {
	check(t, open, "G16/BreakStopsTheInput", seqBreak)
	check(t, open, "G16/BreakEndsWhatRuns", seqBreakEnds)
	check(t, open, "G16/BreakCancelsWhatHasNotStarted", seqBreakCancels)
	check(t, open, "G16/PanicInTheLoopEndsTheStream", seqBodyPanics)
	check(t, open, "G16/GoexitInTheLoopEndsTheStream", seqBodyExits)
	check(t, open, "G16/PanicOfTheInputReachesTheConsumer", seqInputPanics)
	check(t, open, "G16/GoexitOfTheInputEndsTheStream", seqInputExits)
	check(t, open, "G16/LoopWaitsForWhatIsDeaf", seqDeaf)
}

// seqBreak: an endless input is stopped where the loop is left.
func seqBreak(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithInFlight(1)}} {
		for _, after := range []int{1, 2, 100} {
			in := &intake{}
			n := 0
			for _, err := range executor.MapSeq(soon(t), ex, doStep, in.steps(-1), opts...) {
				require.NoError(t, err)
				if n++; n == after {
					break
				}
			}
			require.True(t, in.stopped.Load(), "the input has not ended")
			require.LessOrEqual(t, in.pulled.Load(), int64(after+64*ex.Slots()))
		}
	}
}

// A leaver is a stream whose first two items end at once, while the others run until
// their ctx ends, and a while longer.
type leaver struct {
	*intake
	b *board
}

func newLeaver(t *testing.T, ex executor.Executor) leaver {
	b := newBoard(t, ex)
	return leaver{&intake{edit: func(s *step) {
		s.Board = b.name
		if s.I >= 2 {
			s.Do = lingers
		}
	}}, b}
}

// requireLeft: all that had started has ended, without waiting for it here.
func (l leaver) requireLeft(t *testing.T, ex executor.Executor) {
	t.Helper()
	require.True(t, l.stopped.Load(), "the input has not ended")
	require.Equal(t, l.b.has("start "), l.b.has("end "), "functions still run")
	require.Zero(t, ex.Stats().Abandoned)
	require.Zero(t, ex.Stats().Running)
	require.Zero(t, ex.Stats().Pending)
}

func seqBreakEnds(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithKeepGoing()}} {
		for tries := 0; ; tries++ {
			l := newLeaver(t, ex)
			n := 0
			for _, err := range executor.MapSeq(soon(t), ex, doStep, l.steps(-1), opts...) {
				require.NoError(t, err)
				if n++; n == 2 {
					break
				}
			}
			l.requireLeft(t, ex)
			if l.b.has("start ") > 2 { // of those, one at least ran until it was told to end
				break
			}
			require.Less(t, tries, 1000, "the loop was never ahead of the tasks")
		}
	}
}

// seqBreakCancels: of a window full of items only those that run get to start.
func seqBreakCancels(t *testing.T, ex executor.Executor) {
	slots := ex.Slots()
	l := newLeaver(t, ex)
	for _, err := range executor.MapSeq(soon(t), ex, doStep, l.steps(-1), executor.WithInFlight(50*slots)) {
		require.NoError(t, err)
		break
	}
	l.requireLeft(t, ex)
	started := l.b.has("start ")
	if inProcess(ex) {
		require.LessOrEqual(t, started, slots+2, "what had not started was started")
	} else {
		require.Less(t, started, 40*slots, "what had not started was started")
	}
}

func seqBodyPanics(t *testing.T, ex executor.Executor) {
	l := newLeaver(t, ex)
	require.PanicsWithValue(t, "the loop", func() {
		for range executor.MapSeq(soon(t), ex, doStep, l.steps(-1)) {
			panic("the loop")
		}
	})
	l.requireLeft(t, ex)
}

func seqBodyExits(t *testing.T, ex executor.Executor) {
	l := newLeaver(t, ex)
	within(t, "the goroutine ends", func() {
		for range executor.MapSeq(context.WithoutCancel(t.Context()), ex, doStep, l.steps(-1)) {
			runtime.Goexit()
		}
	})
	l.requireLeft(t, ex)
}

func seqInputPanics(t *testing.T, ex executor.Executor) {
	for _, opts := range [][]executor.Option{nil, {executor.WithUnordered()}, {executor.WithInFlight(1)}} {
		for _, at := range []int{0, 1, 30} {
			if len(opts) > 0 && at > 1 {
				continue // the window is full of items that do not end
			}
			l := newLeaver(t, ex)
			value := &step{I: at}
			l.before = func(i int) {
				if i == at {
					panic(value)
				}
			}
			l.edit = func(s *step) { s.Board = l.b.name }
			func() {
				defer func() { require.Same(t, value, recover()) }()
				for _, err := range executor.MapSeq(soon(t), ex, doStep, l.steps(-1), opts...) {
					require.NoError(t, err)
				}
			}()
			l.requireLeft(t, ex)
		}
	}
}

func seqInputExits(t *testing.T, ex executor.Executor) {
	l := newLeaver(t, ex)
	l.before = func(i int) {
		if i == 2 {
			runtime.Goexit()
		}
	}
	within(t, "the goroutine ends", func() {
		for range executor.MapSeq(context.WithoutCancel(t.Context()), ex, doStep, l.steps(-1)) {
		}
	})
	l.requireLeft(t, ex)
}

// seqDeaf: the loop is not left while a function runs that does not look at its ctx.
func seqDeaf(t *testing.T, ex executor.Executor) {
	if ex.Slots() < 2 {
		t.Skip("needs two slots: one has the function that is deaf")
	}
	b, first := newBoard(t, ex), newBoard(t, ex)
	in := &intake{edit: func(s *step) {
		if s.Board = b.name; s.I == 1 {
			s.Do = stubborn
		} else {
			s.Await = first.name
		}
	}}
	left := make(chan struct{})
	go func() { // ends when the board is opened
		defer close(left)
		for range executor.MapSeq(context.WithoutCancel(t.Context()), ex, doStep, in.steps(2)) {
			break
		}
	}()
	b.wait(1, "start 1")
	first.open()
	eventually(t, "the deaf function was cancelled", func() bool { return ex.Stats().Abandoned > 0 })
	select {
	case <-left:
		t.Fatal("the loop was left while a function runs")
	default:
	}
	b.open()
	await(t, "the loop is left", left)
	require.Equal(t, b.has("start "), b.has("end "))
}
