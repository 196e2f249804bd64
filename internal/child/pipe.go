package child

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// What is on the two pipes:
//
//	lifeline, parent to child:  nonce, length, secret; then nothing until it ends
//	reports, child to parent:   nonce, when it has found its parent; length, report, when it is ready
//
// A length is 4 bytes, the highest first.
const (
	markVar    = "NEARFAR_CHILD"
	lifelineFD = 3
	reportsFD  = 4

	maxSecret = 1 << 30
	maxReport = 1 << 20
)

// A mark is what the variable says: which pipes were inherited, and what comes first in them.
type mark struct {
	nonce, lifeline, reports string
}

func newMark(lifeline, reports *os.File) (mark, error) {
	l, err := identity(lifeline)
	if err != nil {
		return mark{}, err
	}
	r, err := identity(reports)
	return mark{nonce: rand.Text(), lifeline: l, reports: r}, err
}

func (m mark) String() string { return m.nonce + " " + m.lifeline + " " + m.reports }

func parseMark(s string) (m mark, ok bool) {
	f := strings.Fields(s)
	if len(f) != 3 {
		return mark{}, false
	}
	return mark{nonce: f[0], lifeline: f[1], reports: f[2]}, true
}

// send writes a greeting and a frame, either of which may be left out.
func send(w io.Writer, nonce string, data []byte) error {
	b := append(make([]byte, 0, len(nonce)+4+len(data)), nonce...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := w.Write(append(b, data...))
	return err
}

// greet reads the nonce.
func greet(r io.Reader, nonce string) error {
	b := make([]byte, len(nonce))
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != nonce {
		return errors.New("what came over the pipe is not of this parent and worker")
	}
	return nil
}

// receive reads a frame.
func receive(r io.Reader, limit uint32) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > limit {
		return nil, fmt.Errorf("%d bytes are announced, and at most %d are taken", n, limit)
	}
	var b bytes.Buffer // grows as they come
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
