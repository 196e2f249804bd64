package wire

import "sync"

// Memory for bodies that come and go by the thousand, such as the arguments of a Map: fresh
// memory costs more than what is done with it, since the kernel has to make it and the
// collector to find it again.
const (
	bufferSize = 1<<20 + 64<<10
	bufferMin  = 64 << 10 // less is not worth keeping
)

var buffers sync.Pool // of *[]byte

// Buffer gives a buffer without content, and with some capacity or none.
func Buffer() []byte {
	if b, ok := buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// Recycle gives memory to Buffer, and to what is received, that nobody uses any more. It is
// never called for memory that somebody may still read.
func Recycle(b []byte) {
	if cap(b) >= bufferMin && cap(b) <= bufferSize {
		buffers.Put(&b)
	}
}

// room is memory for n bytes that will be overwritten.
func room(n uint64) []byte {
	if n >= bufferMin && n <= bufferSize {
		if b := Buffer(); uint64(cap(b)) >= n {
			return b[:n:n]
		}
	}
	return make([]byte, n)
}
