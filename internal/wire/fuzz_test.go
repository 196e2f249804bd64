package wire

import (
	"bytes"
	"io"
	"net"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var allocSample = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}

func heapAllocs() uint64 {
	metrics.Read(allocSample)
	return allocSample[0].Value.Uint64()
}

// blocks is what an outbox makes of frames.
func blocks(checked bool, frames ...string) []byte {
	var b bytes.Buffer
	o := newOutbox(toBuffer{&b}, checked, 1<<20)
	for i, f := range frames {
		_ = o.send(byte(i), []byte(f), nil)
	}
	_ = o.flush()
	return b.Bytes()
}

type toBuffer struct{ *bytes.Buffer }

func (toBuffer) SetWriteDeadline(time.Time) error { return nil }

// FuzzInbox throws data at the reader of frames, in pieces. What it takes for frames is what an
// outbox would make these bytes of.
func FuzzInbox(f *testing.F) {
	for _, checked := range []bool{false, true} {
		good := blocks(checked, "", "a frame", string(make([]byte, 300)))
		f.Add(good, checked, 7)
		f.Add(good[:len(good)-1], checked, 100)
		f.Add(bytes.Repeat(good, 2), checked, 1000)
		large := blocks(checked, string(make([]byte, 2*inboxSize)))
		f.Add(large[:100], checked, 33)
	}
	f.Fuzz(func(t *testing.T, data []byte, checked bool, piece int) {
		piece = min(max(piece, 1), 1<<16)
		before := heapAllocs()
		in := newInbox(&pieces{data: data, size: piece}, checked, 1<<20)
		var again [][]byte
		var kinds []byte
		for {
			if err := in.fill(); err != nil {
				require.Equal(t, io.EOF, err)
				break
			}
			broken := false
			for !broken {
				block, err := in.next()
				if err != nil {
					broken = true
				}
				if block == nil {
					break
				}
				for len(block) > 0 {
					var kind byte
					var payload []byte
					if kind, payload, block, err = in.split(block); err != nil {
						broken = true
						break
					}
					kinds, again = append(kinds, kind), append(again, bytes.Clone(payload))
				}
			}
			if broken {
				break
			}
		}
		total := 0
		for _, p := range again {
			total += len(p) + frameHeader
		}
		require.LessOrEqual(t, total, len(data))
		require.Less(t, heapAllocs()-before, uint64(1<<20+64*len(data)))
		require.Len(t, kinds, len(again))
	})
}

// pieces reads as much as size at a time.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}

// FuzzMessage throws data at the reader of calls.
func FuzzMessage(f *testing.F) {
	limits := limits{frame: 1 << 10, body: 1 << 20}
	for _, checked := range []bool{false, true} {
		var b bytes.Buffer
		writeMessage(&b, checked, messageRequest, 3, []byte("head"), [][]byte{[]byte("bo"), []byte("dy")})
		f.Add(b.Bytes(), checked)
		f.Add(b.Bytes()[:b.Len()-1], checked)
		f.Add(bytes.Repeat(b.Bytes()[:8], 4), checked)
	}
	f.Fuzz(func(t *testing.T, data []byte, checked bool) {
		before := heapAllocs()
		m, err := readMessage(bytes.NewReader(data), checked, limits, nil)
		require.Less(t, heapAllocs()-before, uint64(2<<20+8*len(data)))
		if err != nil {
			return
		}
		var again bytes.Buffer
		writeMessage(&again, checked, m.kind, m.call, m.head, [][]byte{m.body})
		// Bytes without meaning aside, it is what was read.
		a, b := again.Bytes(), bytes.Clone(data[:again.Len()])
		clear(b[1:4])
		if !checked {
			clear(b[messagePrefix : messagePrefix+checksumSize])
			clear(b[len(b)-checksumSize:])
		}
		if !checked || bytes.Equal(data[1:4], []byte{0, 0, 0}) {
			require.Equal(t, a, b)
		}
	})
}

// script is a connection whose other side says data, whatever it hears.
type script struct {
	net.Conn
	in io.Reader
}

func (s script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error)      { return len(p), nil }
func (s script) SetReadDeadline(time.Time) error  { return nil }
func (s script) SetWriteDeadline(time.Time) error { return nil }

// FuzzHandshake throws data at both sides of a handshake, and at what follows it. Without the
// token nobody gets through.
func FuzzHandshake(f *testing.F) {
	for _, side := range []byte{dialler, listener} {
		g := newGreeting(side, forControl, secret)
		clear(g[16:])
		f.Add(append(g[:], make([]byte, 1+proofSize)...), side == dialler)
		f.Add(g[:20], side == dialler)
		g[10] = 0
		f.Add(g[:], side == dialler)
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false)
	f.Add([]byte("\x05\x00\x00\x00\x00\x00\x00\x00\x01hell"), true)
	f.Fuzz(func(t *testing.T, data []byte, listening bool) {
		before := heapAllocs()
		wire := &counted{Conn: script{in: bytes.NewReader(data)}}
		h, err := newHandshake(wire, wire, secret)
		require.NoError(t, err)
		if listening {
			err = h.accept()
		} else {
			err = h.dial(forControl)
		}
		require.Error(t, err)
		wire = &counted{Conn: script{in: bytes.NewReader(data)}}
		h, err = newHandshake(wire, wire, secret)
		require.NoError(t, err)
		_, payload, err := h.readParcel()
		require.True(t, err != nil || len(payload) <= len(data))
		require.Less(t, heapAllocs()-before, uint64(1<<20+16*len(data)))
	})
}

// FuzzJoined throws data at what stands between a connection and yamux.
func FuzzJoined(f *testing.F) {
	var b bytes.Buffer
	wire := &counted{Conn: sink{&b, nil}}
	j := join(wire, wire, controlAhead)
	header := make([]byte, muxHeader)
	header[11] = 5
	_, _ = j.Write(header)
	_, _ = j.Write([]byte("hello"))
	f.Add(b.Bytes(), 3)
	f.Add(b.Bytes(), 4096)
	f.Add(b.Bytes()[:14], 12)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = min(max(piece, 1), 1<<16)
		wire := &counted{Conn: script{in: bytes.NewReader(data)}}
		j := join(wire, wire, controlAhead)
		p := make([]byte, piece)
		total := 0
		for {
			n, err := j.Read(p)
			total += n
			if err != nil {
				break
			}
			require.Positive(t, n)
		}
		require.LessOrEqual(t, total, len(data))
	})
}

type sink struct {
	io.Writer
	net.Conn
}

func (s sink) Write(p []byte) (int, error) { return s.Writer.Write(p) }
