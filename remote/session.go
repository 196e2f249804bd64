package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/internal/wire"
)

// A session is the worker's side of one client: the calls it sent, the values it left
// here, and what its tasks have submitted. It is the Relay of its Host.
type session struct {
	srv  *server
	wire *wire.Session
	key  string // of the client
	host *executor.Host
	log  *slog.Logger
	live *liveTable
	out  outward
	in   inward
	done chan struct{}

	mu       sync.Mutex
	runs     map[int64]*run            // calls that have not returned
	values   map[int64]*value          // that stay here
	children map[uint64]*executor.Call // calls that tasks here have submitted, without an outcome
	lastID   uint64                    // of a child
	over     error                     // why the session is
	mark     uint64                    // of the last frameMark
	marked   chan struct{}             // closed at the next one
	emptied  bool                      // the client knows that the worker drains, and sends no more
	slots    int                       // the client's, all in all

	calls plainCalls
}

// A run is a call that the client sent.
type run struct {
	hosted  *executor.Hosted
	lease   *executor.HostedLease // instead
	memory  []byte                // of the lease, to be recycled
	home    bool
	told    bool // that it has begun
	arrived time.Time
}

// A value is one that stays here: of a call, or scattered.
type value struct {
	hosted *executor.Hosted
	data   []byte // of a scattered one, encoded
	size   int

	mu   sync.Mutex
	live reflect.Value // of a scattered one, decoded. Guarded by mu
}

// A ref is a value as a worker knows it that is told of it.
type ref struct {
	id      int64
	holders []holder
	child   uint64 // the call it is the value of, if a task here submitted that
}

// A holder is a worker that has a value.
type holder struct{ name, network, addr string }

func newSession(srv *server, w *wire.Session, hello *clientHello) *session {
	s := &session{
		srv: srv, wire: w, key: hello.Client, log: srv.log, done: make(chan struct{}), slots: hello.Slots,
		marked: make(chan struct{}), runs: map[int64]*run{}, values: map[int64]*value{}, children: map[uint64]*executor.Call{},
	}
	s.live = newLiveTable(w)
	s.out, s.in = outward{writeRef, s.live.append}, inward{readRef, s.live.read}
	s.live.base, s.live.out, s.live.in = func() *executor.Base { return s.host.Base() }, s.out, s.in
	s.host = executor.NewHost(executor.Config{MaxValueBytes: hello.MaxValue}, srv.name, srv.pool, s)
	s.calls.init(s)
	return s
}

// Frame handles a frame from the client.
func (s *session) Frame(kind byte, payload []byte) error {
	d := &dec{b: payload}
	switch kind {
	case frameTask:
		return s.task(append([]byte(nil), payload...))
	case frameCancel:
		id, at, cause := d.int(), uint32(d.uint()), d.bytes()
		if d.bad {
			return errMalformed
		}
		if at != 0 {
			s.calls.cancel(id, at, cause)
			return nil
		}
		s.mu.Lock()
		r := s.runs[id]
		told := r != nil && r.told
		if r != nil {
			r.told = true
		}
		s.mu.Unlock()
		if r != nil && r.hosted != nil {
			if !told && r.hosted.Running() {
				s.wire.Send(frameBegun, appendBegun(nil, id, 0), nil)
			}
			r.hosted.Cancel(executor.UnpackError(cause, "the client"))
		}
	case frameTake:
		if len(payload) == 0 {
			s.mu.Lock()
			s.emptied = true
			s.mu.Unlock()
		}
		for len(d.b) > 0 && !d.bad {
			id, at := d.int(), uint32(d.uint())
			if at != 0 {
				s.calls.withdraw(id, at)
				continue
			}
			s.mu.Lock()
			r := s.runs[id]
			s.mu.Unlock()
			switch {
			case r == nil:
			case r.lease != nil && r.lease.Withdraw():
			case r.hosted != nil && r.hosted.Withdraw():
			default: // too late, and the client is to know
				s.mu.Lock()
				r.told = true
				s.mu.Unlock()
				s.wire.Send(frameBegun, appendBegun(nil, id, 0), nil)
			}
		}
	case frameDrop:
		s.mu.Lock()
		for len(d.b) > 0 && !d.bad {
			delete(s.values, d.int())
		}
		s.mu.Unlock()
	case frameMark:
		mark := d.uint()
		s.mu.Lock()
		s.mark = mark
		close(s.marked)
		s.marked = make(chan struct{})
		s.mu.Unlock()
	case frameSlots:
		s.mu.Lock()
		s.slots = int(d.uint())
		s.mu.Unlock()
	case frameCalls:
		return s.calls.arrive(d)
	case frameLease:
		return s.lease(append(wire.Buffer(), payload...))
	case frameCut:
		id := d.int()
		s.mu.Lock()
		r := s.runs[id]
		s.mu.Unlock()
		switch {
		case r == nil || r.lease == nil:
		case len(d.b) == 0:
			r.lease.Stop()
		default:
			r.lease.Cancel(executor.UnpackError(d.b, "the client"))
		}
	case frameFuture:
		return s.live.settled(append([]byte(nil), payload...))
	case frameFutureCancel:
		s.live.cancel(d)
	case frameChildBegun:
		id, worker := d.uint(), d.string()
		s.mu.Lock()
		c := s.children[id]
		s.mu.Unlock()
		if c != nil {
			c.Begin(worker)
		}
	case frameChild:
		return s.childDone(append([]byte(nil), payload...))
	default:
		return fmt.Errorf("%w: a frame of kind %d", errMalformed, kind)
	}
	if d.bad {
		return errMalformed
	}
	return nil
}

