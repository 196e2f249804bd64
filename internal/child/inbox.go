package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// An inbox reads what a process reports.
type inbox struct {
	f       *os.File
	greeted atomic.Bool   // the process has found its parent
	come    chan struct{} // closed when report or err is there; never, if the pipe just ends
	ended   chan struct{} // closed when nothing will come any more
	report  []byte
	err     error // what came makes no sense
}

func newInbox(f *os.File, nonce string) *inbox {
	in := &inbox{f: f, come: make(chan struct{}), ended: make(chan struct{})}
	go func() { // ends with the report, when nobody has the pipe open any more, or at close
		defer close(in.ended)
		err := in.read(nonce)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) {
			return // the end of the process says more, and comes soon
		}
		if err != nil {
			in.err = fmt.Errorf("what it reported makes no sense, so it was killed: %w", err)
		}
		close(in.come)
	}()
	return in
}

func (in *inbox) read(nonce string) (err error) {
	if err := greet(in.f, nonce); err != nil {
		return err
	}
	in.greeted.Store(true)
	in.report, err = receive(in.f, maxReport)
	return err
}

// wait waits for the end of the pipe, and reports whether something came before.
func (in *inbox) wait(atMost time.Duration) bool {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-in.ended:
	case <-t.C: // somebody else has the pipe open
	}
	select {
	case <-in.come:
		return true
	default:
		return false
	}
}

// close ends the reading.
func (in *inbox) close() {
	in.f.Close()
	<-in.ended
}
