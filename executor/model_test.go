package executor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

var (
	errModelA   = errors.New("model: a")
	errModelB   = errors.New("model: b")
	modelErrors = []error{errModelA, errModelB, fmt.Errorf("wrapped: %w", errModelA)}
)

// A machine is an executor, all that may happen to it in one goroutine, and what a plain
// model of it expects. Functions wait at gates for orders, so that between two actions
// nothing moves, and everything can be compared.
type machine struct {
	ex       *executor.Local
	bound    int // MaxPending
	observer *modelObserver

	// The model.
	slots    int
	most     int // slots there ever were
	runs     []*modelRun
	nodes    []*modelNode
	scopes   []*modelScope
	keys     map[string]*modelRun
	waiters  []*modelWaiter
	places   int
	before   int         // places before the last action
	fresh    []*modelRun // that have started since
	retried  int64
	refusing bool // Shutdown or Close has begun
	dropped  bool // Close has begun
	lending  bool // some slot was lent, or Resize called: starts may not be in order
	racing   bool // the cause of a cancellation may not be certain
	closers  []chan error

	mu  sync.Mutex
	log []modelEvent // what functions did and the model has not seen. Guarded by mu
}

// A modelEvent is the start of a function, or the end of its wait.
type modelEvent struct {
	run  *modelRun
	woke bool
	ctx  context.Context
	got  []int // values of the inputs
	err  error
}

// A modelWaiter waits for a future, outside of any task.
type modelWaiter struct {
	node *modelNode
	out  chan futures.Outcome[int]
	done bool
}

func newMachine(t *rapid.T) *machine {
	m := &machine{slots: rapid.IntRange(1, 3).Draw(t, "threads"), keys: map[string]*modelRun{}}
	m.most = m.slots
	cfg := executor.Config{Threads: m.slots}
	switch rapid.SampledFrom([]string{"plain", "bounded", "observed"}).Draw(t, "kind") {
	case "bounded":
		m.bound = rapid.IntRange(1, 5).Draw(t, "max pending")
		cfg.MaxPending = m.bound
		m.observer = newModelObserver(&cfg)
	case "observed":
		m.observer = newModelObserver(&cfg)
	}
	ex, err := executor.NewLocal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.ex = ex
	m.scopes = append(m.scopes, &modelScope{ctx: context.Background()})
	for range 2 {
		ctx, end := context.WithCancelCause(context.Background())
		m.scopes = append(m.scopes, &modelScope{ctx: ctx, end: end})
	}
	return m
}

// function is what all tasks run.
func (m *machine) function(ctx context.Context, r *modelRun, got []int, err error) (int, error) {
	m.note(modelEvent{run: r, ctx: ctx, got: got, err: err})
	for {
		var ended <-chan struct{}
		if !r.deaf {
			ended = ctx.Done()
		}
		var o order
		select {
		case o = <-r.gate:
		case <-ended:
			return 0, ctx.Err()
		}
		switch o.how {
		case "finish":
			return o.n, nil
		case "fail":
			return 0, errOf(o)
		case "panic":
			panic(errOf(o))
		case "goexit":
			runtime.Goexit()
		case "wait":
			v, err := o.wait.f.Result(ctx)
			m.note(modelEvent{run: r, woke: true, got: []int{v}, err: err})
		}
	}
}

func (m *machine) note(e modelEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, e)
}

// asTask runs a function that gets its run as the argument.
func (m *machine) asTask(ctx context.Context, r *modelRun) (int, error) {
	return m.function(ctx, r, nil, nil)
}

// asOther is asTask under another name.
func (m *machine) asOther(ctx context.Context, r *modelRun) (int, error) { return m.asTask(ctx, r) }

// A modelArg is an argument that holds futures.
type modelArg struct {
	Inputs []*futures.Future[int]
	run    *modelRun
}

func (m *machine) asSum(ctx context.Context, arg modelArg) (int, error) {
	got, err := futures.Gather(ctx, arg.Inputs...)
	return m.function(ctx, arg.run, got, err)
}