// task starts a call. The payload is its to keep.
func (s *session) task(payload []byte) error {
	d := &dec{b: payload}
	function := d.string()
	r := d.request(s.in)
	if err := d.end(); err != nil {
		return err
	}
	r.Function = function
	rn := &run{home: r.Home, arrived: time.Now()}
	s.mu.Lock() // until hosted is set: the call may be over at once
	defer s.mu.Unlock()
	hosted, err := s.host.Start(r, func(o executor.Outcome) { s.returned(r.ID, o) }, func(err error) {
		s.wire.Send(frameLate, binary.AppendVarint(nil, r.ID), executor.PackError(err))
	})
	if err != nil {
		go s.returned(r.ID, executor.Outcome{State: futures.Failed, Err: err, Last: true}) // which takes the lock
	}
	rn.hosted = hosted
	s.runs[r.ID] = rn
	return nil
}

// lease starts a lease. The payload is its to keep.
func (s *session) lease(payload []byte) error {
	d := &dec{b: payload}
	id := d.int()
	function := d.string()
	keepGoing := d.byte() != 0
	slice := time.Duration(d.int())
	r := d.request(s.in)
	if err := d.end(); err != nil {
		return err
	}
	r.Function = function
	rn := &run{arrived: time.Now()}
	if len(r.Refs) == 0 { // which would refer to it
		rn.memory = payload
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lease, err := s.host.StartLease(id, r, keepGoing, slice, func(o executor.LeaseOutcome) { s.leaseDone(id, o) })
	if err != nil {
		go s.leaseDone(id, executor.LeaseOutcome{Err: err}) // which takes the lock
	}
	rn.lease = lease
	s.runs[id] = rn
	return nil
}

// leaseDone tells the client what became of a lease.
func (s *session) leaseDone(id int64, o executor.LeaseOutcome) {
	s.mu.Lock()
	var memory []byte
	if r := s.runs[id]; r != nil {
		memory = r.memory
	}
	delete(s.runs, id)
	over := s.over != nil
	s.mu.Unlock()
	if over {
		return
	}
	b := binary.AppendVarint(make([]byte, 0, 64), id)
	b = append(b, outcomeLease)
	b = binary.AppendVarint(b, int64(o.Took))
	b = binary.AppendUvarint(b, uint64(o.Ran))
	if o.Err != nil {
		b = appendBytes(b, executor.PackError(o.Err))
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(o.Failed)))
	for _, f := range o.Failed {
		b = appendBytes(binary.AppendUvarint(b, uint64(f.At)), executor.PackError(f.Err))
	}
	b = appendSources(b, o.Refs, s.out)
	sendFrom(s.wire, frameDone, b, o.Data, memory, nil)
}

