package executortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

var (
	errRefused = errors.New("executortest: refused")
	errStop    = errors.New("executortest: stop")
)

func init() {
	executor.RegisterError(errRefused, errStop)
	executor.Register(echo)
	executor.Register(same)
	executor.Register(joined)
	executor.Register(sum)
	executor.Register(sumMod)
	executor.Register(noteOf)
	executor.Register(refuse)
	executor.Register(sleeper)
	executor.Register(returns)
	executor.Register(crash)
	executor.Register(sumOfInputs)
	executor.Register(tagOf)
	executor.Register(leave)
	executor.Register(whoami)
}

// kinds says which of the errors that cases look for err is.
func kinds(err error) string {
	var found []string
	for _, known := range []error{
		errRefused, errStop, executor.ErrClosed, futures.ErrCancelled, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			found = append(found, known.Error())
		}
	}
	return strings.Join(found, ";")
}

// tryClosure has ex run a closure, which only an executor that is near does.
func tryClosure(ex executor.Executor) error {
	ctx, cancel := waiting()
	defer cancel()
	return executor.Go(ctx, ex, func(context.Context) (int, error) { return 0, nil }).Wait(ctx)
}

func echo(_ context.Context, n int) (int, error) { return n, nil }

func same(_ context.Context, s string) (string, error) { return s, nil }

func joined(_ context.Context, all []string) (string, error) { return strings.Join(all, ""), nil }

func sum(_ context.Context, ns []int) (total int, err error) {
	for _, n := range ns {
		total += n
	}
	return total, nil
}

func sumMod(_ context.Context, ns []int) (total int, err error) {
	for _, n := range ns {
		total = (total + n) % 1000003
	}
	return total, nil
}

// noteOf is note of a text and a board.
func noteOf(ctx context.Context, p futures.Pair[string, string]) (string, error) {
	return note(ctx, Post{p.Second, p.First})
}

func refuse(_ context.Context, n int) (int, error) { return n, fmt.Errorf("no %d: %w", n, errRefused) }

// sleeper runs until its ctx ends.
func sleeper(ctx context.Context, n int) (int, error) {
	<-ctx.Done()
	return n, ctx.Err()
}

// returns returns the error of that name, of its own accord.
func returns(_ context.Context, what string) (string, error) {
	switch what {
	case "canceled":
		return what, context.Canceled
	case "deadline":
		return what, context.DeadlineExceeded
	case "cancelled":
		return what, fmt.Errorf("a child was: %w", &futures.CancelError{Cause: errStop})
	case "closed":
		return what, executor.ErrClosed
	case "eof":
		return what, io.EOF
	}
	return what, nil
}

// A grudge is no error, and does not like to be printed.
type grudge struct{ Words string }

func (grudge) String() string { panic("a panic in String") }

// crash leaves in one of the ways that are no return.
func crash(ctx context.Context, how string) (string, error) {
	switch how {
	case "string":
		crashHere(how)
	case "error":
		crashHere(fmt.Errorf("with reason: %w", errRefused))
	case "struct":
		crashHere(Post{"a", "b"})
	case "nil":
		crashHere(nil)
	case "dereference":
		var p *Post
		return p.Text, nil
	case "index":
		return how[len(how):][0:1], nil
	case "map":
		var m map[string]int
		//lint:ignore SA5000 it is to panic
		m[how]++
	case "unprintable":
		crashHere(grudge{how})
	case "goexit":
		defer func() { _ = recover() }()
		runtime.Goexit()
	case "panic in defer":
		defer func() { crashHere("second") }()
		crashHere("first")
	case "panic while leaving":
		defer func() { crashHere("string") }()
		runtime.Goexit()
	case "goexit after recovery":
		defer func() { _ = recover(); runtime.Goexit() }()
		crashHere(how)
	case "late":
		<-ctx.Done()
		crashHere(how)
	case "late goexit":
		<-ctx.Done()
		runtime.Goexit()
	case "recovered":
		func() {
			defer func() { _ = recover() }()
			crashHere(how)
		}()
	}
	return how, nil
}

// crashHere is the frame that the stack of a panic must name.
//
//go:noinline
func crashHere(v any) { panic(v) }

// Inputs is an argument that holds futures.
type Inputs struct {
	One  *futures.Future[int]
	Many []*futures.Future[int]
	Map  map[string]*futures.Future[int]
	Plus int
}

// sumOfInputs adds up what the futures in its argument have.
func sumOfInputs(ctx context.Context, in Inputs) (int, error) {
	total := in.Plus
	all := append([]*futures.Future[int]{in.One}, in.Many...)
	for _, f := range in.Map {
		all = append(all, f)
	}
	for _, f := range all {
		if f == nil {
			continue
		}
		n, err := f.Result(ctx)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

type tagKey struct{}

// tagOf is the tag that its ctx carries.
func tagOf(ctx context.Context, _ int) (string, error) { return fmt.Sprint(ctx.Value(tagKey{})), nil }

// leave returns at once, and leaves a goroutine behind that waits for the end of its ctx.
func leave(ctx context.Context, p Post) (string, error) {
	go func() { // ends with ctx
		<-ctx.Done()
		sheetOf(p.Board).write("%s: %v", p.Text, ctx.Err())
	}()
	return p.Text, nil
}

// whoami is what a task knows of itself.
func whoami(ctx context.Context, _ int) (executor.TaskInfo, error) {
	info, ok := executor.TaskFromContext(ctx)
	if !ok {
		return info, errRefused
	}
	return info, nil
}
