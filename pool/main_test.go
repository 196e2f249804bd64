package pool_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/pool"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the pool that ants makes when it is imported.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
	)
}

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

// A goHost starts plain goroutines and counts them: ants keeps a ticker running, and
// with it the clock of a bubble.
type goHost struct {
	wg         sync.WaitGroup
	live, most atomic.Int64
	closed     atomic.Bool
}

func (h *goHost) Go(f func()) {
	raise(&h.most, h.live.Add(1))
	h.wg.Go(func() {
		defer h.live.Add(-1)
		f()
	})
}

func (h *goHost) Close() { h.closed.Store(true) }

// raise makes most at least n.
func raise(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
}

// A stage is a pool in a bubble, the actors on it, and what has happened.
type stage struct {
	t *testing.T
	*pool.Pool
	host *goHost

	mu     sync.Mutex
	script []string // who began and who resumed, in order
	actors []*actor
	loops  []*loop
}

// bubble plays f on a stage with that many slots. At the end all that still runs is
// let go, and nothing may be left.
func bubble(t *testing.T, slots int, f func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, host: &goHost{}}
		s.Pool = pool.New(pool.Config{Slots: slots, Host: s.host})
		defer s.over()
		f(t, s)
	})
}

// over closes the pool and lets go of everything.
func (s *stage) over() {
	s.t.Helper()
	s.Close()
	s.mu.Lock()
	for _, a := range s.actors {
		close(a.do)
	}
	s.mu.Unlock()
	for _, l := range s.loops {
		l.span.Stop()
		for _, ch := range l.do {
			close(ch)
		}
	}
	require.NoError(s.t, s.Wait(context.Background()))
	s.host.wg.Wait()
	assert.True(s.t, s.host.closed.Load())
	s.actors = nil
}

// An actor is a task that does what it is told, one thing after the other.
type actor struct {
	s      *stage
	name   string
	prio   int
	do     chan func(r *pool.Runner)
	begun  atomic.Bool
	dead   atomic.Bool
	lender bool   // it has lent its slot before
	ends   int    // by Run's return or Broke
	broke  string // how it broke
}

func (s *stage) actor(name string) *actor {
	a := &actor{s: s, name: name, do: make(chan func(*pool.Runner))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors = append(s.actors, a)
	return a
}

// push pushes actors of one priority.
func (s *stage) push(prio int, names ...string) (as []*actor) {
	s.t.Helper()
	for _, name := range names {
		a := s.actor(name)
		a.prio = prio
		require.True(s.t, s.Push(a, prio, 1))
		synctest.Wait()
		as = append(as, a)
	}
	return as
}

// running are the names of those that have begun and not ended, in the order in which
// they were made.
func (s *stage) running() (ns []string) {
	for _, a := range s.actors {
		if a.begun.Load() && a.ends == 0 {
			ns = append(ns, a.name)
		}
	}
	return ns
}

// find is the actor of that name that was made last.
func (s *stage) find(name string) (found *actor) {
	for _, a := range s.actors {
		if a.name == name {
			found = a
		}
	}
	return found
}

// say writes down what happens.
func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, fmt.Sprintf(format, args...))
}

// said is what has happened since it was asked last.
func (s *stage) said() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.script
	s.script = nil
	return said
}

func (a *actor) Run(r *pool.Runner) {
	if !a.begun.CompareAndSwap(false, true) {
		return // a Lend has named it before
	}
	a.s.say("%s", a.name)
	for f := range a.do {
		if f == nil {
			break
		}
		f(r)
	}
	a.ends++
}

func (a *actor) Broke(_ *pool.Runner, v any, stack []byte) {
	a.ends++
	switch {
	case v == nil && stack == nil:
		a.broke = "goexit"
	case len(stack) > 0:
		a.broke = fmt.Sprint(v)
	}
}

func (a *actor) Dead() bool { return a.begun.Load() || a.dead.Load() }

// tell has it do something, and returns when all is quiet.
func (a *actor) tell(f func(r *pool.Runner)) {
	a.do <- f
	synctest.Wait()
}

func (a *actor) end()             { a.tell(nil) }
func (a *actor) panic()           { a.tell(func(*pool.Runner) { panic(a.name + " panics") }) }
func (a *actor) goexit()          { a.tell(func(*pool.Runner) { runtime.Goexit() }) }
func (a *actor) lend(t pool.Task) { a.tell(func(r *pool.Runner) { r.Lend(t) }) }

// resume has it ask for its slot, and say when it has it.
func (a *actor) resume() {
	a.tell(func(r *pool.Runner) {
		w := make(waker, 1)
		r.Resume(w)
		<-w
		a.s.say("%s resumes", a.name)
	})
}

// leave has it return with its slot lent: another goroutine of it waits.
func (a *actor) leave() {
	a.tell(func(r *pool.Runner) { r.Settle() })
	a.end()
}

// A waker is a goroutine that waits for its slot.
type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }

// A job is a task that runs once.
type job struct {
	run   func(r *pool.Runner)
	broke func(v any)
	begun atomic.Bool
}

func (j *job) Run(r *pool.Runner) {
	if j.begun.CompareAndSwap(false, true) {
		j.run(r)
	}
}

func (j *job) Broke(_ *pool.Runner, v any, _ []byte) { j.broke(v) }
func (j *job) Dead() bool                            { return j.begun.Load() }

// breakSome breaks every seventh item, one way or the other.
func breakSome(_ *pool.Runner, i int) {
	switch i % 14 {
	case 0:
		panic(i)
	case 7:
		runtime.Goexit()
	}
}

// noDeadline is a test in a bubble, for rapid: there it may not be asked for its deadline.
type noDeadline struct{ rapid.TB }

// names are those of actors among tasks.
func names(tasks []pool.Task) (ns []string) {
	for _, t := range tasks {
		if a, ok := t.(*actor); ok {
			ns = append(ns, a.name)
		} else {
			ns = append(ns, fmt.Sprintf("%T", t))
		}
	}
	return ns
}
