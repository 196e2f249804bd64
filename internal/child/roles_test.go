//go:build unix

package child_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nearfar/nearfar/internal/child"
)

// What a process can be that a test started. One that returns exits with code 0.
var roles map[string]func()

func init() {
	roles = map[string]func(){
		// Workers that serve.
		"worker":   func() { worker(); select {} },
		"busy":     func() { worker(); spin() },
		"sleeper":  func() { worker(); nap() },
		"crowd":    crowd,
		"stubborn": func() { inherit(true); select {} },
		"teller":   tell,
		"drainer":  drain,
		"breeder":  breed,

		// Workers that don't get that far.
		"exits":     func() {},
		"exits 5":   func() { os.Exit(5) },
		"panics":    func() { inherit(false); panic("no disk") },
		"killed":    func() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} },
		"hangs":     func() { inherit(false); select {} },
		"forgetful": func() { nap() },
		"recursive": recurse,
		"careless":  careless,
		"recursive wrapped": func() {
			if _, ok := child.Inherited(); ok {
				fail("this is a worker")
			}
			recurse()
		},
		"ready once": func() { inherit(true); os.Exit(6) },
		"babbler":    func() { os.NewFile(4, "").WriteString(strings.Repeat("x", 100)); nap() },
		"mute":       func() { os.NewFile(4, "").Close(); nap() },

		// Others.
		"printer":    printer,
		"grandchild": grandchild,
		"stray":      stray,
		"negligent":  negligent,
		"parent":     parent,
		"hasty":      func() { parents("worker", "busy", "sleeper") },
	}
}

// inherit becomes a worker.
func inherit(ready bool) *child.Parent {
	p, ok := child.Inherited()
	if !ok {
		fail("this is no worker")
	}
	if again, ok := child.Inherited(); again != p || !ok {
		fail("Inherited says something else the second time")
	}
	if ready {
		if err := p.Ready(nil); err != nil {
			fail("%v", err)
		}
		if p.Ready(nil) == nil {
			fail("Ready may be called twice")
		}
	}
	return p
}

// worker is a worker that ends with code 7 when its parent is gone, and says hello on the socket
// that the test has given it, if any. It runs the given before it is ready.
func worker(also ...func()) {
	p := inherit(false)
	p.ExitWhenGone(7)
	if path := os.Getenv("CHILD_TEST_SOCKET"); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			fail("%v", err)
		}
		fmt.Fprintln(c, os.Getpid()) // and it stays open as long as this process is there
		keep = append(keep, c)
	}
	for _, f := range also {
		go f()
	}
	if err := p.Ready(nil); err != nil {
		fail("%v", err)
	}
}

var keep []any

func spin() {
	for i := 0; ; i++ {
		if i < 0 {
			i = 0
		}
	}
}

// crowd is a worker with a hundred busy goroutines.
func crowd() {
	worker(slices.Repeat([]func(){spin}, 100)...)
	spin()
}

// nap blocks the thread in the kernel.
func nap() {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		fail("%v", err)
	}
	for {
		_, _ = syscall.Read(p[0], make([]byte, 1)) // nobody writes
	}
}

// A told is what a worker knows of itself.
type told struct {
	Secret    []byte
	Args, Env []string
	Dir       string
	PID       int
}

func tell() {
	p := inherit(false)
	dir, _ := os.Getwd()
	b, err := json.Marshal(told{Secret: p.Secret(), Args: os.Args, Env: os.Environ(), Dir: dir, PID: os.Getpid()})
	if err != nil {
		fail("%v", err)
	}
	if err := p.Ready(b); err != nil {
		fail("%v", err)
	}
	<-p.Gone()
	os.Exit(0)
}