// Actions.

func (m *machine) Submit(t *rapid.T) {
	r := m.newRun(t)
	m.submit(t, r, nil, func(ctx context.Context, opts ...executor.Option) *futures.Future[int] {
		return executor.Submit(ctx, m.ex, m.asTask, r, opts...)
	})
}

func (m *machine) Go(t *rapid.T) {
	r := m.newRun(t)
	m.submit(t, r, nil, func(ctx context.Context, opts ...executor.Option) *futures.Future[int] {
		return executor.Go(ctx, m.ex, func(ctx context.Context) (int, error) { return m.asTask(ctx, r) }, opts...)
	})
}

func (m *machine) Then(t *rapid.T) {
	r, in := m.newRun(t), m.anyNode(t)
	m.submit(t, r, []*modelNode{in}, func(ctx context.Context, opts ...executor.Option) *futures.Future[int] {
		fn := func(ctx context.Context, got int) (int, error) { return m.function(ctx, r, []int{got}, nil) }
		return executor.Then(ctx, m.ex, fn, in.f, opts...)
	})
}

func (m *machine) SubmitWithInputs(t *rapid.T) {
	r := m.newRun(t)
	arg := modelArg{run: r}
	var ins []*modelNode
	for range rapid.IntRange(1, 3).Draw(t, "inputs") {
		in := m.anyNode(t)
		ins, arg.Inputs = append(ins, in), append(arg.Inputs, in.f)
	}
	m.submit(t, r, ins, func(ctx context.Context, opts ...executor.Option) *futures.Future[int] {
		return executor.Submit(ctx, m.ex, m.asSum, arg, opts...)
	})
}

func (m *machine) SubmitAll(t *rapid.T) {
	s := m.anyScope(t)
	n := rapid.IntRange(1, 5).Draw(t, "tasks")
	if m.bound > 0 && !s.task && m.pending()+n > m.bound {
		t.Skip("it would block")
	}
	args := make([]*modelRun, n)
	for i := range args {
		args[i] = m.newRun(t)
	}
	for i, f := range executor.SubmitAll(s.ctx, m.ex, m.asTask, args) {
		m.joined(s, args[i], f)
	}
}

func (m *machine) SubmitKeyed(t *rapid.T) {
	key := rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
	s := m.anyScope(t)
	old, r := m.keys[key], m.newRun(t)
	if other := rapid.IntRange(0, 4).Draw(t, "other") == 0; other && old != nil && !s.ended && !m.refusing {
		f := executor.Submit(s.ctx, m.ex, m.asOther, r, executor.WithKey(key))
		m.settleNode(m.newNode(s, &modelRun{}, f), futures.Failed, executor.ErrKeyConflict)
		return
	}
	full := m.full(s)
	f := executor.Submit(s.ctx, m.ex, m.asTask, r, append(m.options(t, r), executor.WithKey(key))...)
	switch {
	case s.ended || m.refusing || old == nil && full:
		m.admitted(m.newNode(s, &modelRun{}, f), full)
	case old == nil:
		r.key = key
		m.keys[key] = r
		m.joined(s, r, f)
	default: // it shares the run, and what has become of it
		n := m.newNode(s, old, f)
		n.shown = old.state == futures.Running
		old.nodes, s.nodes = append(old.nodes, n), append(s.nodes, n)
		if old.state == futures.Finished {
			n.value = old.nodes[0].value
			m.settleNode(n, old.state, nil)
		}
	}
}

func (m *machine) Cancel(t *rapid.T) {
	n := m.anyNode(t)
	was := n.state.Done()
	m.race()
	if n.f.Cancel(errModelB) == was {
		t.Fatalf("Cancel of a future that is %v: %v", n.state, !was)
	}
	m.cancelNode(n, errModelB)
	n.run.never = n.run.never || n.run.state == futures.Cancelled && !n.run.begun
}

func (m *machine) EndScope(t *rapid.T) {
	s := rapid.SampledFrom(m.scopes[1:]).Draw(t, "scope")
	m.race()
	s.end(errModelA)
	m.endScope(s, errModelA)
}

