package main

import (
	"bufio"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed python/*.py
var pythonFiles embed.FS

// pythons are tried in turn: Debian's packages are for its own Python alone, which need
// not be the first in PATH.
var pythons = []string{"/usr/bin/python3", "python3"}

// errMissing is that a peer is not installed here.
type errMissing string

func (e errMissing) Error() string { return string(e) }

// A pythonPeer is a process that measures, and is asked in lines of JSON.
type pythonPeer struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
	dir   string
	end   sync.Once
}

type pythonAnswer struct {
	Versions map[string]string
	Missing  string
	Error    string
	Seconds  []float64
}

// startPython starts peer.py with an argument, in the first Python that has what it needs.
func startPython(arg string) func() (*far, error) {
	return func() (*far, error) {
		var missing []string
		for _, python := range pythons {
			path, err := exec.LookPath(python)
			if err != nil {
				missing = append(missing, "not installed: no "+filepath.Base(python))
				continue
			}
			f, err := startPythonAt(path, arg)
			var no errMissing
			if !errors.As(err, &no) {
				return f, err
			}
			missing = append(missing, string(no))
		}
		return nil, errMissing(missing[0])
	}
}

func startPythonAt(path, arg string) (*far, error) {
	dir, err := os.MkdirTemp("", "peers-python-")
	if err != nil {
		return nil, err
	}
	p := &pythonPeer{dir: dir}
	files, err := fs.Sub(pythonFiles, "python")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	p.cmd = exec.Command(path, "-W", "ignore", filepath.Join(dir, "peer.py"), arg)
	p.cmd.Stderr = os.Stderr
	// A group of its own, so that its workers can be stopped and killed with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout io.Reader
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		if stdout, err = p.cmd.StdoutPipe(); err == nil {
			err = p.cmd.Start()
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	p.lines = bufio.NewReader(stdout)
	hello, err := p.read()
	if err == nil && hello.Missing != "" {
		err = errMissing(hello.Missing)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p.far(hello.Versions), nil
}

func (p *pythonPeer) far(versions map[string]string) *far {
	type request struct {
		Do    string  `json:"do"`
		N     int     `json:"n"`
		Item  float64 `json:"item"`
		Chunk int     `json:"chunk"`
	}
	ask := func(r request) ([]time.Duration, error) {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if _, err := p.stdin.Write(append(b, '\n')); err != nil {
			return nil, err
		}
		a, err := p.read()
		if err != nil {
			return nil, err
		}
		ds := make([]time.Duration, len(a.Seconds))
		for i, s := range a.Seconds {
			ds[i] = time.Duration(s * 1e9)
		}
		return ds, nil
	}
	one := func(r request) (time.Duration, error) {
		ds, err := ask(r)
		if err == nil && len(ds) != 1 {
			err = errors.New("not one time")
		}
		if err != nil {
			return 0, err
		}
		return ds[0], nil
	}
	return &far{
		versions: versions,
		pid:      p.cmd.Process.Pid,
		submit: func(n int, item time.Duration) (time.Duration, error) {
			return one(request{Do: "submit", N: n, Item: item.Seconds()})
		},
		trips: func(n int) ([]time.Duration, error) { return ask(request{Do: "trips", N: n}) },
		mapped: func(n int, item time.Duration, chunk int) (time.Duration, error) {
			return one(request{Do: "map", N: n, Item: item.Seconds(), Chunk: chunk})
		},
		send: func(n int) (time.Duration, error) { return one(request{Do: "send", N: n}) },
		loop: func(n int, item time.Duration) (time.Duration, error) {
			return one(request{Do: "loop", N: n, Item: item.Seconds()})
		},
		// An idle dask takes some of the CPU all the time: it beats, balances and samples.
		pause:  func() { p.signal(syscall.SIGSTOP) },
		resume: func() { p.signal(syscall.SIGCONT) },
		close:  p.close,
	}
}

func (p *pythonPeer) read() (pythonAnswer, error) {
	var a pythonAnswer
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return a, fmt.Errorf("the Python process said no more: %w", err)
	}
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(strings.TrimSpace(a.Error))
	}
	return a, nil
}

// signal reaches the process and its workers. The process leads its group, so the group
// is there for as long as the process was not waited for.
func (p *pythonPeer) signal(s syscall.Signal) { syscall.Kill(-p.cmd.Process.Pid, s) }

// close gives it 5 s to end by itself, and then kills its group. Its workers hold its
// stdout too, so the end of that is the end of all. The process is waited for last: until
// then its id cannot be another's.
func (p *pythonPeer) close() {
	p.end.Do(func() {
		p.signal(syscall.SIGCONT)
		p.stdin.Close()
		timer := time.AfterFunc(5*time.Second, func() { p.signal(syscall.SIGKILL) })
		p.lines.WriteTo(io.Discard)
		timer.Stop()
		p.signal(syscall.SIGKILL)
		p.cmd.Wait()
		os.RemoveAll(p.dir)
	})
}
