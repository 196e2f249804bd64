package executor_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// A modelObserver checks that what an Observer is told of each task is a life: submitted,
// started and so on, finished.
type modelObserver struct {
	mu    sync.Mutex
	lives map[string]*modelLife // by ID. Guarded by mu
	wrong string                // the first thing that was. Guarded by mu
}

type modelLife struct {
	submitted, finished bool
	attempts            int
	key                 string
	state               futures.State
}

func newModelObserver(cfg *executor.Config) *modelObserver {
	o := &modelObserver{lives: map[string]*modelLife{}}
	cfg.Observer = &executor.Observer{
		Submitted: o.told(func(l *modelLife, e executor.Event) bool {
			was := l.submitted
			l.submitted = true
			return !was && l.attempts == 0
		}),
		Started: o.told(func(l *modelLife, e executor.Event) bool {
			l.attempts++
			return (l.submitted || e.Key != "") && !l.finished && e.Attempt == l.attempts
		}),
		Finished: o.told(func(l *modelLife, e executor.Event) bool {
			was := l.finished
			l.finished, l.state = true, e.State
			return !was && e.State.Done() && (e.Err == nil) == (e.State == futures.Finished)
		}),
	}
	return o
}

func (o *modelObserver) told(step func(*modelLife, executor.Event) bool) func(executor.Event) {
	return func(e executor.Event) {
		o.mu.Lock()
		defer o.mu.Unlock()
		l := o.lives[e.ID]
		if l == nil {
			l = &modelLife{key: e.Key}
			o.lives[e.ID] = l
		}
		if !step(l, e) && o.wrong == "" {
			o.wrong = fmt.Sprintf("the observer was told %+v of %+v", e, *l)
		}
	}
}

// compare says what is not, or not yet, as the model has it.
func (o *modelObserver) compare(m *machine) string {
	if o == nil {
		return ""
	}
	done := map[futures.State]int{}
	for _, r := range m.runs {
		if r.state.Done() {
			done[r.state]++
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrong != "" {
		return o.wrong
	}
	seen := map[futures.State]int{}
	for _, id := range slices.Sorted(maps.Keys(o.lives)) {
		if l := o.lives[id]; l.finished {
			seen[l.state]++
		}
	}
	for s, n := range done {
		if seen[s] < n { // more, by those that were refused
			return fmt.Sprintf("the observer was told of %d that are %v, not %d", seen[s], s, n)
		}
	}
	return ""
}
