package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	bulkWindow  = 16 << 20
	bulkBacklog = 256
	// How long a piece may take to be written. Nobody judges liveness by it: 16 streams may wait
	// for each other on a slow network.
	bulkTimeout = time.Minute
	// maxServed is how many streams of the other side are served, those included whose caller
	// has given up and whose handler has not noticed.
	maxServed = 4 * MaxCalls
)

// A link is the bulk connection.
type link struct {
	conn  *joined
	mux   *yamux.Session
	slots chan struct{} // a place for each call made here

	mu   sync.Mutex
	idle []*lane            // to be used again, the last one first
	all  map[*lane]struct{} // of both directions
}

// An attempt is to make the bulk connection. Calls that need it wait for its end.
type attempt struct {
	done chan struct{}
	link *link // or
	err  error
}

var errNoBulk = errors.New("no second connection")

// getLink gives the bulk connection, and has it made if there is none.
func (s *Session) getLink(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.bulk != nil {
		defer s.mu.Unlock()
		return s.bulk, nil
	}
	a := s.attempt
	fresh := a == nil
	if fresh {
		a = &attempt{done: make(chan struct{})}
		s.attempt = a
	}
	s.mu.Unlock()
	if fresh {
		if s.dialBulk == nil {
			s.send(kindBulk, nil, nil)
		} else {
			s.spawn(s.makeBulk)
		}
	}
	select {
	case <-a.done:
		return a.link, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.done:
		return nil, s.Err()
	}
}

// wanted is makeBulk on behalf of the other side.
func (s *Session) wanted() {
	s.mu.Lock()
	fresh := s.bulk == nil && s.attempt == nil
	if fresh {
		s.attempt = &attempt{done: make(chan struct{})}
	}
	s.mu.Unlock()
	if fresh {
		s.spawn(s.makeBulk)
	}
}

// makeBulk dials, and says so to both sides if it fails.
func (s *Session) makeBulk() {
	conn, err := s.dialBulk(s.ctx)
	if err == nil {
		err = s.attach(conn, true)
	}
	if err != nil {
		s.noBulk(err)
		s.send(kindNoBulk, nil, []byte(cut(err.Error())))
	}
}

// noBulk ends the attempt. The next call makes another.
func (s *Session) noBulk(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt != nil && s.bulk == nil {
		s.attempt.err = fmt.Errorf("wire: %w: %w", errNoBulk, err)
		close(s.attempt.done)
		s.attempt = nil
	}
}

// attach makes conn the session's bulk connection. If it cannot be, it is closed.
func (s *Session) attach(conn *joined, dialled bool) error {
	mux, err := newMux(conn, dialled, bulkBacklog, bulkWindow, bulkTimeout, s.cfg.Logger)
	if err != nil {
		_ = conn.Close()
		return err
	}
	l := &link{conn: conn, mux: mux, slots: make(chan struct{}, MaxCalls), all: map[*lane]struct{}{}}
	s.mu.Lock()
	if s.dead.Load() || s.bulk != nil {
		s.mu.Unlock()
		l.close()
		return errors.New("the session is over")
	}
	s.bulk = l
	a := s.attempt
	if a != nil {
		a.link = l
		close(a.done)
	}
	s.attempt = nil
	h := s.handler
	s.mu.Unlock()
	if h != nil {
		s.spawn(func() { s.acceptCalls(l, h) })
	}
	s.spawn(func() { s.watchBulk(l) })
	return nil
}

// watchBulk ends the session when the bulk connection ends: simplest, and right, since whoever
// loses one will lose the other.
func (s *Session) watchBulk(l *link) {
	select {
	case <-s.done:
	case <-l.mux.CloseChan():
		if !s.leaving.Load() {
			s.end(s.gone(lost(errors.New("the bulk connection ended"))))
		}
	}
}

func (l *link) close() {
	_ = l.conn.Close()
	_ = l.mux.Close()
}

// open gives a stream for a call: one that is kept, or a new one.
func (l *link) open(ctx context.Context, s *Session) (*lane, error) {
	l.mu.Lock()
	if n := len(l.idle); n > 0 {
		defer l.mu.Unlock()
		kept := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return kept, nil
	}
	l.mu.Unlock()
	// OpenStream has no ctx, and may wait for the network.
	type opened struct {
		*lane
		err error
	}
	result := make(chan opened, 1)
	if !s.spawn(func() {
		stream, err := l.mux.OpenStream()
		if err != nil {
			result <- opened{err: err}
			return
		}
		result <- opened{lane: l.add(stream, s)}
	}) {
		return nil, s.Err()
	}
	select {
	case r := <-result:
		return r.lane, r.err
	case <-ctx.Done():
		s.spawn(func() { // whoever comes next may have it
			select {
			case r := <-result:
				if r.err == nil {
					l.keep(r.lane)
				}
			case <-s.done:
			}
		})
		return nil, context.Cause(ctx)
	}
}

func (l *link) add(stream *yamux.Stream, s *Session) *lane {
	ln := newLane(stream, l.conn.checked, s.limits)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[ln] = struct{}{}
	return ln
}

func (l *link) keep(ln *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, ln)
}

func (l *link) remove(ln *lane) {
	l.mu.Lock()
	delete(l.all, ln)
	l.mu.Unlock()
	_ = ln.stream.Close()
}

// shrink gives back what yamux keeps for streams that are empty just now: up to a window each.
func (s *Session) shrink() {
	s.mu.Lock()
	l := s.bulk
	s.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for ln := range l.all {
		ln.stream.Shrink()
	}
}
