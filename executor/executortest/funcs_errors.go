package executortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

func init() {
	executor.RegisterError(errDeep)
	executor.RegisterErrorType[codeError]()
	executor.RegisterErrorType[*placeError]()
	executor.RegisterErrorType[*heldError]()
	executor.Register(failAs)
	executor.Register(panicAs)
	executor.Register(failForGood)
}

var errDeep = errors.New("executortest: deep down")

// A codeError is registered, and returned by value.
type codeError struct {
	Code   int
	Detail string
}

func (e codeError) Error() string { return fmt.Sprintf("code %d: %s", e.Code, e.Detail) }

// A placeError is registered, and returned by its address. It is also what its Kind is.
type placeError struct {
	Place string
	Lines []int
	Kind  string
}

func (e *placeError) Error() string        { return e.Place + " is no place" }
func (e *placeError) Is(target error) bool { return e.Kind == "not exist" && target == fs.ErrNotExist }

// A heldError is registered, and cannot be encoded for what it wraps.
type heldError struct {
	Op  string
	Err error
}

func (e *heldError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *heldError) Unwrap() error { return e.Err }

// A strayError is not registered.
type strayError struct {
	Number int
	Err    error
}

func (e *strayError) Error() string { return fmt.Sprintf("astray %d", e.Number) }
func (e *strayError) Unwrap() error { return e.Err }

// strayErrors is not registered, and cannot be compared.
type strayErrors []error

func (e strayErrors) Error() string   { return fmt.Sprintf("%d astray", len(e)) }
func (e strayErrors) Unwrap() []error { return e }

// A rudeError panics when it is asked what it is.
type rudeError struct{ Why string }

func (e *rudeError) Error() string { panic("rude: " + e.Why) }

// errorsToMake are what failAs returns, by name.
var errorsToMake = map[string]func() error{
	"sentinel": func() error { return errStep },
	"wrapped":  func() error { return fmt.Errorf("twice: %w", fmt.Errorf("once: %w", errStep)) },
	"joined":   func() error { return errors.Join(errStep, io.EOF, errDeep) },
	"both":     func() error { return fmt.Errorf("%w and %w", errStep, fs.ErrExist) },
	"joined deep": func() error {
		return fmt.Errorf("a: %w", errors.Join(io.EOF, fmt.Errorf("b: %w", errors.Join(errDeep))))
	},
	"canceled":        func() error { return context.Canceled },
	"deadline":        func() error { return fmt.Errorf("slow: %w", context.DeadlineExceeded) },
	"eof":             func() error { return io.EOF },
	"unexpected eof":  func() error { return fmt.Errorf("read: %w", io.ErrUnexpectedEOF) },
	"not exist":       func() error { return fs.ErrNotExist },
	"exist":           func() error { return fs.ErrExist },
	"permission":      func() error { return fmt.Errorf("no: %w", fs.ErrPermission) },
	"invalid":         func() error { return fs.ErrInvalid },
	"closed file":     func() error { return fs.ErrClosed },
	"opened":          func() error { _, err := os.Open("/there is no such file/at all"); return err },
	"opened, wrapped": func() error { _, err := os.Open("/there is no such file"); return fmt.Errorf("config: %w", err) },
	"os deadline":     func() error { return os.ErrDeadlineExceeded },
	"ours":            func() error { return fmt.Errorf("inner: %w", futures.ErrReleased) },
	"code":            func() error { return codeError{4, "four"} },
	"code, wrapped":   func() error { return fmt.Errorf("hm: %w", errors.Join(io.EOF, codeError{5, "five"})) },
	"place":           func() error { return &placeError{Place: "Atlantis", Lines: []int{1, 2}} },
	"place, wrapped": func() error {
		return fmt.Errorf("went: %w", &placeError{Place: "Erewhon", Lines: []int{3}, Kind: "not exist"})
	},
	"code and place": func() error { return errors.Join(codeError{6, "six"}, &placeError{Place: "Utopia"}) },
	"held":           func() error { return &heldError{"op", errDeep} },
	"stray":          func() error { return &strayError{Number: 7} },
	"stray, wrapped": func() error { return fmt.Errorf("lost: %w", &strayError{Number: 8}) },
	"stray on top": func() error {
		return &strayError{9, fmt.Errorf("under: %w", errors.Join(errDeep, codeError{9, "nine"}))}
	},
	"strays":         func() error { return strayErrors{errDeep, io.EOF} },
	"cancel error":   func() error { return &futures.CancelError{Cause: errDeep} },
	"item error":     func() error { return &futures.ItemError{Index: 3, Err: errDeep} },
	"long":           func() error { return errors.New(strings.Repeat("long ", 1<<20)) },
	"long, wrapping": func() error { return fmt.Errorf("%s %w", strings.Repeat("wörter ", 1<<19), errDeep) },
	"long stray":     func() error { return fmt.Errorf("%s %w", strings.Repeat("x", 3<<20), strayErrors{errDeep}) },
	"empty":          func() error { return errors.New("") },
	"not text":       func() error { return fmt.Errorf("bytes \xff\xfe\x00 here: %w", errDeep) },
	"nil inside":     func() error { return (*placeError)(nil) },
	"rude":           func() error { return &rudeError{"always"} },
	"rude, wrapped":  func() error { return strayErrors{&rudeError{"inside"}} },
	"deep": func() error {
		err := errDeep
		for range 2000 {
			err = &strayError{1, err}
		}
		return err
	},
	"wide": func() error {
		all := make([]error, 2000)
		for i := range all {
			all[i] = errDeep
		}
		return errors.Join(all...)
	},
	"released, joined": func() error { return errors.Join(futures.ErrReleased, executor.ErrFull) },
}

func failAs(_ context.Context, name string) (int, error) { return 1, errorsToMake[name]() }

// failForGood fails with a permanent error, which it wraps once more if it is told to.
func failForGood(ctx context.Context, wrap bool) (int, error) {
	info, _ := executor.TaskFromContext(ctx)
	err := executor.Permanent(fmt.Errorf("attempt %d: %w", info.Attempt, codeError{1, "one"}))
	if wrap {
		err = fmt.Errorf("wrapped: %w", err)
	}
	return 0, err
}

// A badStringer cannot be printed.
type badStringer struct{ N int }

func (badStringer) String() string { panic("no string") }

// A pairOfInts can.
type pairOfInts struct{ A, B int }

// panicAs panics as it is told.
func panicAs(_ context.Context, how string) (int, error) {
	switch how {
	case "text":
		panic("a text")
	case "sentinel":
		panic(errDeep)
	case "wrapped":
		panic(fmt.Errorf("twice: %w", fmt.Errorf("once: %w", errDeep)))
	case "code":
		panic(codeError{3, "three"})
	case "stray":
		panic(&strayError{4, errDeep})
	case "struct":
		panic(pairOfInts{1, 2})
	case "nil":
		panic(nil)
	case "nil map":
		var m map[string]int
		//lint:ignore SA5000 it is to panic
		m[how]++
	case "nil pointer":
		var p *pairOfInts
		return p.B, nil
	case "bad stringer":
		panic(badStringer{1})
	case "rude":
		panic(&rudeError{"panicking"})
	case "long":
		panic(strings.Repeat("long ", 1<<20))
	case "channel":
		panic(make(chan int))
	}
	return 0, nil
}
