package remote

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// load is how many calls a worker has that need a slot.
func (w *worker) load() int { return len(w.out) - w.waiting + w.plain }

// room is how many more calls a worker is to have. Each slot has one that waits, so that
// it never waits for a round trip, and more when they are short.
func (w *worker) room() int {
	if w.shut() {
		return 0
	}
	return w.threads*(1+w.ex.ahead) - w.load()
}

// aheadFor is how many calls wait at a slot: as many as last about a millisecond.
func aheadFor(took float64) int {
	if took <= 0 {
		return 1
	}
	return int(min(max(1, float64(time.Millisecond)/took), maxAhead))
}

const maxAhead = 2048

// roomLeft is how many calls the workers would take.
func (ex *Executor) roomLeft() (n int) {
	for _, w := range ex.workers {
		n += max(0, w.room())
	}
	return n
}

// place chooses a worker for e, or none for now: the one that has most of its inputs,
// else the least loaded. mu is held.
func (ex *Executor) place(e *entry) *worker {
	if !ex.here(e) {
		return nil // it is being made again, and whoever does that pumps
	}
	if e.suspect {
		return ex.cell(e)
	}
	room := func(w *worker) bool { return w.room() > 0 && (!e.req.Once || w.load() < w.threads) } // else it might not have started
	var best *worker
	var most int64
	for _, s := range e.inputs {
		for _, w := range s.holders {
			if s.size > most && ex.suits(w, e) && room(w) && w.load() < 2*w.threads {
				best, most = w, s.size
			}
		}
	}
	if len(e.inputs) > 1 {
		bytes := map[*worker]int64{}
		for _, s := range e.inputs {
			for _, w := range s.holders {
				if bytes[w] += s.size; bytes[w] > most && ex.suits(w, e) && room(w) {
					best, most = w, bytes[w]
				}
			}
		}
	}
	if best != nil {
		return best
	}
	least := math.Inf(1)
	for _, w := range ex.workers {
		if !ex.suits(w, e) {
			continue
		}
		free := room(w)
		if e.first && !w.shut() && w.load() < w.threads {
			free = true
		}
		if load := float64(w.load()) / float64(w.threads); free && load < least {
			best, least = w, load
		}
	}
	return best
}

// suits reports whether w may run e.
func (ex *Executor) suits(w *worker, e *entry) bool {
	if w.functions[e.req.Function] != ex.functions[e.req.Function] {
		return false
	}
	return len(e.req.Workers) == 0 || slices.Contains(e.req.Workers, w.name)
}

// balance asks the worker that has most waiting for half of that, when another has
// nothing. mu is held.
func (ex *Executor) balance() {
	for _, idle := range ex.workers {
		if idle.load() >= idle.threads || idle.shut() {
			continue
		}
		var from *worker
		most := 0
		for _, w := range ex.workers {
			if extra := w.load() - w.threads; w != idle && !w.taking && extra > most {
				from, most = w, extra
			}
		}
		if from == nil {
			return
		}
		ex.take(from, idle, (most+1)/2)
	}
}

// take asks a worker for n calls back that another is to have. mu is held.
func (ex *Executor) take(from, idle *worker, n int) {
	var ids []byte
	ex.promoteLast(from, n)
	list := slices.SortedFunc(maps.Values(from.out), func(a, b *entry) int { return int(b.id - a.id) })
	for _, e := range list { // the last that were sent, first
		if n == 0 {
			break
		}
		if e.begun || e.taking || !ex.suits(idle, e) {
			continue
		}
		e.taking = true
		ids = appendCall(ids, e)
		n--
	}
	if ids != nil {
		from.taking = true
		from.wire.Send(frameTake, ids, nil)
	}
}

// misfit says why no worker can run e, or nil. mu is held.
func (ex *Executor) misfit(e *entry) error {
	if len(ex.workers) == 0 {
		return nil
	}
	name := e.req.Function
	var lacking []string
	for _, w := range ex.workers {
		switch theirs, ok := w.functions[name]; {
		case !ok:
			lacking = append(lacking, w.name+" has no such function (it was built from other sources)")
		case theirs != ex.functions[name]:
			lacking = append(lacking, w.name+" has one with other argument or result types (fingerprint "+theirs+", here "+ex.functions[name]+")")
		default:
			if len(e.req.Workers) > 0 && !ex.known(e.req.Workers) {
				return fmt.Errorf("%w: WithWorkers(%s): there is none of that name; there are %s", executor.ErrConfig, strings.Join(e.req.Workers, ", "), strings.Join(ex.names(), ", "))
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %s: %s", executor.ErrNotRegistered, name, strings.Join(lacking, "; "))
}

// known reports whether some worker has one of the names, or had.
func (ex *Executor) known(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return ex.met[n] })
}

func (ex *Executor) names() (list []string) {
	for _, w := range ex.workers {
		list = append(list, w.name)
	}
	return list
}
