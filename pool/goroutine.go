package pool

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutineID is the number of this goroutine, read from the first line of its stack.
// It takes about a microsecond, and is asked for once a goroutine. It is used for
// nothing but telling a Close from inside a task, which would wait for itself.
func goroutineID() uint64 {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	if i := bytes.IndexByte(line, ' '); i > 0 {
		if id, err := strconv.ParseUint(string(line[:i]), 10, 64); err == nil {
			return id
		}
	}
	return 0
}

// Inside reports whether the caller is a task of p, on the goroutine that p gave it.
func (p *Pool) Inside() bool {
	id := goroutineID()
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.all {
		if r.goroutine == id {
			return true
		}
	}
	return false
}

// Idle reports whether nothing runs and nothing is queued.
func (p *Pool) Idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idleLocked()
}

func (p *Pool) idleLocked() bool { return len(p.free) == p.live && len(p.lending) == 0 }
