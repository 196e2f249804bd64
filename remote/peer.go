package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/child"
	"github.com/nearfar/nearfar/internal/wire"
)

// A worker is a worker process, as the client has it: the Handler of its session.
type worker struct {
	ex            *Executor
	name          string
	network, addr string
	pid, threads  int
	functions     map[string]string
	process       *child.Process // of proc
	wire          *wire.Session
	live          *liveTable
	refs          outward
	in            inward
	lost          chan struct{} // closed when the schedule knows that it is gone

	// Guarded by ex.mu.
	out         map[int64]*entry // calls that it has
	waiting     int              // of those, with their slots lent
	leases      int              // of those
	alone       *entry           // a suspect, which is run alone
	before      uint64           // the last of kids before that
	asked, told bool             // see indulge
	calls       int              // of RunOnAll
	draining    bool
	gone        bool
	taking      bool // it was asked for calls back
	stored      int
	storedBytes int64
	finished    int64
	kids        map[uint64]*executor.Foreign // calls of its tasks, of which it does not know the outcome
	kept        map[uint64]*executor.Foreign // and those whose values it may yet need
	lastKid     uint64

	// Of plain calls: see lane.go.
	index        int32             // in ex.indexed
	numbers      map[string]uint64 // of functions. It never changes
	lastFunction string            // that was looked up in it, and its number
	lastNumber   uint64
	places       []place
	vacant       []uint32
	plain        int       // of places, that are taken and were not promoted
	arrived      []arrival // the reading goroutine's
}

// connect makes a session with a worker.
func (ex *Executor) connect(ctx context.Context, network, addr string, p *child.Process) (*worker, error) {
	hello, err := json.Marshal(clientHello{
		Role: "client", Client: ex.key, Build: build(), Setup: ex.cfg.SetupData, MaxValue: ex.cfg.MaxValueBytes, Slots: ex.Slots(), Functions: ex.functions,
	})
	if err != nil {
		return nil, err
	}
	cfg := wire.Config{
		Token: ex.token, Hello: hello, HandshakeTimeout: ex.cfg.ConnectTimeout, HeartbeatTimeout: ex.cfg.HeartbeatTimeout,
		MaxBody: ex.cfg.MaxValueBytes + 1<<20, Logger: ex.log,
	}
	if network == "tls" {
		cfg.TLS = ex.tls.Clone()
		if cfg.TLS.ServerName == "" {
			cfg.TLS.ServerName = hostOf(addr)
		}
	}
	session, err := wire.Dial(ctx, netOf(network), addr, cfg)
	if err != nil {
		return nil, dialError(network, addr, err)
	}
	var reply workerHello
	if err := json.Unmarshal(session.PeerHello(), &reply); err != nil {
		session.Kill(err)
		return nil, fmt.Errorf("%w: %s://%s: a reply that cannot be read: %w", ErrHandshake, network, addr, err)
	}
	if reply.Setup != nil {
		session.Kill(errors.New("its setup has failed"))
		return nil, &executor.SetupError{Worker: reply.Name, Err: executor.UnpackError(reply.Setup, reply.Name)}
	}
	w := &worker{
		ex: ex, name: reply.Name, network: network, addr: addr, pid: reply.PID, threads: max(1, reply.Threads), functions: reply.Functions,
		process: p, wire: session, lost: make(chan struct{}), out: map[int64]*entry{}, kids: map[uint64]*executor.Foreign{}, kept: map[uint64]*executor.Foreign{},
	}
	w.numbers = numbersOf(w.functions, ex.functions)
	w.live = newLiveTable(session)
	w.refs, w.in = outward{ex.appendStored, w.live.append}, inward{func(d *dec) any { return ex.valueOf(d.int()) }, w.live.read}
	w.live.base, w.live.out, w.live.in = func() *executor.Base { return ex.base }, outward{ex.lockedStored, w.live.append}, w.in
	if reply.Build != build() {
		ex.log.Info("remote: the worker was built from other sources", "worker", w.name, "its", reply.Build, "ours", build())
	}
	ex.mu.Lock()
	if ex.closed {
		ex.mu.Unlock()
		session.Kill(executor.ErrClosed)
		return nil, executor.ErrClosed
	}
	ex.workers = append(ex.workers, w)
	w.index = int32(len(ex.indexed))
	ex.indexed = append(ex.indexed, w)
	ex.full = false
	ex.met[w.name] = true
	ex.tellSlots()
	if ex.noWorkers != nil {
		ex.noWorkers.Stop()
		ex.noWorkers = nil
	}
	ex.mu.Unlock()
	session.Start(w)
	ex.tell(ex.cfg.Observer, true, w, nil)
	ex.mu.Lock()
	ex.pump()
	ex.mu.Unlock()
	return w, nil
}

