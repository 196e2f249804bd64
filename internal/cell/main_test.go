package cell_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/internal/cell"
)

// errCancelled is what package futures would make of a cause.
type errCancelled struct{ cause error }

func (e *errCancelled) Error() string { return fmt.Sprintf("cancelled: %v", e.cause) }
func (e *errCancelled) Unwrap() error { return e.cause }

func TestMain(m *testing.M) {
	cell.CancelError = func(cause error) error { return &errCancelled{cause} }
	goleak.VerifyTestMain(m)
}

var errStop = errors.New("stop")

// watch ends the test binary with all stacks if the test hangs.
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

// An owner is a task that writes down what it is told.
type owner struct {
	mu        sync.Mutex
	settling  []string // "from>to"
	cancelled []string // "from:cause"
	released  int
	ended     func(cause error, w *cell.Wave) // the end of the function's ctx, if it has one
}

func (o *owner) Run(any)     {}
func (o *owner) Key() string { return "" }
func (o *owner) Why() string { return "" }

func (o *owner) Settling(from, to cell.State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settling = append(o.settling, fmt.Sprintf("%d>%d", from, to))
}

func (o *owner) Cancelled(from cell.State, cause error, w *cell.Wave) {
	o.mu.Lock()
	o.cancelled = append(o.cancelled, fmt.Sprintf("%d:%v", from, cause))
	o.mu.Unlock()
	if o.ended != nil {
		o.ended(cause, w)
	}
}

func (o *owner) Released() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.released++
}

func (o *owner) told() (settling, cancelled []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settling, o.cancelled
}

// A probe is a hook that counts how often it was fired.
type probe struct {
	cell.Hook
	mu    sync.Mutex
	fires int
	seen  cell.State // of its core, when it was fired
}

func newProbe() *probe {
	p := &probe{}
	p.Do = p
	return p
}

func (p *probe) Fire(h *cell.Hook, _ *cell.Wave) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fires++
	if h != nil {
		p.seen = h.Core().State()
	}
}

func (p *probe) fired() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fires
}

// wave runs what f leaves to be done.
func wave(f func(w *cell.Wave)) {
	var w cell.Wave
	f(&w)
	w.Run()
}

// finish finishes c as its only writer would.
func finish(c *cell.Core) bool {
	won, fire := c.Finish()
	if fire {
		c.Fire()
	}
	return won
}

// promise finishes c as who made a promise does.
func promise(c *cell.Core) bool {
	if !c.Claim() {
		return false
	}
	if c.FinishClaimed() {
		c.Fire()
	}
	return true
}

func cancel(c *cell.Core, cause error) (ok bool) {
	wave(func(w *cell.Wave) { ok = c.Cancel(cell.CancelError(cause), cause, w) })
	return ok
}

func fail(c *cell.Core, err error) (ok bool) {
	wave(func(w *cell.Wave) { ok = c.Fail(err, w) })
	return ok
}

// under makes the scope of a ctx from outside.
func under(ctx context.Context) *cell.Scope {
	s := new(cell.Scope)
	s.Init(ctx, nil)
	return s
}

// staying makes a scope that leaves something with its ctx.
func staying(ctx context.Context) *cell.Scope {
	s := under(ctx)
	s.Stay()
	return s
}