// returned tells the client what became of a call.
func (s *session) returned(id int64, o executor.Outcome) {
	s.mu.Lock()
	r := s.runs[id]
	delete(s.runs, id)
	over := s.over != nil
	stays := false
	if o.State == futures.Finished && !over && len(o.Refs) == 0 {
		if limit := maxInline; len(o.Data) > limit && !(r.home && len(o.Data) <= maxFrame) {
			stays = true
			s.values[id] = &value{hosted: r.hosted, size: len(o.Data)}
		}
	}
	s.mu.Unlock()
	if over {
		return
	}
	head := make([]byte, 0, 64)
	head = binary.AppendVarint(head, id)
	var body []byte
	switch {
	case stays:
		head = append(head, outcomeStored)
		head = binary.AppendVarint(head, int64(o.Took))
		head = binary.AppendVarint(head, int64(len(o.Data)))
	case o.State == futures.Finished:
		head = append(head, outcomeValue)
		head = binary.AppendVarint(head, int64(o.Took))
		head = appendSources(head, o.Refs, s.out)
		body = o.Data
	case o.State == futures.Failed:
		head = append(head, outcomeError)
		head = binary.AppendVarint(head, int64(o.Took))
		last := byte(0)
		if o.Last {
			last = 1
		}
		head = append(head, last)
		body = executor.PackError(o.Err)
	default:
		head = append(head, outcomeNone)
		head = binary.AppendVarint(head, int64(o.Took))
	}
	s.send(frameDone, head, body)
}

// send sends a frame of any size.
func (s *session) send(kind byte, head, body []byte) { sendFrame(s.wire, kind, head, body, nil) }

// sendFrame sends a frame: as a call if it is a large one, which others may overtake.
// Then is called when that is through.
func sendFrame(w *wire.Session, kind byte, head, body []byte, then func(error)) {
	sendFrom(w, kind, head, body, nil, then)
}

// sendFrom is sendFrame from memory that may be recycled afterwards.
func sendFrom(w *wire.Session, kind byte, head, body, memory []byte, then func(error)) {
	if len(head)+len(body) <= maxFrame {
		w.Send(kind, head, body)
		wire.Recycle(memory)
		return
	}
	go func() { // ends with the session at the latest
		_, _, err := w.Call(context.Background(), []byte{callFrame, kind}, head, body)
		if err != nil { // a frame arrives, or the session is over
			w.Kill(fmt.Errorf("remote: a large frame did not arrive: %w", err))
		} else {
			wire.Recycle(memory)
		}
		if then != nil {
			then(err)
		}
	}()
}

// Idle has nothing to do: there is no schedule here.
func (s *session) Idle() {}

// Call answers a request of the client, or of a peer.
func (s *session) Call(ctx context.Context, head, body []byte) ([]byte, [][]byte, error) {
	d := &dec{b: head}
	switch d.byte() {
	case callFetch:
		data, err := s.fetchLocal(d.int())
		return nil, [][]byte{data}, err
	case callPut:
		id := d.int()
		s.mu.Lock()
		s.values[id] = &value{data: body, size: len(body)}
		s.mu.Unlock()
		return nil, nil, nil
	case callFrame:
		switch kind := d.byte(); kind {
		case frameTask: // whose argument may be large: it is not copied once more
			return nil, nil, s.task(body)
		case frameLease:
			return nil, nil, s.lease(body)
		default:
			err := s.Frame(kind, body)
			wire.Recycle(body)
			return nil, nil, err
		}
	case callRun:
		if err := s.awaitMark(ctx, d.uint()); err != nil {
			return nil, nil, err
		}
		data, err := s.host.CallNow(ctx, d.string(), body)
		if err != nil {
			return []byte{1}, [][]byte{executor.PackError(err)}, nil
		}
		return []byte{0}, [][]byte{data}, nil
	}
	return nil, nil, errMalformed
}

