package child

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

const (
	maxLine   = 64 << 10
	cutMark   = " ... (cut at 64 KiB)"
	tailLines = 20
	tailLine  = 1 << 10 // of a line in a tail
)

// An output is what a process prints, line by line.
type output struct {
	line func(stream, line string)

	mu   sync.Mutex // held while line is called
	tail tail
}

func (o *output) emit(name, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name == "stderr" {
		o.tail.add(line)
	}
	if o.line != nil {
		o.line(name, line)
	}
}

// A stream cuts one of the two into lines. One goroutine writes to it.
type stream struct {
	out  *output
	name string
	buf  []byte // a line that has not ended yet
	skip bool   // the rest of the line: it was too long
}

func (s *stream) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece, rest, ended := bytes.Cut(b, []byte{'\n'})
		s.add(piece)
		if ended {
			s.flush()
			s.skip = false
		}
		b = rest
	}
	return n, nil
}

// add adds to the line. One that is too long is not kept until it ends: that may be never.
func (s *stream) add(piece []byte) {
	if s.skip {
		return
	}
	// ended says that a line is over, which an empty one is too: hence not nil.
	if s.buf == nil {
		s.buf = make([]byte, 0, len(piece))
	}
	room := maxLine - len(s.buf)
	s.buf = append(s.buf, piece[:min(room, len(piece))]...)
	if len(piece) > room {
		s.out.emit(s.name, string(s.buf)+cutMark)
		s.buf, s.skip = nil, true
	}
}

// flush delivers what there is of a line.
func (s *stream) flush() {
	if s.buf == nil {
		return
	}
	s.out.emit(s.name, strings.TrimSuffix(string(s.buf), "\r"))
	s.buf = nil
}

// A tail keeps the lines of stderr that tell most about an end: 20 from the first that begins
// a crash of the Go runtime, and the last 20.
type tail struct {
	n     int      // lines so far
	crash []string // from line number at
	at    int
	last  [tailLines]string // line i is at i%tailLines
}

func (t *tail) add(line string) {
	if len(line) > tailLine {
		line = line[:tailLine] + " ..."
	}
	begins := strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")
	if begins && t.crash == nil {
		t.at = t.n
	}
	if len(t.crash) > 0 && len(t.crash) < tailLines || begins && t.crash == nil {
		t.crash = append(t.crash, line)
	}
	t.last[t.n%tailLines] = line
	t.n++
}

// String joins the lines, and says where some are left out.
func (t *tail) String() string {
	from := max(0, t.n-tailLines)
	var lines []string
	if t.crash != nil && t.at < from {
		lines = append(lines, t.crash...)
		if gap := from - (t.at + len(t.crash)); gap > 0 {
			lines = append(lines, fmt.Sprintf("... (%d lines)", gap))
		} else {
			lines = lines[:from-t.at]
		}
	}
	for i := from; i < t.n; i++ {
		lines = append(lines, t.last[i%tailLines])
	}
	return strings.Join(lines, "\n")
}
