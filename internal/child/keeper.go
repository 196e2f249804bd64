package child

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Events say what a Keeper is to start, and hear what it did. Those of one slot come one after
// another; of several, together. Each may be nil. They must not call Close.
type Events struct {
	// Config says what to start next in a slot. Slots are numbered from 0, incarnations from 1.
	Config func(slot, incarnation int) Config
	// Up is called when a process is ready.
	Up func(slot, incarnation int, p *Process)
	// Down is called once after each Up, when the process has ended: exit is an *ExitError then.
	// It is called without Up when a start has failed, unless it was a slot's first, whose error
	// Keep returns, or one that Close broke off.
	Down func(slot, incarnation int, exit error)
}

// A process that has ended is started again at once; the next time after firstDelay, then after
// twice as long each time, up to lastDelay; and at once again after a life of settled.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
	settled    = 10 * time.Second

	// farewell is how long a process that was never used may take to end by itself.
	farewell = time.Second
)

// A Keeper keeps processes running, one a slot.
type Keeper struct {
	events Events
	start  func(context.Context, Config) (*Process, error)
	open   context.Context // until Close
	close  context.CancelFunc
	slots  sync.WaitGroup

	mu     sync.Mutex // guards closed and live
	closed bool
	live   []incarnation // a slot
}

// An incarnation is one of the processes that a slot has, one after another.
type incarnation struct {
	number  int
	process *Process // nil between two
}

// Keep starts n processes, together, and returns when all are ready. If the first start in a slot
// fails, or ctx ends, it stops the others and returns that error. Once Keep has returned, ctx is of
// no concern.
func Keep(ctx context.Context, n int, events Events) (*Keeper, error) {
	return keep(ctx, n, events, Start)
}

func keep(ctx context.Context, n int, events Events, start func(context.Context, Config) (*Process, error)) (*Keeper, error) {
	if n < 0 {
		return nil, fmt.Errorf("child: Keep of %d processes", n)
	}
	k := &Keeper{events: events.filled(), start: start, live: make([]incarnation, n)}
	k.open, k.close = context.WithCancel(context.Background())
	opening, stop := context.WithCancel(ctx)
	defer stop()
	first := make(chan error, n)
	for slot := range n {
		k.slots.Go(func() { k.run(opening, slot, first) }) // ends with Close, or a first error
	}
	var failed error
	for range n {
		if err := <-first; err != nil && failed == nil {
			failed = err
			stop()
		}
	}
	if failed != nil {
		k.Close(farewell)
		return nil, failed
	}
	return k, nil
}

// filled is e with functions that do nothing for those that are nil.
func (e Events) filled() Events {
	if e.Config == nil {
		e.Config = func(int, int) Config { return Config{} }
	}
	if e.Up == nil {
		e.Up = func(int, int, *Process) {}
	}
	if e.Down == nil {
		e.Down = func(int, int, error) {}
	}
	return e
}

// run is one slot's life.
func (k *Keeper) run(opening context.Context, slot int, first chan<- error) {
	var pause backoff
	for number := 1; ; number++ {
		ctx := k.open
		if number == 1 {
			ctx = opening
		}
		p, err := k.start(ctx, k.events.Config(slot, number))
		var life time.Duration
		switch {
		case err == nil && !k.enter(slot, number, p):
			p.Stop(farewell)
			return
		case err == nil:
			born := time.Now()
			k.events.Up(slot, number, p)
			if number == 1 {
				first <- nil
			}
			<-p.Done()
			life = time.Since(born)
			k.leave(slot)
			k.events.Down(slot, number, p.Exit())
		case number == 1:
			first <- err
			return
		case k.open.Err() != nil:
			return
		default:
			k.events.Down(slot, number, err)
		}
		if !k.sleep(pause.after(life)) {
			return
		}
	}
}

// enter makes a process the one that Kill and Close know, unless the keeper has been closed.
func (k *Keeper) enter(slot, number int, p *Process) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.live[slot] = incarnation{number, p}
	return true
}

func (k *Keeper) leave(slot int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live[slot] = incarnation{}
}

// sleep waits, and reports whether the keeper is still open.
func (k *Keeper) sleep(d time.Duration) bool {
	if d == 0 {
		return k.open.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.open.Done():
		return false
	}
}

// Kill sends SIGKILL to a slot's process, if that is still the given incarnation, and ready.
// It does not wait; another is started.
func (k *Keeper) Kill(slot, number int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slot >= 0 && slot < len(k.live) && k.live[slot].process != nil && k.live[slot].number == number {
		k.live[slot].process.Kill()
	}
}

// Close starts no more processes, stops those there are, all at the same time, and returns when
// every one has ended and the last event was heard. It may be called again, and together: the
// shortest grace counts.
func (k *Keeper) Close(grace time.Duration) {
	k.close()
	k.mu.Lock()
	k.closed = true
	var stops sync.WaitGroup
	for _, i := range k.live {
		if i.process != nil {
			stops.Go(func() { i.process.Stop(grace) }) // ends with the process
		}
	}
	k.mu.Unlock()
	stops.Wait()
	k.slots.Wait()
}

// A backoff says how long to wait before the next start.
type backoff struct{ next time.Duration }

func (b *backoff) after(life time.Duration) time.Duration {
	if life >= settled {
		b.next = 0
	}
	d := b.next
	b.next = min(max(2*d, firstDelay), lastDelay)
	return d
}
