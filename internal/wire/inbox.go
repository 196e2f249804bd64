package wire

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// inboxSize is what is read at once: two blocks.
const inboxSize = 2 * (blockHeader + blockSize)

// An inbox takes blocks out of a stream. It holds one that is not complete yet, or several that
// arrived together.
type inbox struct {
	src     io.Reader
	checked bool
	limit   int // of a frame's payload
	buf     []byte
	r, w    int // buf[r:w] has arrived and was not taken
}

func newInbox(src io.Reader, checked bool, limit int) *inbox {
	return &inbox{src: src, checked: checked, limit: limit, buf: make([]byte, inboxSize)}
}

// fill waits until more has arrived.
func (in *inbox) fill() error {
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
		if len(in.buf) > inboxSize {
			in.buf = make([]byte, inboxSize)
		}
	case in.r > 0 && len(in.buf)-in.w < blockSize/2:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	case in.w == len(in.buf): // full, with a part of one block: memory follows what arrives
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil // if there was an error, it is still there the next time
	}
	return err
}

// next gives the frames of the next block that has arrived whole, or nil. They are valid until
// fill is called. A length is judged before there is memory for it, a checksum before anybody
// sees what it is of.
func (in *inbox) next() ([]byte, error) {
	b := in.buf[in.r:in.w]
	if len(b) < blockHeader {
		return nil, nil
	}
	n := binary.LittleEndian.Uint32(b)
	if in.checked && crc32.Checksum(b[:4], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, broken("a wrong checksum of a block's length")
	}
	if n < frameHeader || n > uint32(max(blockSize, frameHeader+in.limit)) {
		return nil, broken("a block of %d bytes", n)
	}
	size := blockHeader + int(n)
	if len(b) < size {
		return nil, nil
	}
	in.r += size
	block := b[blockHeader:size:size]
	if in.checked && crc32.Checksum(block, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, broken("a wrong checksum of a block")
	}
	return block, nil
}

// split cuts the first frame off a block.
func (in *inbox) split(block []byte) (kind byte, payload, rest []byte, err error) {
	if len(block) < frameHeader {
		return 0, nil, nil, broken("%d bytes behind the last frame of a block", len(block))
	}
	n := binary.LittleEndian.Uint32(block)
	if n > uint32(in.limit) || int(n) > len(block)-frameHeader {
		return 0, nil, nil, broken("a frame of %d bytes in a block with %d", n, len(block)-frameHeader)
	}
	end := frameHeader + int(n)
	return block[4], block[frameHeader:end:end], block[end:], nil
}
