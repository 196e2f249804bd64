package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
)

// A Parent is the process that started this one.
type Parent struct {
	secret  []byte
	gone    chan struct{}
	reports *os.File

	mu       sync.Mutex // guards reported, and is held while it is written
	reported bool
}

// What Inherited found, for Start.
var orphaned atomic.Bool // the variable was there, but not the pipes

// Inherited tells whether this process was started by Start, and by whom. It is to be called
// first in main, waits for the secret, and removes its mark from the environment. Calls after
// the first return the same.
//
// A parent that dies meanwhile is a parent that is gone, with no secret.
func Inherited() (c *Parent, ok bool) {
	c = inherited()
	return c, c != nil
}

var inherited = sync.OnceValue(func() *Parent {
	value, ok := os.LookupEnv(markVar)
	if !ok {
		return nil
	}
	os.Unsetenv(markVar)
	m, ok := parseMark(value)
	if !ok {
		orphaned.Store(true)
		return nil
	}
	lifeline, reports, ok := adopt(m)
	if !ok {
		orphaned.Store(true)
		return nil
	}
	c := &Parent{reports: reports, gone: make(chan struct{})}
	// Errors of either pipe have one reason, that the parent is gone, and Gone tells.
	_, _ = io.WriteString(reports, m.nonce)
	err := greet(lifeline, m.nonce)
	if err == nil {
		c.secret, err = receive(lifeline, maxSecret)
	}
	go func() { // ends with the parent
		if err == nil {
			_, _ = io.Copy(io.Discard, lifeline)
		}
		lifeline.Close()
		close(c.gone)
	}()
	return c
})

// mayStart refuses in a process that is a worker and does not know it.
func mayStart() error {
	if err := supported(); err != nil {
		return err
	}
	if _, ok := os.LookupEnv(markVar); ok {
		return fmt.Errorf("%w but never called remote.Init(): make it the first line of main and TestMain", ErrWorker)
	}
	if orphaned.Load() {
		return fmt.Errorf("%w, says %s in its environment, but its pipes to the parent are gone: "+
			"let what runs it pass on descriptors %d and %d, or unset the variable if it is there by mistake",
			ErrWorker, markVar, lifelineFD, reportsFD)
	}
	return nil
}

// Secret is Config.Secret. It is the caller's to keep, and to wipe.
func (c *Parent) Secret() []byte { return c.secret }

// Ready tells the parent that this process is ready, and what it has to report: at most 1 MiB.
// It may be called once.
func (c *Parent) Ready(report []byte) error {
	if len(report) > maxReport {
		return fmt.Errorf("child: a report of %d bytes is more than %d", len(report), maxReport)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reported {
		return errors.New("child: Ready was called before")
	}
	c.reported = true
	defer c.reports.Close()
	if err := send(c.reports, "", report); err != nil {
		return fmt.Errorf("child: report to the parent, which may be gone: %w", err)
	}
	return nil
}

// Gone is closed when the parent has died, or does not want this process any more.
func (c *Parent) Gone() <-chan struct{} { return c.gone }

// ExitWhenGone ends this process with the code once Gone is closed. Deferred functions do not run.
func (c *Parent) ExitWhenGone(code int) {
	go func() { // ends with the process
		<-c.gone
		os.Exit(code)
	}()
}

// IgnoreInterrupt makes this process deaf to SIGINT: Ctrl-C reaches the parent too, which decides.
// What this process starts is not deaf to it: the signal is caught here, not ignored, and what is
// ignored is inherited.
func (c *Parent) IgnoreInterrupt() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
}
