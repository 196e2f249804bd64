package wire

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// maxHalfOpen is how many connections of a Listener may be before the end of their handshake.
// One more, and the oldest is dropped.
const maxHalfOpen = 64

// A Listener makes sessions of what arrives at a net.Listener. It also takes the second
// connections of the sessions that it made, so they need it for as long as they live: close it
// after them, and refuse newcomers before that by an error of the hello function.
type Listener struct {
	inner net.Listener
	cfg   Config
	hello func([]byte) ([]byte, error)
	ready chan *Session
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup // the accepting goroutine, which ends with inner, and a handshake each

	mu       sync.Mutex
	halfOpen []net.Conn // oldest first
	tickets  map[[ticketSize / 2]byte]ticket
}

// A ticket lets one second connection in, to its session. Half of it finds the session, half is
// compared in constant time.
type ticket struct {
	secret  [ticketSize / 2]byte
	session *Session
}

// Listen serves l, which it owns from here on. Hello is called for each peer that is
// authenticated, in a goroutine of its own, and its reply is what the peer's PeerHello gives.
// Its error is sent to the peer, as the text of a *RefusedError. A nil hello replies with nothing.
func Listen(l net.Listener, cfg Config, hello func(peerHello []byte) (reply []byte, err error)) *Listener {
	if hello == nil {
		hello = func([]byte) ([]byte, error) { return nil, nil }
	}
	ctx, stop := context.WithCancel(context.Background())
	ln := &Listener{
		inner: l, cfg: cfg.withDefaults(), hello: hello, ready: make(chan *Session),
		ctx: ctx, stop: stop, tickets: map[[ticketSize / 2]byte]ticket{},
	}
	ln.wg.Go(ln.accept)
	return ln
}

// Addr is where the listener listens.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept waits for the next session. After Close it gives net.ErrClosed.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	select {
	case s := <-l.ready:
		return s, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("wire: accept: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close stops listening, drops the handshakes that are not through and the sessions that nobody
// accepted, and waits for its goroutines. Sessions that were accepted live on, but a first call
// on one fails, since no second connection can be made for it any more.
func (l *Listener) Close() error {
	l.stop()
	err := l.inner.Close()
	l.mu.Lock()
	for _, c := range l.halfOpen {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *Listener) accept() {
	var pause time.Duration
	for {
		conn, err := l.inner.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Too many open files, mostly: they may become fewer.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.cfg.Logger.Warn("wire: cannot accept a connection", slog.Any("err", err), slog.Duration("pause", pause))
			select {
			case <-time.After(pause):
				continue
			case <-l.ctx.Done():
				return
			}
		}
		pause = 0
		l.enter(conn)
		l.wg.Go(func() {
			s, err := l.handshake(conn)
			l.leave(conn)
			switch {
			case err != nil:
				_ = conn.Close()
				l.cfg.Logger.Debug("wire: a connection came to nothing", slog.Any("peer", conn.RemoteAddr()), slog.Any("err", err))
			case s != nil:
				l.offer(s)
			}
		})
	}
}

// offer waits until somebody accepts the session, or it ends.
func (l *Listener) offer(s *Session) {
	select {
	case l.ready <- s:
	case <-l.ctx.Done():
		s.Kill(net.ErrClosed)
		s.wg.Wait()
	case <-s.done:
		s.wg.Wait()
	}
}

func (l *Listener) enter(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.halfOpen) >= maxHalfOpen {
		_ = l.halfOpen[0].Close()
		l.halfOpen = slices.Delete(l.halfOpen, 0, 1)
	}
	l.halfOpen = append(l.halfOpen, conn)
	if l.ctx.Err() != nil {
		_ = conn.Close()
	}
}

func (l *Listener) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.halfOpen, conn); i >= 0 {
		l.halfOpen = slices.Delete(l.halfOpen, i, i+1)
	}
}

// handshake gives a session, or nil if the connection was the second of one.
func (l *Listener) handshake(raw net.Conn) (s *Session, err error) {
	wire := &counted{Conn: raw}
	lift := bounded(l.ctx, raw, l.cfg.HandshakeTimeout)
	defer lift() // if it comes to nothing: l.ctx would remember it
	var conn net.Conn = wire
	if l.cfg.TLS != nil {
		secure := tls.Server(wire, l.cfg.TLS)
		if err := secure.Handshake(); err != nil {
			return nil, handshakeError(err, wire)
		}
		conn = secure
	}
	h, err := newHandshake(conn, wire, l.cfg.Token)
	if err != nil {
		return nil, err
	}
	if err := h.accept(); err != nil {
		return nil, err
	}
	kind, payload, err := h.readParcel()
	if err != nil {
		return nil, err
	}
	switch purpose := h.dialling.purpose(); {
	case purpose == forControl && kind == parcelHello && len(payload) >= limitsSize:
		return l.welcome(h, payload, lift)
	case purpose == forBulk && kind == parcelTicket && len(payload) == ticketSize:
		return nil, l.admit(h, payload, lift)
	}
	return nil, fmt.Errorf("%w: a message of kind %d and %d bytes where a hello or a ticket was due", ErrHandshake, kind, len(payload))
}

func (l *Listener) welcome(h *handshake, payload []byte, lift func() bool) (*Session, error) {
	reply, err := l.hello(payload[limitsSize:])
	if err == nil && len(reply) > MaxHello {
		err = fmt.Errorf("wire: a reply of %d bytes to a hello is over the %d that may be", len(reply), MaxHello)
	}
	if err != nil {
		_ = h.writeParcel(parcelRefusal, []byte(cut(err.Error())))
		return nil, err
	}
	var pass [ticketSize]byte
	rand.Read(pass[:])
	s := newSession(l.cfg, h, l.cfg.agreeLimits(payload), payload[limitsSize:])
	// The ticket must be good before the peer has it.
	l.issue(pass, s)
	s.forget = func() { l.revoke(pass) }
	if err := h.writeParcel(parcelWelcome, l.cfg.limits(), pass[:], reply); err != nil {
		l.revoke(pass)
		return nil, err
	}
	if !lift() {
		l.revoke(pass)
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.HandshakeTimeout)
	defer cancel()
	if err := s.begin(ctx, false); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return s, nil
}

func (l *Listener) admit(h *handshake, payload []byte, lift func() bool) error {
	s := l.redeem([ticketSize]byte(payload))
	if s == nil {
		err := errors.New("the ticket is not valid, or was used")
		_ = h.writeParcel(parcelRefusal, []byte(err.Error()))
		return err
	}
	if err := h.writeParcel(parcelAdmit); err != nil {
		return err
	}
	if !lift() {
		return net.ErrClosed
	}
	return s.attach(join(h.conn, h.wire, bulkAhead), false)
}

func (l *Listener) issue(pass [ticketSize]byte, s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickets[[ticketSize / 2]byte(pass[:])] = ticket{secret: [ticketSize / 2]byte(pass[ticketSize/2:]), session: s}
}

func (l *Listener) revoke(pass [ticketSize]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tickets, [ticketSize / 2]byte(pass[:]))
}

// redeem gives the session of a ticket, once.
func (l *Listener) redeem(pass [ticketSize]byte) *Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := [ticketSize / 2]byte(pass[:])
	t, ok := l.tickets[id]
	if !ok || subtle.ConstantTimeCompare(t.secret[:], pass[ticketSize/2:]) != 1 {
		return nil
	}
	delete(l.tickets, id)
	return t.session
}

// cut keeps the text of an error at a size that fits everywhere.
func cut(text string) string {
	const most = 64 << 10
	if len(text) > most {
		return text[:most] + " ... (cut)"
	}
	return text
}
