package executortest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func init() {
	executor.RegisterError(errStep, errCause)
	executor.Register(doStep)
	executor.Register(triple)
	executor.Register(describe)
	executor.Register(crowding)
	executor.Register(untilDeadline)
	executor.Register(leaveChild)
	executor.Register(leaveInner)
	executor.Register(streamInside)
	executor.Register(concat)
	executor.Register(processOf)
	executor.Register(setUpBy)
	executor.RegisterSetup(func(_ context.Context, data []byte) error { return recordSetup("first", data) })
	executor.RegisterSetup(func(_ context.Context, data []byte) error { return recordSetup("second", data) })
}

var (
	errStep  = errors.New("executortest: failed as told")
	errCause = errors.New("executortest: ended as told")
)

// A step is an item that does as it is told.
type step struct {
	I     int
	Do    string        // what it does in the end: return, if empty
	Nap   time.Duration // how long it sleeps before that
	Board string        // where it writes "start I" and "end I"; nowhere, if empty
	Await string        // a board that must be opened before it goes on
}

// What a step can do in the end.
const (
	fails    = "fails"    // with errStep
	panics   = "panics"   // with a text that names the step
	exits    = "exits"    // by Goexit
	blocks   = "blocks"   // until its ctx ends
	lingers  = "lingers"  // blocks, and then a while longer
	stubborn = "stubborn" // until its Board is opened, whatever its ctx says
	thirds   = "thirds"   // fails, but not at its third attempt
	forever  = "forever"  // fails for good
)

// answer is what step i returns.
func answer(i int) int { return 3*i + 1 }

// steps makes n steps, changed by edit if that is given.
func steps(n int, edit func(s *step)) []step {
	all := make([]step, n)
	for i := range all {
		all[i].I = i
		if edit != nil {
			edit(&all[i])
		}
	}
	return all
}

// answers is what n steps return.
func answers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = answer(i)
	}
	return all
}

func doStep(ctx context.Context, s step) (int, error) {
	if s.Board != "" {
		sheetOf(s.Board).write("start %d", s.I)
		defer func() { sheetOf(s.Board).write("end %d", s.I) }()
	}
	if s.Await != "" {
		select {
		case <-sheetOf(s.Await).gate:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	if s.Nap > 0 {
		time.Sleep(s.Nap)
	}
	info, _ := executor.TaskFromContext(ctx)
	switch s.Do {
	case fails:
		return 0, fmt.Errorf("step %d: %w", s.I, errStep)
	case panics:
		panic(fmt.Sprintf("step %d panics", s.I))
	case exits:
		runtime.Goexit()
	case blocks:
		<-ctx.Done()
		return 0, context.Cause(ctx)
	case lingers:
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		return 0, context.Cause(ctx)
	case stubborn:
		<-sheetOf(s.Board).gate
	case thirds:
		if info.Attempt != 3 {
			return 0, fmt.Errorf("step %d, attempt %d: %w", s.I, info.Attempt, errStep)
		}
	case forever:
		return 0, executor.Permanent(fmt.Errorf("step %d, attempt %d: %w", s.I, info.Attempt, errStep))
	}
	return answer(s.I), nil
}

func triple(_ context.Context, n int) (int, error) { return 3 * n, nil }

// describe is what a function can know of its task.
func describe(ctx context.Context, _ int) (executor.TaskInfo, error) {
	info, ok := executor.TaskFromContext(ctx)
	if !ok {
		return info, errors.New("not in a task")
	}
	return info, nil
}

// crowdings are how many calls of crowding run in this process, by the name they were given.
var crowdings sync.Map

// crowding is how many calls of the same name it saw running in its process, itself
// included.
func crowding(_ context.Context, name string) (int64, error) {
	v, _ := crowdings.LoadOrStore(name, new(atomic.Int64))
	n := v.(*atomic.Int64)
	most := n.Add(1)
	defer n.Add(-1)
	for range 20 {
		time.Sleep(100 * time.Microsecond)
		most = max(most, n.Load())
	}
	return most, nil
}

// untilDeadline sleeps, and returns the deadline that it found.
func untilDeadline(ctx context.Context, nap time.Duration) (int64, error) {
	at, ok := ctx.Deadline()
	if !ok {
		return 0, errors.New("no deadline")
	}
	time.Sleep(nap)
	return at.UnixNano(), nil
}

// A kept value holds a future.
type kept struct {
	Inner *futures.Future[int]
	Note  string
}

// leaveChild submits a step under its own ctx, and does not wait for it.
func leaveChild(ctx context.Context, s step) (kept, error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return kept{}, errors.New("no executor")
	}
	return kept{executor.Submit(ctx, ex, doStep, s), "child"}, nil
}

// leaveInner submits a step that is to outlive it.
func leaveInner(ctx context.Context, s step) (kept, error) {
	k, err := leaveChild(context.WithoutCancel(ctx), s)
	k.Note = "inner"
	return k, err
}

// streamInside adds up a MapSeq of n steps that it runs itself.
func streamInside(ctx context.Context, n int) (total int, _ error) {
	ex, ok := executor.FromContext(ctx)
	if !ok {
		return 0, errors.New("no executor")
	}
	for v, err := range executor.MapSeq(ctx, ex, doStep, slices.Values(steps(n, nil))) {
		if err != nil {
			return 0, err
		}
		total += v
	}
	return total, nil
}

// A rope is what concat makes: a text, and how it was made.
type rope struct {
	Text  string
	Calls int // of concat
	Most  int // values that one call has combined
	None  bool
}

// concat is associative, and not commutative.
func concat(_ context.Context, in []rope) (rope, error) {
	out := rope{Calls: 1, Most: len(in), None: in == nil}
	var b strings.Builder
	for _, r := range in {
		if r.Text == fails {
			return rope{}, fmt.Errorf("concat: %w", errStep)
		}
		b.WriteString(r.Text)
		out.Calls += r.Calls
		out.Most = max(out.Most, r.Most)
	}
	out.Text = b.String()
	return out, nil
}

// processOf is the process that it runs in, unless the step is told to do something.
func processOf(ctx context.Context, s step) (int, error) {
	if s.Do != "" {
		return doStep(ctx, s)
	}
	return os.Getpid(), nil
}

// setupLog is how this process was set up.
var setupLog struct {
	mu    sync.Mutex
	calls []string // guarded by mu
}

func recordSetup(name string, data []byte) error {
	setupLog.mu.Lock()
	defer setupLog.mu.Unlock()
	setupLog.calls = append(setupLog.calls, name+" with "+string(data))
	return nil
}

func setUpBy(context.Context, int) ([]string, error) {
	setupLog.mu.Lock()
	defer setupLog.mu.Unlock()
	return slices.Clone(setupLog.calls), nil
}
