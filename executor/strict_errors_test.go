package executor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

var (
	errStrictKnown   = errors.New("strict: a registered error")
	errStrictUnknown = errors.New("strict: an error that nobody registered")
)

// A strictCode is an error of a registered type.
type strictCode struct {
	Code int
	When time.Time
}

func (e *strictCode) Error() string { return fmt.Sprint("strict: code ", e.Code) }

// A strictName is another, which is no pointer.
type strictName struct{ Name string }

func (e strictName) Error() string { return "strict: name " + e.Name }

// A strictPrivate is of a type that is not registered.
type strictPrivate struct{ what string }

func (e *strictPrivate) Error() string { return "strict: private " + e.what }

func init() {
	executor.RegisterError(errStrictKnown)
	executor.RegisterErrorType[*strictCode]()
	executor.RegisterErrorType[strictName]()
}

var strictErrors = map[string]error{
	"known":     errStrictKnown,
	"wrapped":   fmt.Errorf("while at it: %w", errStrictKnown),
	"standard":  fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}),
	"deadline":  os.ErrDeadlineExceeded,
	"eof":       io.ErrUnexpectedEOF,
	"typed":     &strictCode{7, time.Unix(1, 2).UTC()},
	"named":     strictName{"n"},
	"joined":    errors.Join(strictName{"n"}, fmt.Errorf("and: %w", &strictCode{Code: 8}), errStrictKnown, errStrictUnknown),
	"unknown":   fmt.Errorf("deep: %w", errStrictUnknown),
	"private":   &strictPrivate{"p"},
	"long":      errors.New(strings.Repeat("x", 100<<10)),
	"permanent": executor.Permanent(errStrictKnown),
	"item":      &futures.ItemError{Index: 4, Err: errStrictKnown},
}

func strictFails(_ context.Context, name string) (int, error) {
	switch name {
	case "panic with an error":
		panic(strictErrors["wrapped"])
	case "panic with a value":
		panic(strictHidden{})
	}
	return 0, strictErrors[name]
}

// headOf is the first line of an error: that of a panic goes on with its stack.
func headOf(err error) string {
	head, _, _ := strings.Cut(err.Error(), "\n")
	return head
}

func TestStrictErrorsThroughTheTable(t *testing.T) {
	ex := newStrict(t, executor.Config{Threads: 1})
	fails := func(t *testing.T, name string) error {
		f := executor.Submit(t.Context(), ex, strictFails, name)
		err := f.Wait(t.Context())
		require.Equal(t, futures.Failed, f.State())
		if want := strictErrors[name]; want != nil && name != "long" {
			require.EqualError(t, err, want.Error())
		}
		_, err2 := executor.Map(t.Context(), ex, strictFails, []string{name}).Results(t.Context())
		var item *futures.ItemError
		require.ErrorAs(t, err2, &item)
		require.Equal(t, headOf(err), headOf(item.Err))
		return err
	}
	var task *executor.TaskError
	t.Run("a registered sentinel is itself", func(t *testing.T) {
		require.Same(t, errStrictKnown, fails(t, "known"))
		require.Same(t, errStrictKnown, fails(t, "permanent"))
		require.Same(t, io.ErrUnexpectedEOF, fails(t, "eof"))
		require.Equal(t, os.ErrDeadlineExceeded, fails(t, "deadline"))
	})
	t.Run("a sentinel that is wrapped is found", func(t *testing.T) {
		err := fails(t, "wrapped")
		require.ErrorIs(t, err, errStrictKnown)
		require.ErrorAs(t, err, &task)
		require.Equal(t, "*fmt.wrapError", task.Type)
		require.Equal(t, "local", task.Worker)
		require.ErrorIs(t, fails(t, "standard"), fs.ErrNotExist)
	})
	t.Run("a registered type is itself", func(t *testing.T) {
		require.Equal(t, strictErrors["typed"], fails(t, "typed"))
		require.NotSame(t, strictErrors["typed"], fails(t, "typed"))
		require.Equal(t, strictErrors["named"], fails(t, "named"))
	})
	t.Run("all that was joined is found", func(t *testing.T) {
		err := fails(t, "joined")
		require.ErrorIs(t, err, errStrictKnown)
		require.NotErrorIs(t, err, errStrictUnknown)
		var code *strictCode
		require.ErrorAs(t, err, &code)
		require.Equal(t, 8, code.Code)
		var name strictName
		require.ErrorAs(t, err, &name)
	})
	t.Run("the rest is a TaskError", func(t *testing.T) {
		err := fails(t, "unknown")
		require.ErrorAs(t, err, &task)
		require.NotErrorIs(t, err, errStrictUnknown)
		require.ErrorAs(t, fails(t, "private"), &task)
		require.Equal(t, "*executor_test.strictPrivate", task.Type)
	})
	t.Run("a text is cut at 64 KiB", func(t *testing.T) {
		require.ErrorAs(t, fails(t, "long"), &task)
		require.True(t, strings.HasPrefix(task.Message, strings.Repeat("x", 64<<10)+"..."))
		require.Less(t, len(task.Message), 65<<10)
		require.Contains(t, task.Message, "102400 bytes")
	})
	t.Run("an item's error says which", func(t *testing.T) {
		var item *futures.ItemError
		require.ErrorAs(t, fails(t, "item"), &item)
		require.Equal(t, 4, item.Index)
		require.Same(t, errStrictKnown, item.Err)
	})
	t.Run("a panic has its value", func(t *testing.T) {
		var p *futures.PanicError
		err := fails(t, "panic with an error")
		require.ErrorAs(t, err, &p)
		require.ErrorIs(t, err, errStrictKnown)
		require.Contains(t, string(p.Stack), "strictFails")
		require.ErrorAs(t, fails(t, "panic with a value"), &p)
		require.Equal(t, "{{0 0}}", p.Value)
	})
	t.Run("an error of an input stays as it is", func(t *testing.T) {
		then := executor.Then(t.Context(), ex, strictEcho, executor.Submit(t.Context(), ex, strictFails, "typed"))
		require.Equal(t, strictErrors["typed"], then.Wait(t.Context()))
	})
}

func TestTwoSentinelsWithOneTextPanic(t *testing.T) {
	executor.RegisterError(errStrictKnown) // the same again is no other
	require.PanicsWithValue(t, `executor: RegisterError of two errors with the text "strict: a registered error", by which they are known elsewhere`,
		func() { executor.RegisterError(errors.New(errStrictKnown.Error())) })
	require.Panics(t, func() { executor.RegisterError(errors.New("EOF")) })
	require.Panics(t, func() { executor.RegisterError(nil) })
}
