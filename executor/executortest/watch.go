package executortest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// patience is how long a case waits for what must happen: as long as is certain to be
// enough on a slow machine, since only a failure takes it.
const patience = 30 * time.Second

// watch ends the program, with all stacks, if the case hangs where no helper of this
// file would notice.
func watch(t *testing.T) {
	timer := time.AfterFunc(4*patience, func() {
		fmt.Fprintf(os.Stderr, "%s hangs\n\n%s\n", t.Name(), stacks())
		panic("executortest: " + t.Name() + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}

// stacks are those of all goroutines.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// soon is a ctx to wait with for what must happen.
func soon(t *testing.T) context.Context {
	ctx, cancel := waiting()
	t.Cleanup(cancel)
	return ctx
}

func waiting() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), patience, errImpatient)
}

var errImpatient = errors.New("executortest: it did not happen")

// within runs fn, on a goroutine that it waits for, and fails if that takes too long.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with fn, also when an assertion in it has failed
		defer close(done)
		fn()
	}()
	await(t, what, done)
}

// await waits until done is closed.
func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: not after %v\n\n%s", what, patience, stacks())
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	pause := 50 * time.Microsecond
	for start := time.Now(); !cond(); time.Sleep(pause) {
		if time.Since(start) > patience {
			t.Fatalf("%s: not after %v\n\n%s", what, patience, stacks())
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// result waits for a future that must finish.
func result[T any](t *testing.T, f *futures.Future[T]) T {
	t.Helper()
	ctx, cancel := waiting()
	defer cancel()
	v, err := f.Result(ctx)
	requirePatient(t, err, f)
	require.NoError(t, err)
	require.Equal(t, futures.Finished, f.State())
	require.NoError(t, f.Err())
	return v
}

// failure waits for a future that must end otherwise, and returns its error.
func failure[T any](t *testing.T, f *futures.Future[T], want futures.State) error {
	t.Helper()
	ctx, cancel := waiting()
	defer cancel()
	v, err := f.Result(ctx)
	requirePatient(t, err, f)
	require.Error(t, err, "it has %v", v)
	require.Equal(t, want, f.State(), "with %v", err)
	require.Equal(t, err.Error(), f.Err().Error())
	return err
}

// ended waits for a future, whatever becomes of it.
func ended(t *testing.T, w futures.Waiter) {
	t.Helper()
	ctx, cancel := waiting()
	defer cancel()
	requirePatient(t, w.Wait(ctx), w)
}

func requirePatient(t *testing.T, err error, w futures.Waiter) {
	t.Helper()
	if errors.Is(err, errImpatient) {
		t.Fatalf("%v: not resolved after %v\n\n%s", w, patience, stacks())
	}
}

// started waits until tasks run.
func started(t *testing.T, ws ...futures.Waiter) {
	t.Helper()
	for _, w := range ws {
		eventually(t, fmt.Sprint("a task runs: ", w), func() bool { return w.State() != futures.Pending })
		require.Equal(t, futures.Running, w.State(), "with %v", w.Err())
	}
}

// sleepers submits a task to each slot that runs until ctx ends, and waits until all do.
func sleepers(ctx context.Context, t *testing.T, ex executor.Executor) []*futures.Future[int] {
	t.Helper()
	fs := make([]*futures.Future[int], ex.Slots())
	for i := range fs {
		fs[i] = executor.Submit(ctx, ex, sleeper, i)
	}
	for _, f := range fs {
		started(t, f)
	}
	return fs
}
