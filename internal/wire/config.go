package wire

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// A Config says how a side of a session behaves. The zero value of each field is a default.
type Config struct {
	// Token is a secret that both sides share. Nil: none is asked for; both sides must agree on that.
	Token []byte
	// TLS, if set, is spoken below everything else, in version 1.3 at least.
	TLS *tls.Config
	// Hello goes to the other side once that is authenticated, at most MaxHello bytes. Dial only:
	// what a Listener answers is made by its hello function.
	Hello []byte
	// HandshakeTimeout bounds making a connection, from dialling to the last byte of the
	// handshake. Defaults to 5 s.
	HandshakeTimeout time.Duration
	// HeartbeatTimeout is how long the other side may be silent before the session ends with
	// ErrPeerSilent. Each side beats every fifth of its own. Defaults to 10 s.
	HeartbeatTimeout time.Duration
	// MaxFrame is the most bytes of a control frame's payload, in both directions: the smaller of
	// the two sides' counts. Defaults to 1 MiB.
	MaxFrame int
	// MaxBody is the most bytes of a call's body, likewise. Defaults to 1 GiB.
	MaxBody int64
	// Logger hears of what ends without anybody being told: strangers' connections, mostly.
	// Defaults to none.
	Logger *slog.Logger
}

const (
	// MaxHello is the most bytes of a hello, and of the reply to one.
	MaxHello = 16 << 20
	// MaxQueued is how much may wait to be written before a session ends: its peer reads too slowly.
	MaxQueued = 1 << 30
	// MaxCalls is how many calls of a side run at once on a session. Further ones wait.
	MaxCalls = 16
	// FirstKind is the first kind of frame that belongs to this package. Callers use those below it.
	FirstKind = 0xF0
)

func (c Config) withDefaults() Config {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 5 * time.Second
	}
	if c.HeartbeatTimeout <= 0 {
		c.HeartbeatTimeout = 10 * time.Second
	}
	if c.MaxFrame <= 0 {
		c.MaxFrame = 1 << 20
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 1 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS13)
		// Records grow to their full 16 KiB at once: what is sent in small ones costs twice as much.
		c.TLS.DynamicRecordSizingDisabled = true
	}
	return c
}
