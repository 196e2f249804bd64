package futures_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/futures"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the pool that ants makes when it is imported, by the examples.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	)
}

var (
	errBoom = errors.New("boom")
	errStop = errors.New("stop")
)

// watch ends the test binary with all stacks if the test hangs. In a bubble the
// runtime does that.
func watch(t testing.TB) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		fmt.Fprintln(os.Stderr, name, "hangs")
		panic(name + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}

// promises makes n of them.
func promises(n int) (fs []*futures.Future[int], resolve []func(int, error) bool) {
	for range n {
		f, r := futures.New[int]()
		fs, resolve = append(fs, f), append(resolve, r)
	}
	return fs, resolve
}

// cancelled makes a cancelled future.
func cancelled(cause error) *futures.Future[int] {
	f, _ := futures.New[int]()
	f.Cancel(cause)
	return f
}

// ended is a ctx that has ended, with errStop as the cause.
func ended() context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	end(errStop)
	return ctx
}

// isClosed reports whether a channel is closed.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
