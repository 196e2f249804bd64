package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
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
		case frameCalls:
			return nil, nil, errMalformed
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
