package pool_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/pool"
)

// A storm is a pool on which everything happens at once.
type storm struct {
	t             *testing.T
	p             *pool.Pool
	tasks         sync.Map // *drop: every one that was accepted
	running, most atomic.Int64
	seed          uint64
	n             atomic.Uint64
}

// A drop is a task of a storm: what it does is drawn from its number.
type drop struct {
	s             *storm
	r             *rand.Rand
	depth         int
	begun, broken atomic.Bool
	runs, dropped atomic.Int32
	mu            sync.Mutex
	over          bool
	wake          func()
}

// push pushes a task. It is nil if the pool is closed.
func (s *storm) push(depth, prio int) *drop {
	d := &drop{s: s, depth: depth, r: rand.New(rand.NewPCG(s.seed, s.n.Add(1)))}
	s.tasks.Store(d, nil) // before it can be seen
	if !s.p.Push(d, prio, 1) {
		s.tasks.Delete(d)
		return nil
	}
	return d
}

func (d *drop) Dead() bool { return d.begun.Load() }

func (d *drop) Run(r *pool.Runner) {
	if !d.begun.CompareAndSwap(false, true) {
		return
	}
	d.runs.Add(1)
	d.enter()
	switch d.r.IntN(12) {
	case 0:
		panic("broken")
	case 1:
		runtime.Goexit()
	case 2: // wait for nobody in particular
		d.leave()
		r.Lend(nil)
		w := make(waker, 1)
		go r.Resume(w)
		<-w
		d.enter()
	case 3: // return with the slot lent
		d.leave()
		r.Lend(nil)
		d.enter()
		r.Settle()
	case 4: // return with the slot lent and asked for
		d.leave()
		r.Lend(nil)
		w := make(waker, 1)
		r.Resume(w)
		r.Settle()
		<-w
		d.enter()
	case 5, 6, 7: // wait for a child
		if d.depth > 0 {
			if child := d.s.push(d.depth-1, d.r.IntN(5)/4); child != nil {
				d.await(r, child)
			}
		}
	case 8:
		for range 3 {
			if d.depth > 0 {
				d.s.push(d.depth-1, 0)
			}
		}
	case 9:
		runtime.Gosched()
	}
	d.end()
}

// enter and leave count what has a slot, or may have.
func (d *drop) enter() { raise(&d.s.most, d.s.running.Add(1)) }
func (d *drop) leave() { d.s.running.Add(-1) }

func (d *drop) await(r *pool.Runner, child *drop) {
	d.leave()
	r.Lend(child)
	w := make(waker, 1)
	ask := func() { r.Resume(w) }
	child.mu.Lock()
	child.wake = ask
	over := child.over
	child.mu.Unlock()
	if over {
		ask()
	}
	<-w
	d.enter()
	r.Settle()
}

// end is the end of its function.
func (d *drop) end() {
	d.leave()
	d.mu.Lock()
	d.over = true
	wake := d.wake
	d.mu.Unlock()
	if wake != nil {
		wake()
	}
}

func (d *drop) Broke(_ *pool.Runner, v any, stack []byte) {
	if d.broken.Swap(true) || (v == nil) != (stack == nil) {
		panic("broken twice")
	}
	d.end()
}

// Everything at once, and Close in the middle of it: what was pushed has run once, or
// was given back; and nothing is left.
func TestStorm(t *testing.T) {
	watch(t)
	for round := range 60 {
		s := &storm{t: t, seed: rand.Uint64()}
		cfg := pool.Config{Slots: 1 + round%4}
		h := &goHost{}
		if round%3 > 0 {
			cfg.Host = h
		}
		s.p = pool.New(cfg)
		var wg sync.WaitGroup
		var pushed atomic.Int64
		for range 2 {
			wg.Go(func() {
				for s.push(6, 0) != nil {
					if pushed.Add(1)%64 == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		wg.Go(func() {
			for i := 0; s.push(2, i%3-1) != nil; i++ {
				s.p.Resize(1 + (i+round)%4)
				s.p.Bury(i % 3)
				s.p.Idle()
				s.p.Running()
			}
		})
		for pushed.Load() < int64(50+20*round) {
			runtime.Gosched()
		}
		for _, task := range s.p.Close() {
			d := task.(*drop)
			if !d.begun.CompareAndSwap(false, true) { // a Lend has passed its place over
				continue
			}
			d.dropped.Add(1)
			d.enter()
			d.end() // whoever waits for it is told
		}
		wg.Wait()
		require.NoError(t, s.p.Wait(context.Background()))
		if cfg.Host != nil {
			h.wg.Wait()
			assert.True(t, h.closed.Load())
		}
		s.tasks.Range(func(k, _ any) bool {
			d := k.(*drop)
			require.EqualValues(t, 1, d.runs.Load()+d.dropped.Load(), "seed %d: ran %d times, given back %d times", s.seed, d.runs.Load(), d.dropped.Load())
			require.True(t, d.over)
			return true
		})
		require.Zero(t, s.running.Load())
		require.Zero(t, s.p.Lending())
		require.Empty(t, s.p.Queued())
	}
}

// Without Close, everything runs; and however many lend, as many as there are slots do.
func TestStormRunsDry(t *testing.T) {
	watch(t)
	for round := range 40 {
		slots := 1 + round%4
		h := &goHost{}
		s := &storm{t: t, seed: rand.Uint64(), p: pool.New(pool.Config{Slots: slots, Host: h})}
		idle := make(chan struct{}, 1)
		for range 200 {
			require.NotNil(t, s.push(5, round%2))
		}
		s.p.OnIdle(func() {
			select {
			case idle <- struct{}{}:
			default:
			}
		})
		<-idle
		require.True(t, s.p.Idle())
		s.tasks.Range(func(k, _ any) bool {
			require.EqualValues(t, 1, k.(*drop).runs.Load())
			return true
		})
		n := int64(0)
		s.tasks.Range(func(any, any) bool { n++; return true })
		require.Equal(t, n, s.p.Fresh())
		require.Empty(t, s.p.Close())
		require.NoError(t, s.p.Wait(context.Background()))
		h.wg.Wait()
	}
}
