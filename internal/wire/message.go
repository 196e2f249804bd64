package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/hashicorp/yamux"
)

// Kinds of messages on the streams of the bulk connection.
const (
	messageRequest  = 1
	messageResponse = 2
	messageError    = 3 // the head is its text
)

// A message is a call or its answer: a prefix of kind (1), 3 bytes of 0, the call's number (4),
// the head's length (4) and the body's (8); the prefix's CRC32C (4); the head; the body; the
// CRC32C of both (4). The prefix has its own, since nobody would ever see the end of a length
// that is wrong. On TLS the checksums are 0 and nobody reads them.
const (
	messagePrefix = 20
	checksumSize  = 4
	bodyPiece     = 256 << 10 // of one write; it stays in the cache between the copies
	laneBuffer    = 32 << 10  // what is smaller is written together
)

type message struct {
	kind       byte
	call       uint32
	head, body []byte
}

// A lane is a stream of the bulk connection that is kept for one call after the other.
type lane struct {
	stream  *yamux.Stream
	w       *bufio.Writer
	checked bool
	limits  limits
}

func newLane(stream *yamux.Stream, checked bool, limits limits) *lane {
	return &lane{stream: stream, w: bufio.NewWriterSize(stream, laneBuffer), checked: checked, limits: limits}
}

// length is that of a body in parts.
func length(parts [][]byte) (n int64) {
	for _, p := range parts {
		n += int64(len(p))
	}
	return n
}

// write writes a message. What is large is written from where it is.
func (l *lane) write(kind byte, call uint32, head []byte, body [][]byte) error {
	writeMessage(l.w, l.checked, kind, call, head, body)
	return l.w.Flush()
}

// writeMessage leaves errors to w, which keeps them until it is flushed.
func writeMessage(w io.Writer, checked bool, kind byte, call uint32, head []byte, body [][]byte) {
	prefix := make([]byte, 0, messagePrefix+checksumSize)
	prefix = append(prefix, kind, 0, 0, 0)
	prefix = binary.LittleEndian.AppendUint32(prefix, call)
	prefix = binary.LittleEndian.AppendUint32(prefix, uint32(len(head)))
	prefix = binary.LittleEndian.AppendUint64(prefix, uint64(length(body)))
	var sum uint32
	if checked {
		sum = crc32.Checksum(prefix, castagnoli)
	}
	_, _ = w.Write(binary.LittleEndian.AppendUint32(prefix, sum))
	_, _ = w.Write(head)
	sum = 0
	if checked {
		sum = crc32.Checksum(head, castagnoli)
	}
	for _, part := range body {
		for len(part) > 0 {
			piece := part[:min(len(part), bodyPiece)]
			if checked {
				sum = crc32.Update(sum, castagnoli, piece)
			}
			if _, err := w.Write(piece); err != nil {
				return
			}
			part = part[len(piece):]
		}
	}
	_, _ = w.Write(binary.LittleEndian.AppendUint32(prefix[:0], sum))
}

// readMessage reads a message. Before there is memory for its parts, seen gets to know of it, if
// it is not nil. The error is io.EOF if there was none, and a protocolError if it is no message.
func readMessage(r io.Reader, checked bool, limits limits, seen func(call uint32)) (m message, err error) {
	var fixed [messagePrefix + checksumSize]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return m, err
	}
	prefix := fixed[:messagePrefix]
	if checked && crc32.Checksum(prefix, castagnoli) != binary.LittleEndian.Uint32(fixed[messagePrefix:]) {
		return m, broken("a wrong checksum of a message's prefix")
	}
	m.kind, m.call = prefix[0], binary.LittleEndian.Uint32(prefix[4:])
	headLen, bodyLen := binary.LittleEndian.Uint32(prefix[8:]), binary.LittleEndian.Uint64(prefix[12:])
	if m.kind < messageRequest || m.kind > messageError || int64(headLen) > int64(limits.frame) ||
		bodyLen > uint64(limits.body) || bodyLen > math.MaxInt {
		return m, broken("a message of kind %d with a head of %d bytes and a body of %d", m.kind, headLen, bodyLen)
	}
	if seen != nil {
		seen(m.call)
	}
	m.head = make([]byte, headLen)
	if _, err := io.ReadFull(r, m.head); err != nil {
		return m, short(err)
	}
	// The checksum follows each piece of the body while that is in the cache.
	m.body = room(bodyLen)
	var sum uint32
	if checked {
		sum = crc32.Checksum(m.head, castagnoli)
	}
	for at := 0; at < len(m.body); {
		got, err := r.Read(m.body[at:min(len(m.body), at+bodyPiece)])
		if checked {
			sum = crc32.Update(sum, castagnoli, m.body[at:at+got])
		}
		if at += got; err != nil && at < len(m.body) {
			return m, short(err)
		}
	}
	sums := fixed[:checksumSize]
	if _, err := io.ReadFull(r, sums); err != nil {
		return m, short(err)
	}
	if checked && sum != binary.LittleEndian.Uint32(sums) {
		return m, broken("a wrong checksum of a message with a body of %d bytes", bodyLen)
	}
	return m, nil
}

// short makes of an end within a message what it is.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// tooLarge says why a message is not even tried.
func (l limits) tooLarge(head []byte, body [][]byte) error {
	if len(head) > l.frame {
		return fmt.Errorf("wire: a call's head of %d bytes is over the %d that may be", len(head), l.frame)
	}
	if n := length(body); n > l.body {
		return fmt.Errorf("wire: a call's body of %d bytes is over the %d that may be", n, l.body)
	}
	return nil
}
