package wire

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash/crc32"
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

// A joined connection is what yamux gets. It writes a header and its body together, which yamux
// hands over one after the other: the second system call would cost a third of a round trip. And
// unless TLS does it, it puts a CRC32C behind each header: yamux drops what belongs to no stream,
// and waits for what a wrong length announces, so a flipped byte would lose data, or hang.
type joined struct {
	net.Conn // a *tls.Conn, or wire
	wire     *counted
	checked  bool
	// Written by yamux's one sending goroutine.
	head    [muxHeader + checksumSize]byte
	holding bool // head waits for its body
	scratch []byte
	vec     [2][]byte
	buffers net.Buffers
	// Read by yamux's one receiving goroutine.
	in     *bufio.Reader
	ahead  [muxHeader]byte
	header []byte // of ahead: verified, and not handed over yet
	body   int64  // of its frame, to come
}

// The header of yamux's frames: version, type, flags (2), stream (4), length (4), big-endian.
const (
	muxHeader   = 12
	muxTypeData = 0
	// Up to here a copy costs less than what the kernel does for a second vector.
	copyBelow = 16 << 10
	// What is read ahead makes one system call of the header and body of a frame, where frames
	// are small. Large bodies would only be copied once more.
	controlAhead = 64 << 10
	bulkAhead    = 4 << 10
)

func join(conn net.Conn, wire *counted, ahead int) *joined {
	_, secure := conn.(*tls.Conn)
	return &joined{Conn: conn, wire: wire, checked: !secure, in: bufio.NewReaderSize(conn, ahead)}
}

// bodyOf is how many bytes follow a header.
func bodyOf(header []byte) int64 {
	if header[1] != muxTypeData {
		return 0
	}
	return int64(binary.BigEndian.Uint32(header[8:]))
}

func (j *joined) Write(p []byte) (int, error) {
	if !j.holding {
		if len(p) != muxHeader {
			return 0, fmt.Errorf("yamux wrote %d bytes in place of a header", len(p))
		}
		copy(j.head[:], p)
		if j.holding = bodyOf(p) > 0; j.holding {
			return len(p), nil
		}
		if _, err := j.Conn.Write(j.sealed()); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	j.holding = false
	if !j.checked || len(p) < copyBelow {
		j.scratch = append(append(j.scratch[:0], j.sealed()...), p...)
		if _, err := j.Conn.Write(j.scratch); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	j.vec = [2][]byte{j.sealed(), p}
	j.buffers = j.vec[:]
	if err := j.wire.writeBuffers(&j.buffers); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sealed is the header as it goes out.
func (j *joined) sealed() []byte {
	if !j.checked {
		return j.head[:muxHeader]
	}
	binary.LittleEndian.PutUint32(j.head[muxHeader:], crc32.Checksum(j.head[:muxHeader], castagnoli))
	return j.head[:]
}

func (j *joined) Read(p []byte) (int, error) {
	if !j.checked {
		return j.in.Read(p)
	}
	for len(j.header) == 0 && j.body == 0 {
		b, err := j.in.Peek(muxHeader + checksumSize)
		if err != nil {
			return 0, err
		}
		if crc32.Checksum(b[:muxHeader], castagnoli) != binary.LittleEndian.Uint32(b[muxHeader:]) {
			return 0, broken("a wrong checksum of a header")
		}
		j.header, j.body = j.ahead[:copy(j.ahead[:], b)], bodyOf(b)
		_, _ = j.in.Discard(len(b))
	}
	if len(j.header) > 0 {
		n := copy(p, j.header)
		if j.header = j.header[n:]; len(j.header) > 0 {
			return n, nil
		}
		j.header = nil
		// What has arrived of the body may come along.
		more := min(int64(len(p)-n), j.body, int64(j.in.Buffered()))
		if more == 0 {
			return n, nil
		}
		got, err := j.in.Read(p[n : n+int(more)])
		j.body -= int64(got)
		return n + got, err
	}
	n, err := j.in.Read(p[:min(int64(len(p)), j.body)])
	j.body -= int64(n)
	return n, err
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
