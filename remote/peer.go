package remote

import (
	"context"
	"encoding/binary"
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

// done is the end of a call at the worker.
func (w *worker) done(d *dec) error {
	id := d.int()
	outcome := d.byte()
	if outcome == outcomeLease {
		return w.leaseDone(id, d)
	}
	r := ret{outcome: outcome, took: time.Duration(d.int())}
	switch outcome {
	case outcomeValue:
		r.refs = d.sources(w.in, maxSourceDepth)
	case outcomeStored:
		r.size = d.int()
	case outcomeError:
		r.last = d.byte() != 0
	}
	if r.data = d.b; d.bad || outcome > outcomeNone {
		return errMalformed
	}
	return w.ended(id, r)
}

// A ret is how a call has ended at its worker.
type ret struct {
	outcome byte
	took    time.Duration
	data    []byte // the value, or the error
	refs    []executor.Source
	size    int64 // of a value that stays there
	last    bool  // another attempt is of no use
}

// note takes note of what a call took. mu is held.
func (ex *Executor) note(took time.Duration) {
	if ex.took == 0 {
		ex.took = float64(took)
	}
	ex.took += (float64(took) - ex.took) / 16
	if ahead := aheadFor(ex.took); ahead != ex.ahead {
		ex.ahead, ex.full = ahead, false
	}
}

// ended ends a call.
func (w *worker) ended(id int64, r ret) error {
	outcome := r.outcome
	ex := w.ex
	ex.mu.Lock()
	e := w.out[id]
	if e == nil {
		ex.mu.Unlock()
		return nil // it was taken for lost
	}
	ex.leave(w, e)
	w.finished++
	if r.took > 0 {
		ex.note(r.took)
	}
	if outcome == outcomeValue {
		ex.received += int64(len(r.data))
	}
	if e.call == nil {
		w.remade(e, outcome, r.size, r.data)
		ex.mu.Unlock()
		return nil
	}
	if outcome == outcomeNone && !e.gone && w.out != nil {
		unwanted := e.unwanted
		ex.busy++ // until after
		ex.mu.Unlock()
		e.call.Gone()
		if unwanted {
			e.call.CancelPending()
		}
		if e.call.Over() {
			ex.mu.Lock()
			ex.remove(e)
			ex.mu.Unlock()
			e.call.Returned()
		} else { // it was taken back
			ex.mu.Lock()
			closed := ex.closed
			if closed {
				ex.remove(e)
			} else {
				ex.queue.push(e, true)
			}
			ex.mu.Unlock()
			if closed {
				e.call.Cancel(executor.ErrClosed)
			} else {
				ex.recheck(e)
			}
		}
		w.after()
		return nil
	}
	ex.remove(e)
	ex.busy++ // until after: the call may be enqueued again
	var s *stored
	if outcome == outcomeStored {
		s = &stored{id: id, size: r.size, req: e.req}
		ex.keep(s, w)
		ex.remember(s)
	}
	ex.mu.Unlock()
	switch outcome {
	case outcomeValue:
		data := r.data
		if len(data) > 16<<10 { // decoding may keep it
			data = append([]byte(nil), data...)
		}
		e.call.Deliver(w.name, data, r.refs)
		e.call.Gone()
	case outcomeStored:
		if e.req.Home {
			ex.bg.Go(func() { ex.bringHome(w, e, s) }) // ends with the call
			return nil
		}
		e.call.DeliverStored(w.name, s)
		e.call.Gone()
		w.handOver(s)
	case outcomeError:
		e.call.Gone() // before the next attempt is sent
		e.call.DeliverError(w.name, executor.UnpackError(r.data, w.name), r.last)
	}
	w.after()
	return nil
}

// after says that a call has left the schedule, and ends a busy.
func (w *worker) after() {
	w.ex.mu.Lock()
	w.ex.busy--
	empty := w.ex.nothing()
	w.ex.empty()
	w.ex.mu.Unlock()
	if empty {
		w.ex.base.Changed()
	}
}

// bringHome fetches a large value that is wanted in this process.
func (ex *Executor) bringHome(w *worker, e *entry, s *stored) {
	data, err := ex.Fetch(ex.ctx, s)
	ex.Drop(s)
	e.call.Gone()
	if err != nil {
		e.call.DeliverError(w.name, err, true)
	} else {
		e.call.Deliver(w.name, data, nil)
	}
	w.after()
}

// remade ends the making of a lost value. mu is held.
func (w *worker) remade(e *entry, outcome byte, size int64, data []byte) {
	ex := w.ex
	switch outcome {
	case outcomeStored:
		ex.remove(e)
		e.value.size = size
		w.stored++
		w.storedBytes += size
		ex.remade(e, w, nil)
	case outcomeNone:
		ex.queue.push(e, true)
	case outcomeValue:
		ex.remove(e)
		ex.remade(e, nil, fmt.Errorf("%w: value %d came out smaller when it was computed again; tasks must give an equal value again", ErrDataLost, e.id))
	default:
		ex.remove(e)
		ex.remade(e, nil, fmt.Errorf("%w: value %d could not be computed again: %w", ErrDataLost, e.id, executor.UnpackError(data, w.name)))
	}
}

// begun is told that a call has begun: one that was sent as a plain one by its place.
func (w *worker) begun(id int64, at uint32) {
	w.ex.mu.Lock()
	e := w.out[id]
	if e == nil && int(at) < len(w.places) {
		if p := &w.places[at]; p.call != nil && p.e == nil && p.call.Seat().ID == id {
			e = w.ex.promote(w, at)
		}
	}
	if e != nil {
		e.begun = true
		w.answered(e)
		if e.taking { // it was asked back too late: others may be taken
			e.taking, w.taking = false, false
		}
	}
	w.ex.mu.Unlock()
	switch {
	case e == nil:
	case e.lot != nil:
		e.lot.items.Begin(w.name)
	case e.call != nil:
		e.call.Begin(w.name)
	}
}

func (w *worker) late(id int64, err error) {
	w.ex.mu.Lock()
	e := w.out[id]
	w.ex.mu.Unlock()
	if e != nil && e.call != nil {
		e.call.Late(w.name, err)
	}
}

// lent gives the slot of a call that waits to others, what it waits for first.
func (w *worker) lent(id int64, child uint64) {
	ex := w.ex
	w.begun(id, w.placeOf(id))
	ex.mu.Lock()
	defer ex.mu.Unlock()
	e := w.out[id]
	if e == nil || e.waiting {
		return
	}
	e.begun, e.waiting = true, true
	w.waiting++
	ex.full = false
	if f := w.kids[child]; f != nil {
		if a, ok := f.Call().Tag().(*entry); ok && a.w == nil && ex.tasks[a.id] == a {
			a.first = true
			ex.queue.remove(a)
			ex.queue.push(a, true)
		}
	}
}

// placeOf is the place of a plain call, or 0.
func (w *worker) placeOf(id int64) uint32 {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if w.out[id] != nil {
		return 0
	}
	for at, p := range w.places {
		if p.call != nil && p.call.Seat().ID == id {
			return uint32(at)
		}
	}
	return 0
}

func (w *worker) resumed(id int64) {
	w.ex.mu.Lock()
	defer w.ex.mu.Unlock()
	if e := w.out[id]; e != nil && e.waiting {
		e.waiting = false
		w.waiting--
	}
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

// spawn submits a call for a task of the worker. The payload is its to keep.
func (w *worker) spawn(payload []byte) error {
	d := &dec{b: payload}
	child := d.uint()
	function := d.string()
	r := d.request(w.in)
	if err := d.end(); err != nil {
		return err
	}
	r.Function = function
	ex := w.ex
	ex.mu.Lock()
	if w.kids == nil {
		ex.mu.Unlock()
		return nil
	}
	w.kids[child], w.lastKid = nil, max(w.lastKid, child)
	ex.mu.Unlock()
	begun := func(f *executor.Foreign) {
		w.wire.Send(frameChildBegun, appendString(binary.AppendUvarint(nil, child), f.Worker()), nil)
	}
	f := ex.base.SubmitForeign(context.Background(), ex, r, begun, func(f *executor.Foreign) { w.childDone(child, f) })
	ex.mu.Lock()
	if _, ok := w.kids[child]; ok {
		w.kids[child] = f
	}
	ex.mu.Unlock()
	return nil
}

// childDone tells the worker what became of it.
func (w *worker) childDone(child uint64, f *executor.Foreign) {
	ex := w.ex
	b := binary.AppendUvarint(make([]byte, 0, 64), child)
	data, refs, value, err := f.Result()
	worker := f.Worker()
	var body []byte
	switch {
	case err != nil && f.Call().Cancelled():
		b, body = appendString(append(b, outcomeNone), worker), executor.PackError(err)
	case err != nil:
		b, body = append(appendString(append(b, outcomeError), worker), 1), executor.PackError(err)
	case value != nil:
		b = appendString(append(b, outcomeStored), worker)
		ex.mu.Lock()
		b = ex.appendStored(b, value)
		ex.mu.Unlock()
	default:
		ex.mu.Lock()
		b = appendSources(appendString(append(b, outcomeValue), worker), refs, w.refs)
		ex.mu.Unlock()
		body = data
	}
	sendFrame(w.wire, frameChild, b, body, nil)
	w.toldOf(child, f, value != nil || f.Key() != "")
}

// Call answers a request of the worker.
func (w *worker) Call(ctx context.Context, head, body []byte) ([]byte, [][]byte, error) {
	d := &dec{b: head}
	switch d.byte() {
	case callFrame:
		kind := d.byte()
		err := w.Frame(kind, body)
		wire.Recycle(body)
		w.Idle()
		return nil, nil, err
	case callSource:
		data, err := w.ex.Fetch(ctx, w.ex.valueOf(d.int()))
		w.ex.mu.Lock()
		w.ex.sent += int64(len(data))
		w.ex.mu.Unlock()
		return nil, [][]byte{data}, err
	case callStats:
		data, err := w.ex.statsData()
		return nil, [][]byte{data}, err
	case callAll:
		all, err := w.ex.callAll(ctx, d.string(), body, w)
		if err != nil {
			return nil, nil, err
		}
		return nil, [][]byte{appendCalled(all)}, nil
	case callScatter:
		all := d.byte() != 0
		var workers []string
		for range d.count() {
			workers = append(workers, d.string())
		}
		v, err := w.ex.Scatter(ctx, body, workers, all)
		if err != nil {
			return nil, nil, err
		}
		w.ex.mu.Lock()
		b := w.ex.appendStored(binary.AppendUvarint(nil, 0), v)
		w.ex.mu.Unlock()
		return b, nil, nil
	}
	return nil, nil, errMalformed
}
