package futures_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/futures"
)

func TestCancelError(t *testing.T) {
	wrapped := fmt.Errorf("too slow: %w", context.DeadlineExceeded)
	for name, c := range map[string]struct {
		cause    error
		want     error // the CancelError's cause
		text     string
		canceled bool // it is context.Canceled
	}{
		"nil":        {nil, context.Canceled, "futures: cancelled", true},
		"Canceled":   {context.Canceled, context.Canceled, "futures: cancelled", true},
		"own":        {errStop, errStop, "futures: cancelled: stop", true},
		"deadline":   {context.DeadlineExceeded, context.DeadlineExceeded, "futures: cancelled: context deadline exceeded", false},
		"a deadline": {wrapped, wrapped, "futures: cancelled: too slow: context deadline exceeded", false},
		"of another": {&futures.CancelError{Cause: errStop}, errStop, "futures: cancelled: stop", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := cancelled(c.cause).Err()
			var e *futures.CancelError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Cause)
			assert.Equal(t, c.want, errors.Unwrap(err))
			assert.EqualError(t, err, c.text)
			assert.ErrorIs(t, err, futures.ErrCancelled)
			assert.ErrorIs(t, err, c.want)
			assert.Equal(t, c.canceled, errors.Is(err, context.Canceled))
			assert.NotErrorIs(t, err, futures.ErrReleased)
		})
	}
	bare := &futures.CancelError{}
	assert.EqualError(t, bare, "futures: cancelled")
	assert.ErrorIs(t, bare, context.Canceled)
	assert.NoError(t, bare.Unwrap())
}

// A function that returns context.Canceled of its own accord has failed.
func TestCanceledIsNotCancelled(t *testing.T) {
	f := futures.Error[int](context.Canceled)
	assert.Equal(t, futures.Failed, f.State())
	assert.NotErrorIs(t, f.Err(), futures.ErrCancelled)
}

func TestPanicError(t *testing.T) {
	err := &futures.PanicError{Value: "out of cheese", Stack: []byte("main.shop()\n")}
	assert.EqualError(t, err, "futures: the function panicked: out of cheese\n\nmain.shop()\n")
	assert.NoError(t, err.Unwrap())

	err = &futures.PanicError{Value: io.ErrUnexpectedEOF}
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.ErrorContains(t, err, "unexpected EOF")
}

func TestItemError(t *testing.T) {
	err := error(&futures.ItemError{Index: 3, Err: &futures.CancelError{Cause: errStop}})
	assert.EqualError(t, err, "item 3: futures: cancelled: stop")
	assert.ErrorIs(t, err, futures.ErrCancelled)
	assert.ErrorIs(t, err, errStop)
	var c *futures.CancelError
	require.ErrorAs(t, err, &c)
	assert.Equal(t, errStop, c.Cause)
}
