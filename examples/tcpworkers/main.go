// Command tcpworkers is both sides of a network: started with -serve it is a worker, else
// a client that computes a picture on the workers it is told of. In two terminals:
//
//	go run ./examples/tcpworkers -serve tcp://127.0.0.1:8786
//	go run ./examples/tcpworkers -executor tcp://127.0.0.1:8786
//
// Any program that calls remote.Init can be a worker, too, without a line of code:
//
//	NEARFAR_WORKER='tcp://127.0.0.1:8786?threads=2' go run ./examples/quickstart
//
// The picture is printed on stdout and is the same everywhere; who computed it, on stderr.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

func init() {
	executor.Register(line)
	executor.Register(whoami)
}

func main() {
	remote.Init()
	serve := flag.String("serve", "", "be a worker that listens here, as tcp://127.0.0.1:8786")
	threads := flag.Int("threads", 0, "with -serve: how many tasks at a time; 0 is one a CPU")
	dsn := flag.String("executor", os.Getenv("NEARFAR_EXECUTOR"), "where to run: a DSN, as tcp://127.0.0.1:8786")
	height := flag.Int("height", 24, "lines of the picture")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		// Until the signal; then tasks that run may end, and what they gave is handed over.
		err = remote.Serve(ctx, remote.WorkerConfig{Listen: *serve, Threads: *threads})
	} else {
		err = draw(ctx, *dsn, *height)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// draw is the client.
func draw(ctx context.Context, dsn string, height int) error {
	ex, err := executor.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer ex.Close()

	// Once in each worker.
	processes, err := executor.RunOnAll(ctx, ex, whoami, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(processes)) {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, cmp.Or(processes[name].Value, "no answer"))
	}

	// Lines through the middle take a hundred times as long as those at the edge: chunks
	// are cut as they turn out.
	lines := make([]Line, height)
	for i := range lines {
		lines[i] = Line{i, height}
	}
	for text, err := range executor.Map(ctx, ex, line, lines).All(ctx) {
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	for _, w := range ex.Stats().Workers {
		fmt.Fprintf(os.Stderr, "%s finished %d\n", w.Name, w.Finished)
	}
	return nil
}

func whoami(context.Context, int) (string, error) {
	host, err := os.Hostname()
	return fmt.Sprintf("process %d on %s", os.Getpid(), host), err
}

// A Line is a line of the picture.
type Line struct{ At, Of int }

const width = 72

// line draws the points of the Mandelbrot set that are on a line.
func line(ctx context.Context, l Line) (string, error) {
	shades := []byte(" .:-=+*#%@")
	text := make([]byte, width)
	for i := range text {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		c := complex(3*float64(i)/width-2.2, 2.4*(float64(l.At)+0.5)/float64(l.Of)-1.2)
		text[i] = shades[len(shades)-1]
		z := c
		for n := range 100_000 {
			if real(z)*real(z)+imag(z)*imag(z) > 4 {
				text[i] = shades[min(n/2, len(shades)-2)]
				break
			}
			z = z*z + c
		}
	}
	return string(text), nil
}
