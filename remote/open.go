package remote

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/child"
)

func init() {
	open := func(ctx context.Context, cfg executor.Config) (executor.Executor, error) { return New(ctx, cfg) }
	executor.RegisterBackend("proc", open, "transport")
	executor.RegisterBackend("tcp", open)
	executor.RegisterBackend("tls", open)
	executor.RegisterBackend("unix", open)
}

// New opens an executor on worker processes: proc spawns them, and returns when all have
// joined; tcp, tls and unix connect to those that listen at cfg.Addrs, and return when
// all addresses were tried, for ConnectTimeout at most. Those that did not answer are
// tried again in the background; it is an error only if none did, or one refused the
// token. ctx bounds opening only.
func New(ctx context.Context, cfg executor.Config) (*Executor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	ex, err := newExecutor(cfg)
	if err != nil {
		return nil, err
	}
	switch cfg.Backend {
	case "proc":
		err = ex.spawnAll(ctx)
	case "tcp", "tls", "unix":
		if cfg.Backend == "tls" {
			if ex.tls, err = clientTLS(cfg); err != nil {
				break
			}
		}
		err = ex.dialAll(ctx)
	default:
		err = fmt.Errorf("%w: Config.Backend: %q; remote has proc, tcp, tls and unix", executor.ErrConfig, cfg.Backend)
	}
	if err != nil {
		ex.stop()
		<-ex.over
		return nil, err
	}
	return ex, nil
}

// spawnAll starts the worker processes of proc.
func (ex *Executor) spawnAll(ctx context.Context) error {
	transport := ex.cfg.Params.Get("transport")
	switch transport {
	case "", "tcp":
		transport = "tcp"
	case "unix":
		dir, err := os.MkdirTemp("", "nf") // short: a socket's path has 104 bytes
		if err != nil {
			return err
		}
		ex.dir = dir
	default:
		return fmt.Errorf("%w: transport: %q; there are tcp and unix", executor.ErrConfig, transport)
	}
	ex.token = []byte(rand.Text())
	var mu sync.Mutex
	var failed error
	k, err := child.Keep(ctx, ex.cfg.Workers, child.Events{
		Config: func(slot, incarnation int) child.Config { return ex.childConfig(transport, slot, incarnation) },
		Up: func(slot, incarnation int, p *child.Process) {
			if err := ex.joined(p); err != nil {
				ex.log.Error("remote: a worker that was started cannot be used", "worker", name(slot, incarnation), "err", err)
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
				p.Kill()
			}
		},
		Down: func(slot, incarnation int, exit error) {
			if ex.ctx.Err() == nil {
				ex.log.Warn("remote: a worker has ended", "worker", name(slot, incarnation), "err", exit)
			}
		},
	})
	if err != nil {
		if errors.Is(err, child.ErrWorker) {
			return fmt.Errorf("%w; it never called remote.Init(): make that the first line of main, and of TestMain", err)
		}
		return fmt.Errorf("remote: %w", err)
	}
	ex.mu.Lock()
	ex.keeper = k
	ex.mu.Unlock()
	mu.Lock()
	defer mu.Unlock()
	return failed
}

func name(slot, incarnation int) string {
	if incarnation == 1 {
		return "proc-" + strconv.Itoa(slot)
	}
	return fmt.Sprintf("proc-%d.%d", slot, incarnation)
}

func (ex *Executor) childConfig(transport string, slot, incarnation int) child.Config {
	addr := "127.0.0.1:0"
	if transport == "unix" {
		addr = filepath.Join(ex.dir, fmt.Sprintf("%d.%d", slot, incarnation))
	}
	worker := name(slot, incarnation)
	secret, err := json.Marshal(childSecret{
		Name: worker, Network: transport, Addr: addr, Threads: ex.cfg.Threads, Token: string(ex.token),
		MemoryLimit: ex.cfg.MemoryLimit, MaxValue: ex.cfg.MaxValueBytes + 1<<20, Handshake: ex.cfg.ConnectTimeout, Heartbeat: ex.cfg.HeartbeatTimeout,
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	log := ex.log.With(slog.String("worker", worker))
	return child.Config{
		Secret: secret, StartTimeout: ex.cfg.ConnectTimeout,
		Line: func(stream, line string) { log.Info(line, "stream", stream) },
	}
}

// joined connects to a worker that was started.
func (ex *Executor) joined(p *child.Process) error {
	var report childReport
	if err := json.Unmarshal(p.Ready(), &report); err != nil {
		return fmt.Errorf("%w: the report of a worker: %w", ErrHandshake, err)
	}
	_, err := ex.connect(ex.ctx, report.Network, report.Addr, p)
	return err
}

// endWorkers ends the processes of proc.
func (ex *Executor) endWorkers(left int) {
	ex.mu.Lock()
	k := ex.keeper
	ex.mu.Unlock()
	if k != nil {
		grace := time.Second
		if left > 0 {
			grace = 0
		}
		k.Close(grace)
	}
	if ex.dir != "" {
		if err := os.RemoveAll(ex.dir); err != nil {
			ex.log.Warn("remote: removing the directory of sockets", "err", err)
		}
	}
}

// dialAll connects to the workers that listen.
func (ex *Executor) dialAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ex.cfg.ConnectTimeout)
	defer cancel()
	errs := make([]error, len(ex.cfg.Addrs))
	var dials sync.WaitGroup
	for i, addr := range ex.cfg.Addrs {
		dials.Go(func() { errs[i] = ex.dialFor(ctx, addr) }) // ends with ctx
	}
	dials.Wait()
	answered := 0
	for i, err := range errs {
		var setup *executor.SetupError
		switch {
		case err == nil:
			answered++
		case errors.Is(err, ErrAuth), errors.As(err, &setup):
			return err
		default:
			ex.log.Warn("remote: a worker does not answer; it is tried again", "addr", ex.cfg.Addrs[i], "err", err)
		}
	}
	if answered == 0 {
		return errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil {
			ex.bg.Go(func() { ex.dialUntil(ex.cfg.Addrs[i]) }) // ends when it answers, or with Close
		}
	}
	return nil
}

// dialFor dials until there is an answer, or ctx ends.
func (ex *Executor) dialFor(ctx context.Context, addr string) error {
	wait := 20 * time.Millisecond
	for {
		_, err := ex.connect(ctx, ex.cfg.Backend, addr, nil)
		var setup *executor.SetupError
		var op *net.OpError
		if err == nil || errors.Is(err, ErrAuth) || errors.As(err, &setup) || !errors.As(err, &op) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

// dialUntil dials until there is an answer.
func (ex *Executor) dialUntil(addr string) {
	wait := 100 * time.Millisecond
	for {
		select {
		case <-ex.ctx.Done():
			return
		case <-time.After(wait):
		}
		ctx, cancel := context.WithTimeout(ex.ctx, ex.cfg.ConnectTimeout)
		_, err := ex.connect(ctx, ex.cfg.Backend, addr, nil)
		cancel()
		if err == nil {
			return
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// redial has a worker that is gone dialled again, if it is one that listens.
func (ex *Executor) redial(w *worker) {
	if w.process != nil || ex.ctx.Err() != nil {
		return
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if !ex.closed {
		ex.bg.Go(func() { ex.dialUntil(w.addr) }) // ends when it answers, or with Close
	}
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