// awaitMark waits until a frameMark has come, and with it all that was sent before.
func (s *session) awaitMark(ctx context.Context, mark uint64) error {
	for {
		s.mu.Lock()
		there, marked := s.mark >= mark, s.marked
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-marked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Closed ends what the client has here.
func (s *session) Closed(err error) {
	if err == nil {
		err = errors.New("the client has closed")
	}
	err = fmt.Errorf("remote: the client's session is over: %w", err)
	s.mu.Lock()
	s.over = err
	runs := s.runs
	list := make([]*executor.Hosted, 0, len(runs))
	var leases []*executor.HostedLease
	for _, r := range runs {
		if r.hosted != nil {
			list = append(list, r.hosted)
		}
		if r.lease != nil {
			leases = append(leases, r.lease)
		}
	}
	children := s.children
	s.children = map[uint64]*executor.Call{}
	s.values = map[int64]*value{}
	s.mu.Unlock()
	s.live.close(err)
	s.calls.close(err)
	s.host.Close(err, list)
	for _, l := range leases {
		l.Cancel(err)
	}
	for _, c := range children {
		c.Cancel(err)
	}
	close(s.done)
	s.srv.left(s)
}

// tick tells the client which calls have begun.
func (s *session) tick(now time.Time) {
	ids := s.calls.begun(nil)
	s.mu.Lock()
	for id, r := range s.runs {
		if !r.told && now.Sub(r.arrived) > tellAfter && (r.hosted != nil && r.hosted.Running() || r.lease != nil && r.lease.Running()) {
			r.told = true
			ids = appendBegun(ids, id, 0)
		}
	}
	s.mu.Unlock()
	if ids != nil {
		s.wire.Send(frameBegun, ids, nil)
	}
}

const tellAfter = 10 * time.Millisecond

// readRef decodes a stored value as the client tells of it.
func readRef(d *dec) any {
	r := &ref{id: d.int()}
	for range d.count() {
		r.holders = append(r.holders, holder{d.string(), d.string(), d.string()})
	}
	return r
}

// writeRef encodes one as the client knows it.
func writeRef(b []byte, v any) []byte { return binary.AppendVarint(b, v.(*ref).id) }

// The Relay.

// Enqueue sends a call that a task has submitted to the client.
func (s *session) Enqueue(c *executor.Call) {
	r, err := c.Request()
	if err != nil {
		c.Fail(err)
		return
	}
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		c.Cancel(s.over)
		return
	}
	s.lastID++
	id := s.lastID
	s.children[id] = c
	s.mu.Unlock()
	c.SetTag(id)
	b := binary.AppendUvarint(nil, id)
	b = appendString(b, r.Function)
	b = appendRequest(b, r, s.out)
	recheck := func(error) {
		if c.Over() {
			s.Cancelled(c)
		}
	}
	sendFrame(s.wire, frameSpawn, b, nil, recheck)
	recheck(nil) // it may have been cancelled before it had its number
}

// Cancelled tells the client that it was cancelled.
func (s *session) Cancelled(c *executor.Call) {
	id, ok := c.Tag().(uint64)
	if !ok {
		return
	}
	s.mu.Lock()
	_, open := s.children[id]
	delete(s.children, id)
	s.mu.Unlock()
	if open {
		s.send(frameCancelChild, binary.AppendUvarint(nil, id), executor.PackError(c.Err()))
	}
}

// childDone is what became of a call that a task here has submitted.
func (s *session) childDone(payload []byte) error {
	d := &dec{b: payload}
	id := d.uint()
	outcome := d.byte()
	worker := d.string()
	s.mu.Lock()
	c := s.children[id]
	delete(s.children, id)
	s.mu.Unlock()
	switch outcome {
	case outcomeValue:
		refs := d.sources(s.in, maxSourceDepth)
		if d.bad {
			return errMalformed
		}
		if c != nil {
			c.Deliver(worker, d.b, refs)
		}
	case outcomeStored:
		r := readRef(d).(*ref)
		if err := d.end(); err != nil {
			return err
		}
		r.child = id
		if c != nil {
			c.DeliverStored(worker, r)
		} else {
			s.Drop(r)
		}
	case outcomeError:
		last := d.byte()
		if d.bad {
			return errMalformed
		}
		if c != nil {
			c.DeliverError(worker, executor.UnpackError(d.b, worker), last != 0)
		}
	case outcomeNone:
		if c != nil {
			err := executor.UnpackError(d.b, worker)
			var cancelled *futures.CancelError
			if errors.As(err, &cancelled) && cancelled.Cause != nil {
				err = cancelled.Cause
			}
			c.Cancel(err)
		}
	default:
		return errMalformed
	}
	return nil
}

// Import is told what becomes of a future of the client.
func (s *session) Import(live any, done func(executor.Source)) (cancel func(error)) {
	return s.live.Import(live, done)
}

// Release tells the client that a share of a run is not needed any more.
func (s *session) Release(c *executor.Call) {
	if id, ok := c.Tag().(uint64); ok {
		s.wire.Send(frameDropChild, binary.AppendUvarint(make([]byte, 0, 12), id), nil)
	}
}

// Lent tells the client that a slot has room.
func (s *session) Lent(task int64, awaited *executor.Call) {
	b := binary.AppendVarint(make([]byte, 0, 24), task)
	var child uint64
	if awaited != nil {
		child, _ = awaited.Tag().(uint64)
	}
	s.wire.Send(frameLent, binary.AppendUvarint(b, child), nil)
}

// Resumed tells it that it has none any more.
func (s *session) Resumed(task int64) {
	s.wire.Send(frameResumed, binary.AppendVarint(make([]byte, 0, 12), task), nil)
}

// Slots is the client's count.
func (s *session) Slots() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots
}

