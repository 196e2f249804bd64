package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Kinds of frames that are this package's own.
const (
	kindPing    = FirstKind + iota // says that its sender lives
	kindGoodbye                    // the last frame of a side
	kindBulk                       // the listening side asks for the bulk connection
	kindNoBulk                     // there will be none; the payload says why
	kindGiveUp                     // the caller of the call with this number (4) has gone
)

// A Handler is what a session delivers to.
type Handler interface {
	// Frame gets each control frame, in order, on the session's one reading goroutine. The
	// payload is valid until it returns. It should not block: nothing else is read meanwhile,
	// and what is sent may wait for its end. Its error ends the session.
	Frame(kind byte, payload []byte) error
	// Idle is called on the same goroutine when all that had arrived was delivered.
	Idle()
	// Call answers a call of the other side, in a goroutine of its own. Head and body are its
	// to keep; the response's body is read until it was written. Its ctx ends when the caller
	// gives up or the session is over, and it should return then.
	Call(ctx context.Context, head, body []byte) (respHead []byte, respBody [][]byte, err error)
	// Closed is called once, as the last, on the goroutine of Frame: nil after a goodbye of
	// either side, else an ErrGone that wraps the reason.
	Closed(err error)
}

// A Session is a connection to an authenticated peer, or rather two: one for control frames and
// one for calls. Its methods may be called by many goroutines at once.
type Session struct {
	cfg       Config
	peerHello []byte
	limits    limits
	control   *joined
	mux       *yamux.Session
	out       *outbox
	in        *inbox
	dialBulk  func(context.Context) (*joined, error) // nil on the listening side
	forget    func()                                 // on the listening side: the ticket is worth nothing any more

	ctx     context.Context // of the calls that are served; ends with the session
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when the session is over
	dead    atomic.Bool   // the same, cheaper
	leaving atomic.Bool   // a goodbye was said, by either side: the rest is no surprise
	wg      sync.WaitGroup

	mu      sync.Mutex
	err     error // why the session is over; nil after a goodbye
	heard   bool  // the other side's goodbye: all that it sent has arrived
	handler Handler
	bulk    *link
	attempt *attempt // to make the bulk connection
	serving map[uint32]context.CancelCauseFunc
	calls   uint32 // the number of the last call made here
}

