package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Sizes on the control stream. Frames travel in blocks: a block's header is the length of what
// follows (4), the CRC32C of that length (4), and the CRC32C of what follows (4); on TLS both are
// 0. The length has its own, since nobody would see the end of a wrong one. A frame's header is
// the length of its payload (4) and its kind (1). One checksum a frame would be 4 bytes to each
// 25 of a small one; a block takes a thousand of those.
const (
	blockHeader = 12
	frameHeader = 5
	blockSize   = 32 << 10  // a block is closed before a frame would make it larger; a large frame has one of its own
	pieceSize   = 256 << 10 // of one write: the stream's window. Frames gather in buffers of about that size
	keepBuffer  = pieceSize + blockHeader + blockSize
	keepBuffers = 4        // for the next time
	directBelow = 16 << 10 // what the reading goroutine writes itself
)

var (
	errQueue = errors.New("over 1 GiB waits to be written: the other side reads too slowly, or not at all")
	pastTime = time.Unix(1, 0)
)

// An outbox gathers frames and writes them. Sends append to buf; whoever holds the token
// `writing` takes what is there and writes it, so what gathers during a write goes out in the next.
//
//	nothing to write:  token free, rest, full and buf empty
//	gathering:         token free, one of them not empty, and the writer was woken, or held > 0: who
//	                   holds will see to it
//	writing:           token taken by the writer's goroutine or by the reader's
type outbox struct {
	stream  controlStream
	checked bool // blocks have checksums
	limit   int  // of a frame's payload
	wake    chan struct{}
	drained chan struct{} // closed once all was written after close
	patient bool          // writes wait for the window. Guarded by the token

	mu      sync.Mutex
	rest    []byte   // what a write left over; goes first
	full    [][]byte // buffers of blocks, in order; go next
	buf     []byte   // blocks; the header of the last is not filled in
	block   int      // where the last block starts
	last    int      // and in it the last frame, if buf is not empty
	spare   [][]byte // buffers that were written
	taken   []byte   // the buffer that is being written, or of which rest is a part
	queued  int      // bytes in rest, full, buf, and what is being written
	writing bool     // the token
	held    int      // batches under way: frames wait for their end
	woken   bool     // the writer was woken and has not looked yet
	closed  bool     // frames are dropped
	told    bool     // drained is closed
}

// controlStream is what an outbox needs of a yamux stream.
type controlStream interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
}

func newOutbox(stream controlStream, checked bool, limit int) *outbox {
	return &outbox{
		stream: stream, checked: checked, limit: limit, patient: true,
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
	}
}

// send appends a frame. Its error is a reason to end the session.
func (o *outbox) send(kind byte, head, body []byte) error {
	n := frameHeader + len(head) + len(body)
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	if n-frameHeader > o.limit {
		o.mu.Unlock()
		return broken("a frame of %d bytes was to be sent, where %d may be", n-frameHeader, o.limit)
	}
	if o.queued+n > MaxQueued {
		o.mu.Unlock()
		return errQueue
	}
	o.appendLocked(kind, head, body)
	wake := o.wakeLocked()
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
	return nil
}

// extend is send of a payload that may follow that of the last frame, in the same frame, if
// that is of the same kind and still here.
func (o *outbox) extend(kind byte, head, body []byte) error {
	o.mu.Lock()
	n := len(head) + len(body)
	if o.closed || len(o.buf) == 0 || o.buf[o.last+4] != kind || len(o.buf)-o.block+n > blockSize ||
		len(o.buf)-o.last-frameHeader+n > o.limit || o.queued+n > MaxQueued {
		o.mu.Unlock()
		return o.send(kind, head, body)
	}
	o.buf = append(append(o.buf, head...), body...)
	binary.LittleEndian.PutUint32(o.buf[o.last:], uint32(len(o.buf)-o.last-frameHeader))
	o.queued += n
	wake := o.wakeLocked()
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
	return nil
}

func (o *outbox) appendLocked(kind byte, head, body []byte) {
	n := frameHeader + len(head) + len(body)
	before := len(o.buf)
	if before == 0 || before-o.block+n > blockSize {
		o.sealLocked()
		if before > 0 && before+blockHeader+n > keepBuffer {
			o.full = append(o.full, o.buf)
			o.renewLocked()
			before = 0
		}
		o.block = before
		o.buf = append(o.buf, make([]byte, blockHeader)...)
	}
	o.last = len(o.buf)
	o.buf = binary.LittleEndian.AppendUint32(o.buf, uint32(len(head)+len(body)))
	o.buf = append(o.buf, kind)
	o.buf = append(o.buf, head...)
	o.buf = append(o.buf, body...)
	o.queued += len(o.buf) - before
}

// renewLocked gives buf fresh memory.
func (o *outbox) renewLocked() {
	o.buf, o.block = nil, 0
	if n := len(o.spare); n > 0 {
		o.buf, o.spare = o.spare[n-1], o.spare[:n-1]
	} else if len(o.full) > 0 {
		o.buf = make([]byte, 0, keepBuffer) // it comes thick and fast
	}
}

// pendingLocked is true if there is something to write.
func (o *outbox) pendingLocked() bool { return len(o.rest)+len(o.full)+len(o.buf) > 0 }

