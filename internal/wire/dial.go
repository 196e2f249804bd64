package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Dial makes a session with a Listener: network is "tcp" or "unix". It returns once both sides
// are authenticated and the listener has accepted this side's hello, after HandshakeTimeout at
// most, or when ctx ends. Errors are ErrAuth, ErrVersion, ErrHandshake, a *RefusedError, what
// ended ctx, or what net says if nobody listens.
func Dial(ctx context.Context, network, addr string, cfg Config) (*Session, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Hello) > MaxHello {
		return nil, fmt.Errorf("wire: a hello of %d bytes is over the %d that may be", len(cfg.Hello), MaxHello)
	}
	if cfg.TLS != nil && cfg.TLS.ServerName == "" && !cfg.TLS.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		cfg.TLS.ServerName = host
	}
	var s *Session
	err := connect(ctx, network, addr, forControl, cfg, func(h *handshake) error {
		if err := h.writeParcel(parcelHello, cfg.limits(), cfg.Hello); err != nil {
			return err
		}
		payload, err := h.welcome(parcelWelcome)
		if err != nil {
			return err
		}
		if len(payload) < limitsSize+ticketSize {
			return fmt.Errorf("%w: a welcome of %d bytes", ErrHandshake, len(payload))
		}
		s = newSession(cfg, h, cfg.agreeLimits(payload), payload[limitsSize+ticketSize:])
		ticket := payload[limitsSize : limitsSize+ticketSize]
		// The name may lead elsewhere by now: the second connection goes where the first one went.
		if network != "unix" {
			addr = h.wire.RemoteAddr().String()
		}
		s.dialBulk = func(ctx context.Context) (conn *joined, err error) {
			err = connect(ctx, network, addr, forBulk, cfg, func(h *handshake) error {
				if err := h.writeParcel(parcelTicket, ticket); err != nil {
					return err
				}
				if _, err := h.welcome(parcelAdmit); err != nil {
					return err
				}
				conn = join(h.conn, h.wire, bulkAhead)
				return nil
			})
			return conn, err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("wire: dial %s %s: %w", network, addr, err)
	}
	if err := s.begin(ctx, true); err != nil {
		return nil, fmt.Errorf("wire: dial %s %s: %w: %w", network, addr, ErrHandshake, err)
	}
	return s, nil
}

// welcome reads what the listener makes of what it was told.
func (h *handshake) welcome(want byte) ([]byte, error) {
	kind, payload, err := h.readParcel()
	switch {
	case err != nil:
		return nil, err
	case kind == parcelRefusal:
		return nil, &RefusedError{Message: string(payload)}
	case kind != want:
		return nil, fmt.Errorf("%w: a message of kind %d where %d was due", ErrHandshake, kind, want)
	}
	return payload, nil
}

// connect makes a connection, authenticates both sides, and lets finish do the rest. If that
// fails, the connection is closed; else it belongs to whom finish gave it to.
func connect(ctx context.Context, network, addr string, purpose byte, cfg Config, finish func(*handshake) error) (err error) {
	d := net.Dialer{Timeout: cfg.HandshakeTimeout}
	raw, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return ended(ctx, err)
	}
	wire := &counted{Conn: raw}
	lift := bounded(ctx, raw, cfg.HandshakeTimeout)
	defer func() {
		if !lift() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = raw.Close()
		}
	}()
	var conn net.Conn = wire
	if cfg.TLS != nil {
		secure := tls.Client(wire, cfg.TLS)
		if err := secure.Handshake(); err != nil {
			return ended(ctx, handshakeError(err, wire))
		}
		conn = secure
	}
	h, err := newHandshake(conn, wire, cfg.Token)
	if err != nil {
		return err
	}
	if err := h.dial(purpose); err != nil {
		return ended(ctx, err)
	}
	return ended(ctx, finish(h))
}

// ended is err, and that ctx ended if that is why.
func ended(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	deadline, ok := ctx.Deadline()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case ok && !time.Now().Before(deadline):
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err) // the connection's clock was faster than ctx's
	}
	return err
}