func newSession(cfg Config, h *handshake, limits limits, peerHello []byte) *Session {
	s := &Session{
		cfg: cfg, peerHello: peerHello, limits: limits, control: join(h.conn, h.wire, controlAhead),
		done: make(chan struct{}), serving: map[uint32]context.CancelCauseFunc{},
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// begin sets up yamux and its one stream. If it fails, nothing is left.
func (s *Session) begin(ctx context.Context, dialled bool) error {
	stream, err := s.open(ctx, dialled)
	if err != nil {
		s.end(s.gone(err))
		s.bury()
		return err
	}
	s.out = newOutbox(stream, s.control.checked, s.limits.frame)
	s.in = newInbox(stream, s.control.checked, s.limits.frame)
	s.wg.Go(s.write)
	s.wg.Go(s.beat)
	s.wg.Go(s.bury)
	return nil
}

func (s *Session) open(ctx context.Context, dialled bool) (stream *yamux.Stream, err error) {
	timeout := max(10*time.Second, s.cfg.HeartbeatTimeout)
	if s.mux, err = newMux(s.control, dialled, controlBacklog, controlWindow, timeout, s.cfg.Logger); err != nil {
		return nil, err
	}
	if dialled {
		// The connection is fresh, so this does not wait for anything but the kernel.
		stream, err = s.mux.OpenStream()
	} else {
		stream, err = s.mux.AcceptStreamWithContext(ctx)
	}
	if err != nil {
		return nil, lost(err)
	}
	return stream, nil
}

// What yamux grants the other side on the control connection: there is one stream.
const (
	controlWindow  = 256 << 10
	controlBacklog = 4
)

// newMux makes a yamux session. Its keepalive is off: there are heartbeats of our own, and where
// there are none, none are wanted.
func newMux(conn net.Conn, dialled bool, backlog int, window uint32, timeout time.Duration, logger *slog.Logger) (*yamux.Session, error) {
	cfg := yamux.DefaultConfig()
	cfg.EnableKeepAlive = false
	cfg.ConnectionWriteTimeout = timeout
	cfg.AcceptBacklog = backlog
	cfg.MaxStreamWindowSize = window
	cfg.StreamOpenTimeout = 0 // a goroutine a stream; calls have a ctx
	cfg.StreamCloseTimeout = 30 * time.Second
	cfg.LogOutput, cfg.Logger = nil, muxLogger{logger}
	if dialled {
		return yamux.Client(conn, cfg)
	}
	return yamux.Server(conn, cfg)
}

// A muxLogger passes on what yamux says. All that matters of it arrives as an error too.
type muxLogger struct{ *slog.Logger }

func (l muxLogger) Print(v ...any)                 { l.Debug("wire: yamux", slog.String("says", fmt.Sprint(v...))) }
func (l muxLogger) Printf(format string, v ...any) { l.Print(fmt.Sprintf(format, v...)) }
func (l muxLogger) Println(v ...any)               { l.Print(v...) }

// PeerHello is what the other side said at the handshake: its Config.Hello, or the reply of its
// Listener's hello function.
func (s *Session) PeerHello() []byte { return s.peerHello }

// RemoteAddr is the address of the other side.
func (s *Session) RemoteAddr() net.Addr { return s.control.RemoteAddr() }

// LocalAddr is the address of this side.
func (s *Session) LocalAddr() net.Addr { return s.control.LocalAddr() }

// Done is closed when the session is over, shortly before Handler.Closed is called.
func (s *Session) Done() <-chan struct{} { return s.done }

// Bytes is what went over the wire so far, on both connections, with all that protocols add.
func (s *Session) Bytes() (sent, received int64) {
	sent, received = s.control.wire.sent.Load(), s.control.wire.received.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bulk != nil {
		sent += s.bulk.conn.wire.sent.Load()
		received += s.bulk.conn.wire.received.Load()
	}
	return sent, received
}

// Start begins to deliver to h. It is called once. If the session is over already, h.Closed is
// all that is called, after the frames that arrived before.
func (s *Session) Start(h Handler) {
	s.mu.Lock()
	if s.handler == (discard{}) {
		s.wg.Go(func() { // somebody closes it, and was faster
			<-s.done
			h.Closed(nil)
		})
		s.mu.Unlock()
		return
	}
	if s.handler != nil {
		s.mu.Unlock()
		panic("wire: a session was started twice")
	}
	s.handler = h
	bulk := s.bulk
	// Not spawn: Closed has to be called on a session that is over, too.
	s.wg.Add(1)
	s.mu.Unlock()
	go s.read(h)
	if bulk != nil {
		s.spawn(func() { s.acceptCalls(bulk, h) })
	}
}

// spawn starts a goroutine of the session, unless that is over.
func (s *Session) spawn(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead.Load() {
		return false
	}
	s.wg.Go(fn)
	return true
}

// Send appends a frame to what is to be written; its payload is head and body, which are copied.
// It never blocks. What gathers while a write is under way goes out together in the next one.
// What is sent while the reading goroutine delivers a batch, by the handler or anybody else,
// goes out at the batch's end, after Idle, or after 64 frames. After the session's end frames
// are dropped. A payload over the limit, or over 1 GiB that waits, ends the session.
func (s *Session) Send(kind byte, head, body []byte) {
	if kind >= FirstKind {
		panic(fmt.Sprintf("wire: frames of kind %#x are the package's own", kind))
	}
	s.send(kind, head, body)
}

// Extend is Send of a payload that says the same when it follows others of its kind in one frame.
func (s *Session) Extend(kind byte, head, body []byte) {
	if kind >= FirstKind {
		panic(fmt.Sprintf("wire: frames of kind %#x are the package's own", kind))
	}
	if s.dead.Load() {
		return
	}
	if err := s.out.extend(kind, head, body); err != nil {
		s.end(s.gone(err))
	}
}

func (s *Session) send(kind byte, head, body []byte) {
	if s.dead.Load() {
		return
	}
	if err := s.out.send(kind, head, body); err != nil {
		s.end(s.gone(err))
	}
}

// Hold keeps back what is sent until Unhold, so that it is written together. Holds nest. One
// that lasts longer than a tenth of HeartbeatTimeout is overruled.
func (s *Session) Hold() { s.out.hold() }

// Unhold is the end of a Hold.
func (s *Session) Unhold() { s.out.release() }

// Queued is how many bytes wait to be written.
func (s *Session) Queued() int { return s.out.size() }

// write is the writer's goroutine. It ends with the session.
func (s *Session) write() {
	for {
		select {
		case <-s.out.wake:
		case <-s.done:
			return
		}
		if err := s.out.flush(); err != nil {
			s.deaf(err)
			return
		}
	}
}

// deaf is what becomes of a session that cannot write any more. What has arrived is delivered
// first: the other side may have said all, and goodbye, before it left.
func (s *Session) deaf(err error) {
	_ = s.mux.Close()
	s.mu.Lock()
	started := s.handler != nil
	s.mu.Unlock()
	if !started {
		s.end(s.gone(lost(err)))
	}
}

// read is the reading goroutine. It ends with the session, after Closed.
func (s *Session) read(h Handler) {
	defer s.wg.Done()
	err := s.deliver(h)
	switch {
	case err == nil:
		s.mu.Lock()
		s.heard = true
		s.mu.Unlock()
		s.linger()
		s.end(nil)
	case s.leaving.Load() && !isBroken(err):
		s.end(nil) // after Close, a peer that dies has only forgotten to say goodbye
	default:
		s.end(err)
	}
	<-s.done
	s.mu.Lock()
	err = s.err
	s.mu.Unlock()
	h.Closed(err)
}

func isBroken(err error) bool {
	var b *protocolError
	return errors.As(err, &b)
}

// deliver reads until the other side's goodbye (nil), or until no more can be read.
func (s *Session) deliver(h Handler) error {
	for {
		if err := s.in.fill(); err != nil {
			return s.gone(lost(err))
		}
		s.out.hold()
		frames, bye, err := s.batch(h)
		if frames > 0 && err == nil {
			h.Idle()
		}
		unwritten := s.out.releaseDirect()
		switch {
		case err != nil:
			return s.gone(err)
		case bye:
			return nil
		case unwritten != nil:
			s.deaf(unwritten)
		}
	}
}

// batch delivers all blocks that are complete.
func (s *Session) batch(h Handler) (frames int, bye bool, err error) {
	for {
		block, err := s.in.next()
		if block == nil {
			return frames, false, err
		}
		for len(block) > 0 {
			if s.dead.Load() {
				return 0, false, errClosed
			}
			var kind byte
			var payload []byte
			if kind, payload, block, err = s.in.split(block); err != nil {
				return frames, false, err
			}
			if kind >= FirstKind {
				if kind == kindGoodbye {
					return frames, true, nil
				}
				if err := s.own(kind, payload); err != nil {
					return frames, false, err
				}
				continue
			}
			if err := h.Frame(kind, payload); err != nil {
				return frames, false, err
			}
			// In a large batch the writer works beside the reader.
			if frames++; frames%64 == 0 {
				s.out.nudge()
			}
		}
	}
}

// linger answers the other side's goodbye and waits for it to leave. Nobody closes a connection
// before the other side has read it all: what is under way would be lost.
func (s *Session) linger() {
	s.leaving.Store(true)
	s.out.close(kindGoodbye)
	timeout := time.NewTimer(s.cfg.HeartbeatTimeout)
	defer timeout.Stop()
	select {
	case <-s.out.drained:
	case <-s.mux.CloseChan():
		return
	case <-s.done:
		return
	case <-timeout.C:
		return
	}
	s.control.closeWrite()
	select {
	case <-s.mux.CloseChan(): // the other side has closed, too
	case <-s.done:
	case <-timeout.C:
	}
}

// Close says goodbye: what was sent is written, calls under way fail, and it waits until the
// other side has read everything and said goodbye in turn, or ctx ends. Then the connections are
// closed and the session's goroutines have ended, but for handlers of calls that go on although
// their ctx has ended. It gives an error if the other side may have missed something. It must
// not be called by Frame, Idle or Closed, whose goroutine it waits for.
func (s *Session) Close(ctx context.Context) error {
	s.leaving.Store(true)
	s.out.close(kindGoodbye)
	s.mu.Lock()
	if s.handler == nil && !s.dead.Load() {
		// Nobody reads, and the other side's goodbye is to be read.
		s.handler = discard{}
		s.wg.Add(1)
		go s.read(s.handler)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.end(nil)
	}
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !s.heard {
		cause := errors.New("it ended without the other side's goodbye")
		if ctx.Err() != nil {
			cause = fmt.Errorf("%w before the other side's goodbye", context.Cause(ctx))
		}
		return fmt.Errorf("wire: close: %w", s.gone(cause))
	}
	return s.err
}

// Kill ends the session at once, without goodbye. Handler.Closed gets an ErrGone that wraps err.
// It does not wait, and may be called anywhere.
func (s *Session) Kill(err error) {
	if err == nil {
		err = errClosed
	}
	s.end(s.gone(err))
}

// gone is ErrGone with a cause.
func (s *Session) gone(cause error) error {
	if errors.Is(cause, ErrGone) {
		return cause
	}
	return &goneError{addr: s.RemoteAddr(), cause: cause}
}

// Err is why the session is over: nil while it is not, and an ErrGone afterwards.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dead.Load() {
		return nil
	}
	if s.err == nil {
		return &goneError{addr: s.RemoteAddr(), cause: errClosed}
	}
	return s.err
}

// end is the end of the session, for the first reason that is given.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.dead.Load() {
		s.mu.Unlock()
		return
	}
	s.err = err
	s.dead.Store(true)
	s.mu.Unlock()
	s.cancel(s.Err())
	close(s.done)
}

// bury is the goroutine that waits for the end, and closes what is open.
func (s *Session) bury() {
	<-s.done
	_ = s.control.Close()
	if s.mux != nil {
		_ = s.mux.Close()
	}
	s.mu.Lock()
	bulk := s.bulk
	s.mu.Unlock()
	if bulk != nil {
		bulk.close()
	}
	if s.out != nil {
		s.out.drop()
	}
	if s.forget != nil {
		s.forget()
	}
}

func silence(d time.Duration) error { return fmt.Errorf("%w for %v", ErrPeerSilent, d) }
