package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// workerFlag, as the first argument, makes this program a worker of the kind that
// follows it.
const workerFlag = "-worker"

// atStart runs before anything else in main and TestMain: a program that is its own
// worker becomes one there.
var atStart = []func(){serveAsWorker}

// workerKinds are what a worker can be. Each listens or connects, says its address by
// ready, and serves until its process ends.
var workerKinds = map[string]func(args []string, ready func(addr string)) error{
	"tcp":       serveTCP,
	"rpc":       serveRPC,
	"grpc":      serveGRPC,
	"nats":      serveNATS,
	"jetstream": serveJetStream,
}

// serveAsWorker returns only in a process that was not started as a worker. A worker
// ends when its standard input does, so none outlives its client.
func serveAsWorker() {
	if len(os.Args) < 3 || os.Args[1] != workerFlag {
		return
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	serve, ok := workerKinds[os.Args[2]]
	err := errors.New("no such kind")
	if ok {
		err = serve(os.Args[3:], func(addr string) { fmt.Println(addr) })
	}
	fmt.Fprintf(os.Stderr, "peers: worker %s: %v\n", os.Args[2], err)
	os.Exit(1)
}

// A worker is a process that was started here.
type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

// startWorkers starts two workers of one thread each. stop ends them and waits for them.
func startWorkers(kind string, args ...string) (addrs []string, stop func(), err error) {
	var ws []*worker
	stop = func() {
		for _, w := range ws {
			w.stop()
		}
	}
	for range farWorkers {
		w, err := startWorker(kind, args...)
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("starting a worker: %w", err)
		}
		ws = append(ws, w)
		addrs = append(addrs, w.addr)
	}
	return addrs, stop, nil
}

func startWorker(kind string, args ...string) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: exec.Command(self, append([]string{workerFlag, kind}, args...)...)}
	w.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	w.cmd.Stderr = os.Stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if w.addr, err = firstLine(stdout); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

// firstLine waits 20 s for it. The goroutine that reads ends with the process.
func firstLine(r io.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	c := make(chan read, 1)
	go func() {
		line, err := bufio.NewReader(r).ReadString('\n')
		c <- read{strings.TrimSpace(line), err}
	}()
	select {
	case got := <-c:
		return got.line, got.err
	case <-time.After(20 * time.Second):
		return "", errors.New("said no address within 20 s")
	}
}

// stop kills the process, which has nothing to lose, and waits for it.
func (w *worker) stop() {
	w.stdin.Close()
	w.cmd.Process.Kill()
	w.cmd.Wait()
}