// Load is a value that is here.
func (s *session) Load(_ context.Context, stored any, t reflect.Type) (v reflect.Value, ok bool, err error) {
	r := stored.(*ref)
	s.mu.Lock()
	val := s.values[r.id]
	s.mu.Unlock()
	if val == nil {
		return v, false, nil
	}
	if val.hosted != nil {
		v, ok = val.hosted.Value(t)
		return v, ok, nil
	}
	val.mu.Lock()
	defer val.mu.Unlock()
	if val.live.IsValid() && val.live.Type() == t {
		return val.live, true, nil
	}
	v = reflect.New(t).Elem()
	if err := codec.For(t).Decode(val.data, v); err != nil {
		return v, false, err
	}
	val.live = v
	return v, true, nil
}

// fetchLocal is the encoding of a value that is here.
func (s *session) fetchLocal(id int64) ([]byte, error) {
	s.mu.Lock()
	val := s.values[id]
	s.mu.Unlock()
	switch {
	case val == nil:
		return nil, fmt.Errorf("value %d is not here", id)
	case val.hosted != nil:
		return val.hosted.Encode()
	}
	return val.data, nil
}

// Fetch brings a value from where it is: here, a peer, or, if none can be reached, by
// way of the client.
func (s *session) Fetch(ctx context.Context, stored any) ([]byte, error) {
	r := stored.(*ref)
	if data, err := s.fetchLocal(r.id); err == nil {
		return data, nil
	}
	head := binary.AppendVarint([]byte{callFetch}, r.id)
	for _, h := range r.holders {
		if h.name == s.srv.name {
			continue
		}
		peer, err := s.srv.peers.get(ctx, h, s.key)
		if err != nil {
			s.log.Debug("remote: peer not reached", "peer", h.name, "err", err)
			continue
		}
		if _, data, err := peer.Call(ctx, head); err == nil {
			return data, nil
		}
	}
	_, data, err := s.wire.Call(ctx, binary.AppendVarint([]byte{callSource}, r.id))
	if err != nil {
		return nil, fmt.Errorf("%w: value %d: %w", ErrDataLost, r.id, err)
	}
	return data, nil
}

// Drop tells the client that nobody here needs a value any more.
func (s *session) Drop(stored any) {
	if r, ok := stored.(*ref); ok && r.child != 0 {
		s.wire.Send(frameDropChild, binary.AppendUvarint(make([]byte, 0, 12), r.child), nil)
	}
}

// Stats asks the client.
func (s *session) Stats() executor.Stats {
	var st executor.Stats
	_, data, err := s.wire.Call(context.Background(), []byte{callStats})
	if err == nil {
		err = codec.Decode(data, &st)
	}
	if err != nil {
		s.log.Debug("remote: the client's Stats", "err", err)
	}
	return st
}

// Scatter has the client scatter a value.
func (s *session) Scatter(ctx context.Context, data []byte, workers []string, all bool) (any, error) {
	b := []byte{callScatter, 0}
	if all {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(workers)))
	for _, w := range workers {
		b = appendString(b, w)
	}
	head, _, err := s.wire.Call(ctx, b, data)
	if err != nil {
		return nil, err
	}
	d := &dec{b: head}
	child := d.uint()
	r := readRef(d).(*ref)
	r.child = child
	return r, d.end()
}

// CallAll has the client call a function in each process.
func (s *session) CallAll(ctx context.Context, function string, arg []byte) (map[string]executor.Called, error) {
	_, data, err := s.wire.Call(ctx, appendString([]byte{callAll}, function), arg)
	if err != nil {
		return nil, err
	}
	return readCalled(data)
}

func appendCalled(all map[string]executor.Called) []byte {
	b := binary.AppendUvarint(nil, uint64(len(all)))
	for name, c := range all {
		b = appendString(b, name)
		if c.Err != nil {
			b = appendBytes(append(b, 1), executor.PackError(c.Err))
		} else {
			b = appendBytes(append(b, 0), c.Data)
		}
	}
	return b
}

func readCalled(data []byte) (map[string]executor.Called, error) {
	d := &dec{b: data}
	all := map[string]executor.Called{}
	for range d.count() {
		name, failed, data := d.string(), d.byte(), d.bytes()
		if failed != 0 {
			all[name] = executor.Called{Err: executor.UnpackError(data, name)}
		} else {
			all[name] = executor.Called{Data: data}
		}
	}
	return all, d.end()
}