// sealLocked fills in the last block's length.
func (o *outbox) sealLocked() {
	if len(o.buf) > 0 {
		binary.LittleEndian.PutUint32(o.buf[o.block:], uint32(len(o.buf)-o.block-blockHeader))
	}
}

// wakeLocked is true if the writer has to be woken, which the caller does once mu is free.
func (o *outbox) wakeLocked() bool {
	if o.woken || o.writing || o.held > 0 || !o.pendingLocked() {
		return false
	}
	o.woken = true
	return true
}

// hold keeps frames back until as many releases.
func (o *outbox) hold() {
	o.mu.Lock()
	o.held++
	o.mu.Unlock()
}

// release ends a hold and has the writer write what has gathered.
func (o *outbox) release() {
	o.mu.Lock()
	o.held--
	wake := o.wakeLocked()
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
}

// nudge has the writer write what has gathered, held or not.
func (o *outbox) nudge() {
	o.mu.Lock()
	held := o.held
	o.held = 0
	wake := o.wakeLocked()
	o.held = held
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
}

// releaseDirect ends a hold of the reading goroutine and writes what has gathered there and
// then, if it is little and nobody writes. It does not wait for a peer that does not read: what
// the window has no room for is left to the writer.
func (o *outbox) releaseDirect() error {
	o.mu.Lock()
	o.held--
	if o.held > 0 || o.writing || len(o.buf) == 0 || len(o.rest)+len(o.full) > 0 || len(o.buf) > directBelow {
		wake := o.wakeLocked()
		o.mu.Unlock()
		if wake {
			o.wake <- struct{}{}
		}
		return nil
	}
	b := o.takeLocked()
	o.mu.Unlock()
	o.checksums(b)
	left, err := o.write(b, false)
	o.mu.Lock()
	o.putLocked(left)
	wake := o.wakeLocked()
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
	return err
}

// flush is the writer's turn: it writes until there is nothing more.
func (o *outbox) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.woken = false
	// If somebody else writes now, they look again when they are through.
	for !o.writing && o.pendingLocked() {
		b, fresh := o.rest, len(o.rest) == 0
		if fresh {
			b = o.takeLocked()
		}
		o.writing = true
		o.mu.Unlock()
		if fresh {
			o.checksums(b)
		}
		left, err := o.write(b, true)
		o.mu.Lock()
		o.putLocked(left)
		if err != nil {
			return err
		}
	}
	return nil
}

// takeLocked takes the token and the oldest buffer.
func (o *outbox) takeLocked() []byte {
	o.writing = true
	if len(o.full) > 0 {
		o.taken = o.full[0]
		o.full = slices.Delete(o.full, 0, 1)
		return o.taken
	}
	o.sealLocked()
	o.taken = o.buf
	o.renewLocked()
	return o.taken
}

// putLocked gives the token back, and what was left over.
func (o *outbox) putLocked(left []byte) {
	o.writing = false
	o.rest = left
	if len(left) > 0 {
		return
	}
	if len(o.spare) < keepBuffers && cap(o.taken) <= 2*keepBuffer {
		o.spare = append(o.spare, o.taken[:0])
	}
	o.taken = nil
	o.drainedLocked()
}

func (o *outbox) drainedLocked() {
	if o.closed && !o.writing && o.queued == 0 && !o.told {
		o.told = true
		close(o.drained)
	}
}

// close drops what is sent from here on. A last frame, if it is to be, goes out before that.
func (o *outbox) close(last ...byte) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return
	}
	for _, kind := range last {
		o.appendLocked(kind, nil, nil)
	}
	o.closed = true
	o.held = -1 << 30 // nothing holds it back any more
	o.drainedLocked()
	wake := o.wakeLocked()
	o.mu.Unlock()
	if wake {
		o.wake <- struct{}{}
	}
}

// drop lets go of what was not written.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.rest, o.full, o.buf, o.spare, o.block, o.queued = nil, nil, nil, nil, 0, 0
}

func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(o.queued, 0) // less, for a moment, if a write was under way at the end
}

// checksums fills in those of the blocks in b.
func (o *outbox) checksums(b []byte) {
	if !o.checked {
		return
	}
	for len(b) > 0 {
		end := blockHeader + int(binary.LittleEndian.Uint32(b))
		binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[:4], castagnoli))
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[blockHeader:end], castagnoli))
		b = b[end:]
	}
}

// write writes b, with the token, and gives back what it did not write. If it is not patient, it
// stops where it would have to wait for the window.
func (o *outbox) write(b []byte, patient bool) (left []byte, err error) {
	if patient != o.patient {
		o.patient = patient
		deadline := pastTime
		if patient {
			deadline = time.Time{}
		}
		if err := o.stream.SetWriteDeadline(deadline); err != nil {
			return b, err
		}
	}
	for len(b) > 0 {
		n, err := o.stream.Write(b[:min(len(b), pieceSize)])
		b = b[n:]
		o.mu.Lock()
		o.queued -= n
		o.mu.Unlock()
		if err != nil {
			if !patient && errors.Is(err, yamux.ErrTimeout) {
				return b, nil
			}
			return b, err
		}
	}
	return nil, nil
}
