package main

import (
	"context"
	"slices"
	"sync"

	"github.com/alitto/pond/v2"
	"github.com/destel/rill"
	"github.com/gammazero/workerpool"
	"github.com/panjf2000/ants/v2"
	"github.com/samber/lo/parallel"
	conciter "github.com/sourcegraph/conc/iter"
	concpool "github.com/sourcegraph/conc/pool"
	"golang.org/x/sync/errgroup"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

type fn = func(context.Context, int) (int, error)

// A machinery is what systems keep between rounds.
type machinery struct {
	in    []int
	fs    []*futures.Future[int]
	chs   []chan int
	local *executor.Local
	ants  *ants.Pool
	pond  pond.Pool
	ponds pond.ResultPool[int]
	wp    *workerpool.WorkerPool
}

func newMachinery(n int) *machinery {
	local, err := executor.NewLocal(executor.Config{Threads: threads})
	if err != nil {
		panic(err)
	}
	pool, err := ants.NewPool(threads)
	if err != nil {
		panic(err)
	}
	return &machinery{
		in: inputs(n), fs: make([]*futures.Future[int], n), chs: make([]chan int, n), local: local, ants: pool,
		pond: pond.NewPool(threads), ponds: pond.NewResultPool[int](threads), wp: workerpool.New(threads),
	}
}

func (m *machinery) nearfarSubmit(f fn) func() { return m.submit(background, f) }

func (m *machinery) submit(ctx context.Context, f fn) func() {
	return func() {
		clear(m.fs)
		for i, x := range m.in {
			m.fs[i] = executor.Submit(ctx, m.local, f, x)
		}
		for i := range m.fs {
			if v, err := m.fs[i].Result(ctx); err != nil || v != i*i {
				panic("wrong")
			}
		}
	}
}

func (m *machinery) nearfarSubmitAll(f fn) func() {
	return func() {
		out, err := futures.Gather(background, executor.SubmitAll(background, m.local, f, m.in)...)
		if err != nil {
			panic(err)
		}
		check(out, len(m.in))
	}
}

func (m *machinery) nearfarMap(f fn) func() {
	return func() {
		out, err := executor.Map(background, m.local, f, m.in).Results(background)
		if err != nil || len(out) != len(m.in) {
			panic("wrong")
		}
	}
}

func (m *machinery) nearfarMapSeq(f fn) func() {
	return func() {
		i := 0
		for v, err := range executor.MapSeq(background, m.local, f, slices.Values(m.in), executor.WithInFlight(64)) {
			if err != nil || v != i*i {
				panic("wrong")
			}
			i++
		}
	}
}

func (m *machinery) loop(f fn) func() {
	return func() {
		out := make([]int, len(m.in))
		for i, x := range m.in {
			out[i], _ = f(background, x)
		}
	}
}

// handChunks is what somebody writes who knows that items are alike: as many chunks as
// there are threads, and a function value, as a library would call.
func (m *machinery) handChunks(f fn) func() {
	return func() {
		out := make([]int, len(m.in))
		errs := make([]error, threads)
		var wg sync.WaitGroup
		for t := range threads {
			lo, hi := t*len(m.in)/threads, (t+1)*len(m.in)/threads
			wg.Go(func() {
				for i := lo; i < hi; i++ {
					v, err := f(background, m.in[i])
					if err != nil {
						errs[t] = err
						return
					}
					out[i] = v
				}
			})
		}
		wg.Wait()
		if len(out) != len(m.in) {
			panic("wrong")
		}
	}
}

func (m *machinery) goroutineChannel(f fn) func() {
	return func() {
		for i, x := range m.in {
			ch := make(chan int, 1)
			m.chs[i] = ch
			go func() {
				v, _ := f(background, x)
				ch <- v
			}()
		}
		for i, ch := range m.chs {
			if <-ch != i*i {
				panic("wrong")
			}
		}
		clear(m.chs)
	}
}

func (m *machinery) errgroupSlice(limit int) func(f fn) func() {
	return func(f fn) func() {
		return func() {
			out := make([]int, len(m.in))
			var g errgroup.Group
			g.SetLimit(limit)
			for i, x := range m.in {
				g.Go(func() (err error) {
					out[i], err = f(background, x)
					return err
				})
			}
			if g.Wait() != nil {
				panic("wrong")
			}
			check(out, len(m.in))
		}
	}
}

// concResultPool gives its results in no order, in the version that is released.
func (m *machinery) concResultPool(f fn) func() {
	return func() {
		p := concpool.NewWithResults[int]().WithMaxGoroutines(threads)
		for _, x := range m.in {
			p.Go(func() int {
				v, _ := f(background, x)
				return v
			})
		}
		if len(p.Wait()) != len(m.in) {
			panic("wrong")
		}
	}
}

func (m *machinery) concMap(f fn) func() {
	return func() {
		out := conciter.Map(m.in, func(x *int) int {
			v, _ := f(background, *x)
			return v
		})
		if len(out) != len(m.in) {
			panic("wrong")
		}
	}
}

func (m *machinery) antsChannel(f fn) func() {
	return func() {
		for i, x := range m.in {
			ch := make(chan int, 1)
			m.chs[i] = ch
			if m.ants.Submit(func() {
				v, _ := f(background, x)
				ch <- v
			}) != nil {
				panic("wrong")
			}
		}
		for i, ch := range m.chs {
			if <-ch != i*i {
				panic("wrong")
			}
		}
		clear(m.chs)
	}
}

func (m *machinery) pondGo(f fn) func() {
	return func() {
		out := make([]int, len(m.in))
		var wg sync.WaitGroup
		wg.Add(len(m.in))
		for i, x := range m.in {
			if m.pond.Go(func() {
				out[i], _ = f(background, x)
				wg.Done()
			}) != nil {
				panic("wrong")
			}
		}
		wg.Wait()
		check(out, len(m.in))
	}
}

func (m *machinery) pondGroup(f fn) func() {
	return func() {
		g := m.ponds.NewGroup()
		for _, x := range m.in {
			g.Submit(func() int {
				v, _ := f(background, x)
				return v
			})
		}
		out, err := g.Wait()
		if err != nil {
			panic(err)
		}
		check(out, len(m.in))
	}
}

func (m *machinery) workerpool(f fn) func() {
	return func() {
		out := make([]int, len(m.in))
		var wg sync.WaitGroup
		wg.Add(len(m.in))
		for i, x := range m.in {
			m.wp.Submit(func() {
				out[i], _ = f(background, x)
				wg.Done()
			})
		}
		wg.Wait()
		check(out, len(m.in))
	}
}

func (m *machinery) lopMap(f fn) func() {
	return func() {
		out := parallel.Map(m.in, func(x, _ int) int {
			v, _ := f(background, x)
			return v
		})
		check(out, len(m.in))
	}
}

func (m *machinery) rillMap(f fn) func() {
	return func() {
		out, err := rill.ToSlice(rill.OrderedMap(rill.FromSlice(m.in, nil), threads, func(x int) (int, error) {
			return f(background, x)
		}))
		if err != nil {
			panic(err)
		}
		check(out, len(m.in))
	}
}

// systems are all that give every item its result. Those that take a goroutine an item
// get as many items as memory allows.
func (m *machinery) systems(f fn) []System {
	return []System{
		{"nearfar Submit", m.nearfarSubmit(f)},
		{"nearfar SubmitAll + Gather", m.nearfarSubmitAll(f)},
		{"nearfar Map", m.nearfarMap(f)},
		{"nearfar MapSeq, 64 in flight", m.nearfarMapSeq(f)},
		{"plain loop", m.loop(f)},
		{"hand-made chunks", m.handChunks(f)},
		{"goroutine + channel", m.goroutineChannel(f)},
		{"errgroup, a slice", m.errgroupSlice(-1)(f)},
		{"errgroup, a slice, limited", m.errgroupSlice(threads)(f)},
		{"conc ResultPool", m.concResultPool(f)},
		{"conc iter.Map", m.concMap(f)},
		{"ants + channel", m.antsChannel(f)},
		{"pond Pool.Go, a slice", m.pondGo(f)},
		{"pond ResultPool group", m.pondGroup(f)},
		{"gammazero workerpool, a slice", m.workerpool(f)},
		{"lo parallel.Map", m.lopMap(f)},
		{"rill OrderedMap", m.rillMap(f)},
	}
}
