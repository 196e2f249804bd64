package remote_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// patience is how long a test waits for what must happen: as long as is certain to be
// enough on a slow machine, since only a failure takes it.
const patience = 60 * time.Second

// watch ends the program with all stacks if the test hangs, and gives it a ctx that ends
// before that.
func watch(t *testing.T) context.Context {
	t.Helper()
	timer := time.AfterFunc(2*patience, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New(t.Name()+" took too long"))
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > patience {
			buf := make([]byte, 1<<20)
			t.Fatalf("%s: not after %v\n\n%s", what, patience, buf[:runtime.Stack(buf, true)])
		}
	}
}

// open opens an executor that says nothing, and is closed in the end.
func open(t *testing.T, dsn string, change ...func(*executor.Config)) executor.Executor {
	t.Helper()
	ex, err := tryOpen(t, dsn, change...)
	require.NoError(t, err)
	return ex
}

func tryOpen(t *testing.T, dsn string, change ...func(*executor.Config)) (executor.Executor, error) {
	t.Helper()
	cfg, err := executor.ParseDSN(dsn)
	require.NoError(t, err)
	cfg.CloseGrace = 300 * time.Millisecond
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	ex, err := executor.New(watch(t), cfg)
	if err == nil {
		t.Cleanup(func() {
			require.NoError(t, ex.Close())
			s := ex.Stats()
			require.Equal(t, s.Submitted, s.Finished+s.Failed+s.Cancelled, "submitted is not what became of it: %+v", s)
		})
	}
	return ex, err
}

// A listening worker process, which is this program again.
type listening struct {
	*exec.Cmd
	addr string // tcp://127.0.0.1:1234
	name string

	line   chan string // that says that it listens
	mu     sync.Mutex
	stderr strings.Builder
	ended  chan struct{} // closed when it has been reaped
}

// startWorker starts one, and kills it in the end.
func startWorker(t *testing.T, spec string, env ...string) *listening {
	t.Helper()
	w := launchWorker(t, spec, env...)
	select {
	case text := <-w.line:
		var ok bool
		w.name, w.addr, ok = strings.Cut(strings.TrimPrefix(text, "nearfar: worker "), " listening on ")
		require.True(t, ok, "the worker said %q", text)
	case <-w.ended:
		t.Fatalf("the worker has ended: %v: %s", w.ProcessState, w.said())
	case <-time.After(patience):
		t.Fatal("the worker does not listen")
	}
	return w
}

// launchWorker starts one that need not come to listen.
func launchWorker(t *testing.T, spec string, env ...string) *listening {
	t.Helper()
	w := &listening{Cmd: exec.Command(os.Args[0]), line: make(chan string, 1), ended: make(chan struct{})}
	w.Env = append(append(plainEnv(), "NEARFAR_WORKER="+spec), env...)
	pipe, err := w.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, w.Start())
	go w.read(pipe) // ends with the process
	t.Cleanup(func() {
		_ = w.Process.Kill()
		<-w.ended
	})
	return w
}

// read keeps what the worker says on stderr, and reaps it.
func (w *listening) read(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		w.mu.Lock()
		fmt.Fprintln(&w.stderr, lines.Text())
		w.mu.Unlock()
		if strings.HasPrefix(lines.Text(), "nearfar: worker ") && strings.Contains(lines.Text(), " listening on ") {
			w.line <- lines.Text()
		}
	}
	_ = w.Wait()
	close(w.ended)
}

func (w *listening) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stderr.String()
}

// plainEnv is the environment without what is nearfar's.
func plainEnv() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "NEARFAR_") {
			env = append(env, v)
		}
	}
	return env
}

// holder is the worker that has the most bytes.
func holder(t *testing.T, ex executor.Executor) (best executor.WorkerStats) {
	t.Helper()
	for _, w := range ex.Stats().Workers {
		if w.StoredBytes > best.StoredBytes {
			best = w
		}
	}
	require.NotZero(t, best.PID, "no worker holds anything")
	return best
}

// kill9 kills a process that this test has started, if indirectly.
func kill9(t *testing.T, pid int) {
	t.Helper()
	require.Positive(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// The functions.

func init() {
	executor.Register(squared)
	executor.Register(spin)
	executor.Register(vector)
	executor.Register(lengthOf)
	executor.Register(total)
	executor.Register(double)
	executor.Register(passGate)
	executor.Register(die)
	executor.Register(dieAt)
	executor.Register(dieOnce)
	executor.Register(ownPID)
}

func squared(_ context.Context, x int) (int, error) { return x * x, nil }

// spin is squared that takes a while.
func spin(_ context.Context, x int) (int, error) {
	for began := time.Now(); time.Since(began) < 100*time.Microsecond; {
	}
	return x * x, nil
}

// vector has 8 bytes an element.
func vector(_ context.Context, n int) ([]float64, error) {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(i)
	}
	return v, nil
}

func lengthOf(_ context.Context, v []float64) (int, error) { return len(v), nil }

func total(_ context.Context, v [][]float64) (sum float64, err error) {
	for _, v := range v {
		for _, x := range v {
			sum += x
		}
	}
	return sum, nil
}

func double(_ context.Context, v []float64) ([]float64, error) {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = 2 * v[i]
	}
	return w, nil
}

// A Gate is files by which a task and a test talk.
type Gate struct {
	Began string // to which the task appends its process, if not ""
	Until string // that it waits for, if not ""
	Size  int    // of its result
}

func passGate(ctx context.Context, g Gate) ([]float64, error) {
	if g.Began != "" {
		if err := appendLine(g.Began, fmt.Sprint(os.Getpid())); err != nil {
			return nil, err
		}
	}
	for g.Until != "" && !exists(g.Until) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return vector(ctx, g.Size)
}

// die kills its process.
func die(_ context.Context, how string) (int, error) {
	switch how {
	case "exit":
		fmt.Fprintln(os.Stderr, "die was told to exit")
		os.Exit(3)
	case "panic":
		go panic("die was told to panic")
	default:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	select {}
}

// A Mine is an item of which one kills.
type Mine struct{ I, Kills int }

func dieAt(ctx context.Context, m Mine) (int, error) {
	if m.I == m.Kills {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return spin(ctx, m.I)
}

// dieOnce kills its process unless the file is there.
// It gives back the attempt.
func dieOnce(ctx context.Context, file string) (int, error) {
	if !exists(file) {
		if err := appendLine(file, "died"); err != nil {
			return 0, err
		}
		return die(ctx, "kill")
	}
	info, _ := executor.TaskFromContext(ctx)
	return info.Attempt, nil
}

func ownPID(context.Context, struct{}) (int, error) { return os.Getpid(), nil }

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// lines is how many lines a file has; 0 if there is none.
func lines(file string) int {
	data, _ := os.ReadFile(file)
	return strings.Count(string(data), "\n")
}

func tempFile(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }
