package wire

import (
	"errors"
	"fmt"
	"net"
)

var (
	// ErrAuth is that one side could not prove who it is: another token, or none, or a
	// certificate that the other side does not accept. Dialling again does not help.
	ErrAuth = errors.New("wire: not authenticated")
	// ErrVersion is that the two sides have no version of the protocol in common.
	ErrVersion = errors.New("wire: no common version of the protocol")
	// ErrHandshake is that what answered does not speak this protocol, or not in time.
	ErrHandshake = errors.New("wire: handshake failed")
	// ErrPeerSilent is why a session ended whose peer was not heard of for HeartbeatTimeout.
	ErrPeerSilent = errors.New("wire: the other side is silent")
	// ErrGone is that a session is over. What wraps it wraps its cause as well.
	ErrGone = errors.New("wire: the session is gone")
)

// A RefusedError is what a Listener's hello function made of this side's hello.
type RefusedError struct{ Message string }

func (e *RefusedError) Error() string { return "wire: refused by the other side: " + e.Message }

// A CallError is the error that the other side's handler returned for a call.
type CallError struct{ Message string }

func (e *CallError) Error() string { return e.Message }

// errClosed is the cause of ErrGone after a goodbye.
var errClosed = errors.New("it was closed")

// A goneError is ErrGone with what is known about it.
type goneError struct {
	addr  net.Addr
	cause error
}

func (e *goneError) Error() string {
	return fmt.Sprintf("%v (peer %v): %v", ErrGone, e.addr, e.cause)
}
func (e *goneError) Is(target error) bool { return target == ErrGone }
func (e *goneError) Unwrap() error        { return e.cause }

// lost makes one of all the ways in which yamux and net say that a connection is no more. Which
// it was is for people: a dead connection may read as a clean end, a reset, a broken pipe, a
// shutdown, or a timeout, and code that told them apart would be wrong the next time.
func lost(err error) error { return fmt.Errorf("the connection was lost: %v", err) }

// A protocolError is that the other side sent what it must not, or a byte fell over on the way.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return "the other side broke the protocol: " + e.text }

func broken(format string, args ...any) error {
	return &protocolError{text: fmt.Sprintf(format, args...)}
}
