package wire

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync/atomic"
)

// A counted connection is the lowest layer: it counts the bytes on the wire, and keeps the first
// that arrived, to be shown if they make no sense.
type counted struct {
	net.Conn
	sent, received atomic.Int64
	first          [40]byte
	seen           atomic.Int32 // of first
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.received.Add(int64(n))
		if seen := c.seen.Load(); seen < int32(len(c.first)) {
			c.seen.Add(int32(copy(c.first[seen:], p[:n])))
		}
	}
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

func (c *counted) writeBuffers(b *net.Buffers) error {
	n, err := b.WriteTo(c.Conn)
	c.sent.Add(n)
	return err
}

// A joined connection is what yamux gets: it writes a header and its body together, which yamux
// hands over one after the other. The second system call would cost a third of a round trip.
type joined struct {
	net.Conn // a *tls.Conn, or wire
	wire     *counted
	tls      bool
	// Written by yamux's one sending goroutine.
	head    [muxHeader]byte
	holding bool // head waits for its body
	scratch []byte
	vec     [2][]byte
	buffers net.Buffers
}

// The header of yamux's frames: version, type, flags (2), stream (4), length (4), big-endian.
const (
	muxHeader   = 12
	muxTypeData = 0
	// Up to here a copy costs less than what the kernel does for a second vector.
	copyBelow = 16 << 10
)

func join(conn net.Conn, wire *counted) *joined {
	_, secure := conn.(*tls.Conn)
	return &joined{Conn: conn, wire: wire, tls: secure}
}

func (j *joined) Write(p []byte) (int, error) {
	if !j.holding {
		if len(p) == muxHeader && p[1] == muxTypeData && binary.BigEndian.Uint32(p[8:]) > 0 {
			copy(j.head[:], p)
			j.holding = true
			return len(p), nil
		}
		return j.Conn.Write(p)
	}
	j.holding = false
	if j.tls || len(p) < copyBelow {
		j.scratch = append(append(j.scratch[:0], j.head[:]...), p...)
		if _, err := j.Conn.Write(j.scratch); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	j.vec = [2][]byte{j.head[:], p}
	j.buffers = j.vec[:]
	if err := j.wire.writeBuffers(&j.buffers); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close does without the farewell of TLS, which may wait for a peer that does not read: sessions
// have their own.
func (j *joined) Close() error { return j.wire.Conn.Close() }

// closeWrite tells the other side that nothing follows, where the connection can.
func (j *joined) closeWrite() {
	if half, ok := j.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	} else if half, ok := j.wire.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
