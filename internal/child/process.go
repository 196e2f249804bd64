package child

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to start.
type Config struct {
	// Path is the program. Defaults to os.Executable.
	Path string
	// Args are its arguments, of which the first is its name. Defaults to os.Args.
	Args []string
	// Dir is its working directory. Defaults to this process's.
	Dir string
	// Env is its environment. Defaults to os.Environ, less what begins with NEARFAR_.
	Env []string
	// Secret is handed over a pipe, and is in neither arguments nor environment.
	// At most 1 GiB.
	Secret []byte
	// Line is called with each line of the process's "stdout" and "stderr", without its
	// end, one call after another. A line of more than 64 KiB is cut there, and marked.
	// While Line does not return, the process may wait to print, and Done waits: it must
	// not wait for the process in turn.
	Line func(stream, line string)
	// StartTimeout is how long the process may take until it calls Ready. Defaults to 30 s.
	StartTimeout time.Duration
}

const (
	defaultStartTimeout = 30 * time.Second
	// outputDelay bounds how long output is read that others hold open when a process has ended.
	outputDelay = time.Second
)

// ErrWorker is returned by Start in a process that was itself started by Start, but has not
// become a worker: else it would start others without end.
var ErrWorker = errors.New("child: this process was itself started as a worker")

// A Process is a worker process, as its parent sees it.
type Process struct {
	pid      int
	ready    []byte
	done     chan struct{}
	exit     *ExitError // written before done is closed
	lifeline io.Closer  // when it is closed, the process sees its parent gone
	signal   func(os.Signal) error
}

// Start starts a process and returns when it has called Ready. If it ends first, takes longer
// than cfg.StartTimeout, or ctx ends, then it is killed and waited for, and the error says what
// happened; errors.As finds the *ExitError in it, if there was a process. Once Start has
// returned, ctx is of no concern.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := mayStart(); err != nil {
		return nil, err
	}
	path := cfg.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("child: start of this program: %w", err)
		}
	}
	if ctx.Err() != nil {
		return nil, startError(path, context.Cause(ctx))
	}
	p, in, err := launch(path, cfg)
	if err != nil {
		return nil, startError(path, err)
	}
	defer in.close()

	why := p.await(ctx, in, cmp.Or(cfg.StartTimeout, defaultStartTimeout))
	if why == nil {
		p.ready = in.report
		return p, nil
	}
	p.Stop(0)
	if !in.greeted.Load() {
		why = fmt.Errorf("%w, before it called remote.Init() (is that the first line of main and TestMain?)", why)
	}
	return nil, startError(path, fmt.Errorf("%w: %w", why, p.exit))
}

// await waits for the report, and says why it will not come.
func (p *Process) await(ctx context.Context, in *inbox, timeout time.Duration) error {
	expired := time.NewTimer(timeout)
	defer expired.Stop()
	select {
	case <-in.come:
		return in.err
	case <-p.done:
		if in.wait(outputDelay) { // all that it has sent is in the pipe
			return in.err
		}
		return errors.New("it ended before it was ready")
	case <-expired.C:
		return fmt.Errorf("it was not ready after %v, and was killed", timeout)
	case <-ctx.Done():
		return fmt.Errorf("%w, and it was killed before it was ready", context.Cause(ctx))
	}
}

func startError(path string, err error) error { return fmt.Errorf("child: start of %s: %w", path, err) }

// launch starts the process, and what serves it until it has ended.
func launch(path string, cfg Config) (_ *Process, _ *inbox, err error) {
	if len(cfg.Secret) > maxSecret {
		return nil, nil, fmt.Errorf("a secret of %d bytes is more than %d", len(cfg.Secret), maxSecret)
	}
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func() (r, w *os.File) {
		if err != nil {
			return nil, nil
		}
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w
	}
	theirLife, ourLife := pipe()
	ourReports, theirReports := pipe()
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	mark, err := newMark(theirLife, theirReports)
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	out := &output{line: cfg.Line}
	stdout, stderr := &stream{out: out, name: "stdout"}, &stream{out: out, name: "stderr"}
	cmd := exec.Command(path)
	cmd.Args = slices.Clone(os.Args)
	if len(cfg.Args) > 0 {
		cmd.Args = cfg.Args
	}
	cmd.Dir = cfg.Dir
	cmd.Env = append(environ(cfg.Env), markVar+"="+mark.String())
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = outputDelay
	cmd.ExtraFiles = []*os.File{theirLife, theirReports} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		closeAll()
		return nil, nil, err
	}
	theirLife.Close()
	theirReports.Close()

	p := &Process{pid: cmd.Process.Pid, done: make(chan struct{}), lifeline: ourLife, signal: cmd.Process.Signal}
	var told sync.WaitGroup
	told.Go(func() { // ends when the process has read it all, or the lifeline is closed
		send(ourLife, mark.nonce, cfg.Secret) // whether it arrived, Ready tells
	})
	go func() { // ends when the process has, and its output
		err := cmd.Wait()
		stdout.flush()
		stderr.flush()
		ourLife.Close()
		told.Wait()
		p.end(newExitError(p.pid, cmd.ProcessState, err, out.tail.String()))
	}()
	return p, newInbox(ourReports, mark.nonce), nil
}

// environ is env, or that of this process less what is meant for it alone.
func environ(env []string) []string {
	drop := "NEARFAR_"
	if env == nil {
		env = os.Environ()
	} else {
		drop = markVar + "="
	}
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, drop) })
}

// end says that the process has ended, and how.
func (p *Process) end(exit *ExitError) {
	p.exit = exit
	close(p.done)
}

// PID is the process's number.
func (p *Process) PID() int { return p.pid }

// Ready is what the process reported when it called Ready.
func (p *Process) Ready() []byte { return p.ready }

// Done is closed when the process has ended and all that it printed was delivered. What others
// print who hold its output open is delivered for a second more.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the process ended, or nil as long as Done is open.
func (p *Process) Exit() *ExitError {
	select {
	case <-p.done:
		return p.exit
	default:
		return nil
	}
}

// Terminate sends SIGTERM: the process is to end what it does, and then itself.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// Kill sends SIGKILL, which also ends a process that is stopped.
func (p *Process) Kill() { p.signal(os.Kill) }

// Stop closes the lifeline, so that the process sees its parent gone; kills the process if it
// hasn't ended within grace; and returns when Done is closed. It may be called again, and
// together: the shortest grace counts.
func (p *Process) Stop(grace time.Duration) {
	p.lifeline.Close()
	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-p.done:
			return
		case <-t.C:
		}
	}
	p.Kill()
	<-p.done
}
