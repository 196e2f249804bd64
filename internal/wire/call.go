package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
)

// Call asks the other side's handler and waits for its response. The body may be in parts, which
// must not change until Call returns; the response is the caller's. At most MaxCalls run at
// once, further ones wait for their turn. The first one makes the bulk connection. When ctx ends,
// so does the call, with its cause, and the handler's ctx; a piece that is being written may
// hold it up for as long as the network takes for it. A *CallError is what the handler returned.
// After the end of the session it is ErrGone.
func (s *Session) Call(ctx context.Context, head []byte, body ...[]byte) (respHead, respBody []byte, err error) {
	if err := s.limits.tooLarge(head, body); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err := s.Err(); err != nil {
		return nil, nil, err
	}
	l, err := s.getLink(ctx)
	if err != nil {
		return nil, nil, err
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-s.done:
		return nil, nil, s.Err()
	}
	defer func() { <-l.slots }()
	ln, err := l.open(ctx, s)
	if err != nil {
		return nil, nil, s.callError(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.stream.SetDeadline(pastTime) })
	number := s.number()
	m, err := ln.call(number, head, body)
	if whole := stop(); err == nil && whole {
		l.keep(ln)
	} else {
		l.remove(ln)
	}
	switch {
	case err != nil:
		if ctx.Err() != nil {
			s.send(kindGiveUp, binary.LittleEndian.AppendUint32(nil, number), nil)
		}
		return nil, nil, s.callError(ctx, err)
	case m.kind == messageError:
		return nil, nil, &CallError{Message: string(m.head)}
	}
	return m.head, m.body, nil
}

func (s *Session) number() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.calls
}

// callError says why a call failed: its ctx, or the session, which ends if it is not over.
func (s *Session) callError(ctx context.Context, err error) error {
	switch {
	case isBroken(err):
		s.end(s.gone(err))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		if !s.leaving.Load() {
			s.end(s.gone(lost(err)))
		}
	}
	if gone := s.Err(); gone != nil {
		return gone
	}
	return s.gone(errClosed)
}

// call is the exchange itself.
func (ln *lane) call(number uint32, head []byte, body [][]byte) (message, error) {
	if err := ln.write(messageRequest, number, head, body); err != nil {
		return message{}, err
	}
	m, err := readMessage(ln.stream, ln.checked, ln.limits, nil)
	if err == nil && (m.kind == messageRequest || m.call != number) {
		err = broken("call %d was answered by a message of kind %d for %d", number, m.kind, m.call)
	}
	return m, err
}

// acceptCalls takes the streams that the other side opens, until the session ends.
func (s *Session) acceptCalls(l *link, h Handler) {
	places := make(chan struct{}, maxServed)
	for {
		select {
		case places <- struct{}{}:
		case <-s.done:
			return
		}
		stream, err := l.mux.AcceptStream()
		if err != nil {
			return // watchBulk knows
		}
		ln := l.add(stream, s)
		// It ends with the session, or with the handler if that heeds its ctx no sooner. Close
		// does not wait for it, since nobody can make a handler return.
		go func() {
			s.serve(ln, h)
			l.remove(ln)
			<-places
		}()
	}
}

// serve answers the calls that come on a stream, until there are no more.
func (s *Session) serve(ln *lane, h Handler) {
	for {
		ctx, cancel := context.WithCancelCause(s.ctx)
		var number uint32
		m, err := readMessage(ln.stream, ln.checked, ln.limits, func(call uint32) {
			number = call
			s.mu.Lock()
			s.serving[call] = cancel
			s.mu.Unlock()
		})
		if err == nil && m.kind != messageRequest {
			err = broken("a call of kind %d", m.kind)
		}
		if err == nil {
			err = s.answer(ctx, ln, h, m)
		}
		s.mu.Lock()
		delete(s.serving, number)
		s.mu.Unlock()
		cancel(nil)
		if isBroken(err) {
			s.end(s.gone(err))
		}
		if err != nil {
			return // the caller has given up, or the session is over
		}
	}
}

var errGivenUp = errors.New("wire: the caller has given up")

// answer has the handler make a response, and writes it.
func (s *Session) answer(ctx context.Context, ln *lane, h Handler, m message) error {
	head, body, err := h.Call(ctx, m.head, m.body)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		err = s.limits.tooLarge(head, body)
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.stream.SetDeadline(pastTime) })
	kind := byte(messageResponse)
	if err != nil {
		text := cut(err.Error())
		kind, head, body = messageError, []byte(text[:min(len(text), s.limits.frame)]), nil
	}
	if err := ln.write(kind, m.call, head, body); err != nil {
		return err
	}
	if !stop() {
		return io.ErrClosedPipe
	}
	return nil
}

// own handles the frames that are this package's.
func (s *Session) own(kind byte, payload []byte) error {
	switch kind {
	case kindPing:
	case kindBulk:
		if s.dialBulk == nil {
			return broken("the dialling side asked to be dialled")
		}
		s.wanted()
	case kindNoBulk:
		s.noBulk(errors.New(string(payload)))
	case kindGiveUp:
		if len(payload) != 4 {
			return broken("the number of a call has %d bytes", len(payload))
		}
		s.mu.Lock()
		cancel := s.serving[binary.LittleEndian.Uint32(payload)]
		s.mu.Unlock()
		if cancel != nil {
			cancel(errGivenUp)
		}
	default:
		return broken("a frame of kind %#x", kind)
	}
	return nil
}