// dialError makes one of package wire's errors this package's.
func dialError(network, addr string, err error) error {
	kind := ErrHandshake
	if errors.Is(err, wire.ErrAuth) {
		kind = ErrAuth
	}
	return fmt.Errorf("%w: %s://%s: %w", kind, network, addr, err)
}

// tell tells the Observer that a worker came or went.
func (ex *Executor) tell(o *executor.Observer, up bool, w *worker, err error) {
	if o == nil {
		return
	}
	f := o.WorkerDown
	if up {
		f = o.WorkerUp
	}
	if f != nil {
		f(executor.Event{Time: time.Now(), Worker: w.name, Err: err})
	}
}

// kill kills the process of a call that was cancelled and goes on all the same.
func (w *worker) kill(e *entry) {
	w.ex.mu.Lock()
	stuck := e.w == w && w.out[e.id] == e
	w.ex.mu.Unlock()
	if stuck && w.process != nil {
		w.ex.log.Warn("remote: killing a worker whose task goes on after it was cancelled", "worker", w.name, "after", e.req.Kill)
		w.process.Kill()
	}
}

// Closed is the loss of the worker.
func (w *worker) Closed(err error) {
	w.ex.mu.Lock()
	closed := w.ex.closed
	w.ex.mu.Unlock()
	if err == nil {
		err = errors.New("it has closed the session")
	}
	if w.process != nil && !closed {
		select { // how it ended says more
		case <-w.process.Done():
			err = w.process.Exit()
		case <-time.After(time.Second): // of a process that is no more, it is there at once
			w.process.Kill() // it hangs, or is cut off: another takes its place
		}
	}
	w.live.close(err)
	then := w.ex.lose(w, err)
	defer w.ex.rest()
	close(w.lost)
	w.ex.tell(w.ex.cfg.Observer, false, w, err)
	for _, f := range then {
		f()
	}
	w.ex.mu.Lock()
	w.ex.pump()
	w.ex.empty()
	w.ex.mu.Unlock()
	w.ex.base.Changed()
	w.ex.redial(w)
}

// Idle sends what there is room for now.
func (w *worker) Idle() {
	w.ex.mu.Lock()
	w.ex.pump()
	w.ex.mu.Unlock()
}

// Frame handles a frame of the worker.
func (w *worker) Frame(kind byte, payload []byte) error {
	d := &dec{b: payload, lent: true}
	switch kind {
	case frameDone:
		return w.done(d)
	case frameBegun:
		for len(d.b) > 0 && !d.bad {
			w.begun(d.int(), uint32(d.uint()))
		}
	case frameValues:
		return w.values(d)
	case frameLate:
		id := d.int()
		w.late(id, executor.UnpackError(d.b, w.name))
		return nil
	case frameLent:
		id, child := d.int(), d.uint()
		w.lent(id, child)
	case frameResumed:
		w.resumed(d.int())
	case frameSpawn:
		return w.spawn(append([]byte(nil), payload...))
	case frameCancelChild:
		child, cause := d.uint(), executor.UnpackError(d.b, w.name)
		d.b = nil
		w.ex.mu.Lock()
		f := w.kids[child]
		w.ex.mu.Unlock()
		if f != nil {
			f.Cancel(cause)
		}
	case frameDropChild:
		child := d.uint()
		w.ex.mu.Lock()
		f := w.kids[child]
		if f == nil {
			f = w.kept[child]
		}
		delete(w.kids, child)
		delete(w.kept, child)
		w.ex.mu.Unlock()
		if f != nil {
			f.Release()
		}
	case frameFuture:
		return w.live.settled(append([]byte(nil), payload...))
	case frameFutureCancel:
		w.live.cancel(d)
	case frameDraining:
		w.ex.evacuate(w)
	default:
		return fmt.Errorf("%w: a frame of kind %d", errMalformed, kind)
	}
	return d.end()
}

// valueOf is a value that a worker refers to; nil if there is none.
func (ex *Executor) valueOf(id int64) any {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if s := ex.values[id]; s != nil {
		return s
	}
	return &stored{id: id, err: fmt.Errorf("%w: value %d is not known", ErrDataLost, id)}
}