// race notes that a function that returns because its ctx has ended, and the news that
// it has, may be on their way together: what it submitted has the one cause or the other.
func (m *machine) race() {
	m.racing = m.racing || slices.ContainsFunc(m.runs, (*modelRun).holds)
}

// Order has a function that runs return, fail, panic or leave by Goexit.
func (m *machine) Order(t *rapid.T) {
	r := m.anyAtGate(t)
	o := order{
		how: rapid.SampledFrom([]string{"finish", "finish", "fail", "panic", "goexit"}).Draw(t, "how"),
		n:   rapid.IntRange(0, 99).Draw(t, "n"),
	}
	r.gate <- o
	m.returns(r, o)
}

// WaitInside has a function wait for a future, so that it lends its slot.
func (m *machine) WaitInside(t *rapid.T) {
	r, n := m.anyAtGate(t), m.anyNode(t)
	if r.state.Done() {
		t.Skip("its wait would be over at once")
	}
	if n.run == r {
		t.Skip("it would wait for itself")
	}
	m.lending = true
	r.waits, r.keeps = n, n.state.Done()
	r.gate <- order{how: "wait", wait: n}
}

func (m *machine) WaitOutside(t *rapid.T) {
	w := &modelWaiter{node: m.anyNode(t), out: make(chan futures.Outcome[int], 1)}
	m.waiters = append(m.waiters, w)
	go func() { // ends with the future, which is done after Close at the latest
		v, err := w.node.f.Result(context.Background())
		w.out <- futures.Outcome[int]{Value: v, Err: err}
	}()
}

func (m *machine) Release(t *rapid.T) {
	n := m.anyNode(t)
	if n.run.key != "" && !n.state.Done() {
		t.Skip("what becomes of its run then is not in the model")
	}
	if n.released {
		return
	}
	n.f.Release()
	n.released = true
	if n.run.key != "" && n.state == futures.Finished && m.keys[n.run.key] == n.run && n.run.unwanted() {
		delete(m.keys, n.run.key)
	}
}

// unwanted reports whether all futures of the run were cancelled or released.
func (r *modelRun) unwanted() bool {
	return !slices.ContainsFunc(r.nodes, func(n *modelNode) bool { return !n.released && n.state != futures.Cancelled })
}

func (m *machine) Resize(t *rapid.T) {
	m.lending = true
	m.slots = rapid.IntRange(1, 3).Draw(t, "threads")
	m.most = max(m.most, m.slots)
	m.ex.Resize(m.slots)
}

func (m *machine) Shutdown(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "sure") > 0 || m.refusing {
		t.Skip("not so often")
	}
	m.close(func() error { return m.ex.Shutdown(context.Background()) })
	m.awaitRefusal()
}

func (m *machine) Close(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "sure") > 0 || m.dropped {
		t.Skip("not so often")
	}
	m.close(m.ex.Close)
	m.awaitRefusal()
	m.drop()
}

// close has the executor closed by a goroutine, which functions may hold up.
func (m *machine) close(how func() error) {
	out := make(chan error, 1)
	m.closers = append(m.closers, out)
	go func() { out <- how() }() // ends when the last function has returned
}

// awaitRefusal waits until the call that was made elsewhere has begun. What it submits
// meanwhile fails in any case: being closed comes first, the wrong option second.
func (m *machine) awaitRefusal() {
	for !m.refusing {
		f := executor.Submit(context.Background(), m.ex, m.asTask, &modelRun{}, executor.WithRetries(-1))
		m.settleNode(m.newNode(m.scopes[0], &modelRun{}, f), futures.Failed, f.Err())
		m.refusing = errors.Is(f.Err(), executor.ErrClosed)
	}
}

// drop is Close's part in the model.
func (m *machine) drop() {
	m.dropped = true
	for _, r := range m.runs {
		m.settleRun(r, futures.Cancelled, executor.ErrClosed)
	}
}