// drain exits with code 9 on SIGTERM, and minds SIGINT or not.
func drain() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	p, _ := child.Inherited()
	if os.Getenv("CHILD_TEST_DEAF") != "" {
		p.IgnoreInterrupt()
	}
	// What it starts is as it would be elsewhere.
	out, err := exec.Command("/bin/sh", "-c", "kill -INT $$; echo deaf").CombinedOutput()
	fmt.Printf("%s %v\n", out, err)
	inherit(true)
	<-term
	os.Exit(9)
}

// breed starts a process that lives on, and has its output.
func breed() {
	p, _ := child.Inherited()
	cmd := exec.Command(os.Args[0])
	mine, _ := os.Readlink("/proc/self/fd/3")
	other, _ := os.Readlink("/proc/self/fd/4")
	cmd.Env = append(os.Environ(), roleVar+"=grandchild", "CHILD_TEST_PIPES="+mine+" "+other)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fail("%v", err)
	}
	p.ExitWhenGone(7)
	if err := p.Ready(fmt.Append(nil, cmd.Process.Pid)); err != nil {
		fail("%v", err)
	}
	select {}
}

func grandchild() {
	time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // if the test died, and kills it no more
	_, marked := os.LookupEnv("NEARFAR_CHILD")
	var pipes []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && slices.Contains(strings.Fields(os.Getenv("CHILD_TEST_PIPES")), to) {
			pipes = append(pipes, l)
		}
	}
	fmt.Println("grandchild", marked, pipes)
	nap()
}

// recurse is a program that starts workers and forgot to ask whether it is one.
func recurse() {
	_, err := child.Start(context.Background(), as("recursive"))
	if !errors.Is(err, child.ErrWorker) {
		fail("it started another: %v", err)
	}
	fail("%v", err)
}

// careless is a program that nobody started as a worker, and that would be one without end.
func careless() {
	f, err := os.OpenFile(os.Getenv("CHILD_TEST_COUNT"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fail("%v", err)
	}
	f.WriteString(".")
	_, err = child.Keep(context.Background(), 1, child.Events{})
	fail("%v", err)
}

func printer() {
	inherit(true)
	fmt.Print("one\r\ntwo\n\nfour\n")
	fmt.Println(strings.Repeat("x", 64<<10))
	fmt.Println(strings.Repeat("y", 200<<10))
	for range 10_000 {
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
	}
	fmt.Print("the end")
	os.Exit(0)
}

// stray is a program with a variable that is not meant for it.
func stray() {
	if p, ok := child.Inherited(); ok || p != nil {
		fail("it takes itself for a worker")
	}
	if _, ok := os.LookupEnv("NEARFAR_CHILD"); ok {
		fail("the variable is still there")
	}
	_, err := child.Start(context.Background(), as("exits"))
	if !errors.Is(err, child.ErrWorker) {
		fail("it starts workers: %v", err)
	}
	fmt.Println(err)
	b, err := io.ReadAll(os.NewFile(3, ""))
	fmt.Println("left:", string(b), err)
}

// negligent is a parent that does not want to know how its children end.
func negligent() {
	signal.Ignore(syscall.SIGCHLD)
	p, err := child.Start(context.Background(), as("worker"))
	if err != nil {
		fail("%v", err)
	}
	p.Stop(0)
	fmt.Println(p.Exit())
}

// parent starts a worker of each kind, and ends as it is told.
func parent() {
	go parents("worker", "busy", "sleeper")
	end := make([]byte, 1)
	os.Stdin.Read(end)
	switch end[0] {
	case 'x':
		os.Exit(0)
	case 'p':
		panic("the parent panics")
	}
	select {}
}

func parents(kinds ...string) {
	k, err := child.Keep(context.Background(), len(kinds), child.Events{
		Config: func(slot, _ int) child.Config {
			cfg := as(kinds[slot], "GOMAXPROCS=1")
			cfg.Secret = make([]byte, 200<<10)
			return cfg
		},
	})
	if err != nil {
		fail("%v", err)
	}
	time.Sleep(time.Hour)
	k.Close(0)
}
