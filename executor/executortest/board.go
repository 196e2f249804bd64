package executortest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// A board is where tasks leave word for a case, and wait for word from it. Every
// process has one of the same name, which the tasks that run there write to; the case
// reads and opens them all, by RunOnAll, or directly where there is but this process.
type board struct {
	t    *testing.T
	ex   executor.Executor
	name string
	here bool // there is but this process
}

var boards atomic.Int64

func newBoard(t *testing.T, ex executor.Executor) *board {
	b := &board{t, ex, fmt.Sprintf("%s-%d-%d", t.Name(), os.Getpid(), boards.Add(1)), inProcess(ex)}
	t.Cleanup(func() { // also for a case that failed with tasks still waiting
		if b.here {
			_, _ = eraseBoard(context.Background(), b.name)
		} else {
			_, _ = executor.RunOnAll(soon(t), ex, eraseBoard, b.name)
		}
	})
	return b
}

// post is the argument for a task that is to write text.
func (b *board) post(text string) Post { return Post{b.name, text} }

// lines is all that was written: in order, where it was in one process.
func (b *board) lines() (lines []string) {
	b.t.Helper()
	for _, page := range onAll(b, readBoard) {
		lines = append(lines, page.Lines...)
	}
	return lines
}

// has counts the lines that begin with prefix.
func (b *board) has(prefix string) (n int) {
	b.t.Helper()
	for _, line := range b.lines() {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// wait waits for n lines that begin with prefix.
func (b *board) wait(n int, prefix string) {
	b.t.Helper()
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("on the board: %q", b.lines())
		}
	})
	eventually(b.t, fmt.Sprintf("%d times %q on the board", n, prefix), func() bool { return b.has(prefix) >= n })
}

// busiest is the largest number of tasks that were at work in one process together.
func (b *board) busiest() (most int) {
	b.t.Helper()
	for _, page := range onAll(b, readBoard) {
		most = max(most, page.Most)
	}
	return most
}

// open lets those go on that wait at the board, now or later.
func (b *board) open() { b.t.Helper(); onAll(b, openBoard) }

// fillSlots has a task on every slot that waits for the board to be opened.
func (b *board) fillSlots(ctx context.Context) []*futures.Future[string] {
	b.t.Helper()
	fs := make([]*futures.Future[string], b.ex.Slots())
	for i := range fs {
		fs[i] = executor.Submit(ctx, b.ex, hold, b.post(fmt.Sprint("slot", i)))
	}
	for _, f := range fs {
		started(b.t, f)
	}
	return fs
}

// onAll calls fn in each process, with the board's name.
func onAll[R any](b *board, fn func(context.Context, string) (R, error)) (all []R) {
	b.t.Helper()
	if b.here {
		r, err := fn(context.Background(), b.name)
		require.NoError(b.t, err)
		return []R{r}
	}
	outcomes, err := executor.RunOnAll(soon(b.t), b.ex, fn, b.name)
	require.NoError(b.t, err)
	for _, o := range outcomes {
		require.NoError(b.t, o.Err)
		all = append(all, o.Value)
	}
	return all
}

// Post is the argument of tasks that write to a board.
type Post struct{ Board, Text string }

// Page is what one process has on a board.
type Page struct {
	Lines []string
	Most  int // tasks that were at work together
}

// A sheet is this process's part of a board.
type sheet struct {
	mu     sync.Mutex
	page   Page
	atWork int
	opened bool
	gate   chan struct{}
}

var sheets sync.Map // by the board's name: *sheet

func sheetOf(name string) *sheet {
	s, ok := sheets.Load(name)
	if !ok {
		s, _ = sheets.LoadOrStore(name, &sheet{gate: make(chan struct{})})
	}
	return s.(*sheet)
}

func (s *sheet) write(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page.Lines = append(s.page.Lines, fmt.Sprintf(format, args...))
}

// open is true the first time.
func (s *sheet) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.opened
	if s.opened = true; first {
		close(s.gate)
	}
	return first
}

// work counts a task as being at work, until it calls rest.
func (s *sheet) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atWork++
	s.page.Most = max(s.page.Most, s.atWork)
}

func (s *sheet) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atWork--
}

func init() {
	executor.Register(readBoard)
	executor.Register(openBoard)
	executor.Register(eraseBoard)
	executor.Register(note)
	executor.Register(hold)
	executor.Register(cling)
	executor.Register(witness)
}

func readBoard(_ context.Context, name string) (Page, error) {
	s := sheetOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return Page{append([]string(nil), s.page.Lines...), s.page.Most}, nil
}

func openBoard(_ context.Context, name string) (bool, error) { return sheetOf(name).open(), nil }

// eraseBoard opens the board and forgets it.
func eraseBoard(_ context.Context, name string) (bool, error) {
	s, had := sheets.LoadAndDelete(name)
	return had && s.(*sheet).open(), nil
}

// note writes its text, and returns it.
func note(_ context.Context, p Post) (string, error) {
	sheetOf(p.Board).write("%s", p.Text)
	return p.Text, nil
}

// hold writes "start TEXT", waits until the board is opened, writes "end TEXT" and
// returns its text. If its ctx ends first, it writes "ctx TEXT: CAUSE", and returns ctx's error.
func hold(ctx context.Context, p Post) (string, error) {
	s := sheetOf(p.Board)
	s.write("start %s", p.Text)
	select {
	case <-s.gate:
		s.write("end %s", p.Text)
		return p.Text, nil
	case <-ctx.Done():
		s.write("ctx %s: %v", p.Text, context.Cause(ctx))
		return "", ctx.Err()
	}
}

// cling is hold that is deaf to its ctx.
func cling(_ context.Context, p Post) (string, error) {
	s := sheetOf(p.Board)
	s.write("start %s", p.Text)
	<-s.gate
	s.write("end %s", p.Text)
	return p.Text, nil
}

// witness waits for the end of its ctx, and writes down the error, and which of the
// errors of this package, and of the standard ones, the cause is.
func witness(ctx context.Context, p Post) (string, error) {
	<-ctx.Done()
	sheetOf(p.Board).write("%s: %v;%s", p.Text, ctx.Err(), kinds(context.Cause(ctx)))
	return p.Text, errRefused
}
