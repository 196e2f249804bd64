package executor

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
	"sync"

	"github.com/nearfar/nearfar/pool"
)

// tag labels the runner's goroutine, and what the task starts, for CPU and goroutine
// profiles: task=NAME. The label stays until a task of another function comes, so a
// run of tasks of one function pays for it once. code tells functions apart.
func tag(r *pool.Runner, code uintptr, name func() string) {
	if r == nil || r.Tag == code {
		return
	}
	r.Tag = code
	n := name()
	labels, ok := labelSets.Load(n)
	if !ok {
		labels, _ = labelSets.LoadOrStore(n, pprof.WithLabels(context.Background(), pprof.Labels("task", n)))
	}
	pprof.SetGoroutineLabels(labels.(context.Context))
}

// labelSets are contexts with a label, by name. There are as many as the program
// has names for tasks.
var labelSets sync.Map

// traced is fn(ctx, arg) in a region of the execution trace that somebody takes.
func traced[A, R any](ctx context.Context, name string, fn func(context.Context, A) (R, error), arg A) (v R, err error) {
	trace.WithRegion(ctx, name, func() { v, err = fn(ctx, arg) })
	return v, err
}
