package executortest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
)

// errorCases are those of what goes wrong, and of what must not travel: G24, G26, R7.
func errorCases(t *testing.T, open func(t *testing.T) executor.Executor) {
	check(t, open, "G24/StandardAndRegisteredErrorsAreThemselves", errorsAre)
	check(t, open, "G24/NothingElseIsFoundInThem", errorsAreNot)
	check(t, open, "G24/RegisteredTypesKeepTheirFields", errorsAs)
	check(t, open, "G24/UnregisteredTypes", errorsStray)
	check(t, open, "G24/TextsStay", errorTexts)
	check(t, open, "G24/LongTextsAreCut", errorsLong)
	check(t, open, "G24/ErrorsThatMisbehave", errorsRude)
	check(t, open, "G24/OwnCanceledIsAFailure", errorOwnCanceled)
	check(t, open, "G24/ThroughItemsAndDependents", errorsThrough)
	panicErrorCases(t, open)
	travelCases(t, open)
	valueCases(t, open)
}

// failed is the error of failAs.
func failed(t *testing.T, ex executor.Executor, name string, opts ...executor.Option) error {
	t.Helper()
	return failure(t, executor.Submit(t.Context(), ex, failAs, name, opts...), futures.Failed)
}

// kindsOf are what the errors of failAs are, of those that are known everywhere.
var kindsOf = map[string][]error{
	"sentinel":         {errStep},
	"wrapped":          {errStep},
	"joined":           {errStep, io.EOF, errDeep},
	"both":             {errStep, fs.ErrExist},
	"joined deep":      {io.EOF, errDeep},
	"canceled":         {context.Canceled},
	"deadline":         {context.DeadlineExceeded},
	"eof":              {io.EOF},
	"unexpected eof":   {io.ErrUnexpectedEOF},
	"not exist":        {fs.ErrNotExist},
	"exist":            {fs.ErrExist},
	"permission":       {fs.ErrPermission},
	"invalid":          {fs.ErrInvalid},
	"closed file":      {fs.ErrClosed},
	"opened":           {fs.ErrNotExist},
	"opened, wrapped":  {fs.ErrNotExist},
	"os deadline":      {os.ErrDeadlineExceeded},
	"ours":             {futures.ErrReleased},
	"code, wrapped":    {io.EOF},
	"place, wrapped":   {fs.ErrNotExist},
	"held":             {errDeep},
	"stray on top":     {errDeep},
	"strays":           {errDeep, io.EOF},
	"cancel error":     {errDeep},
	"item error":       {errDeep},
	"long, wrapping":   {errDeep},
	"long stray":       {errDeep},
	"not text":         {errDeep},
	"deep":             {errDeep},
	"wide":             {errDeep},
	"released, joined": {futures.ErrReleased, executor.ErrFull},
}

func errorsAre(t *testing.T, ex executor.Executor) {
	for name, kinds := range kindsOf {
		err := failed(t, ex, name)
		for _, kind := range kinds {
			require.ErrorIs(t, err, kind, name)
		}
	}
}

func errorsAreNot(t *testing.T, ex executor.Executor) {
	known := []error{
		errStep, errDeep, errCause, io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded,
		fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed,
		futures.ErrReleased, futures.ErrGoexit, executor.ErrClosed, executor.ErrNotEncodable, executor.ErrTooLarge,
	}
	for _, name := range []string{"sentinel", "wrapped", "joined", "canceled", "eof", "opened", "code", "place", "stray", "long", "empty", "held"} {
		err, here := failed(t, ex, name), errorsToMake[name]()
		for _, kind := range known {
			require.Equal(t, errors.Is(here, kind), errors.Is(err, kind), "%s is %v", name, kind)
		}
		var code codeError
		require.Equal(t, errors.As(here, &code), errors.As(err, &code), name)
		var place *placeError
		require.Equal(t, errors.As(here, &place), errors.As(err, &place), name)
	}
}

func errorsAs(t *testing.T, ex executor.Executor) {
	for name, want := range map[string]codeError{
		"code": {4, "four"}, "code, wrapped": {5, "five"}, "code and place": {6, "six"}, "stray on top": {9, "nine"},
	} {
		var got codeError
		require.ErrorAs(t, failed(t, ex, name), &got, name)
		require.Equal(t, want, got)
	}
	for name, want := range map[string]placeError{
		"place": {Place: "Atlantis", Lines: []int{1, 2}}, "place, wrapped": {Place: "Erewhon", Lines: []int{3}, Kind: "not exist"}, "code and place": {Place: "Utopia"},
	} {
		var got *placeError
		require.ErrorAs(t, failed(t, ex, name), &got, name)
		require.Equal(t, want, *got)
	}
	var item *futures.ItemError
	require.ErrorAs(t, failed(t, ex, "item error"), &item)
	require.Equal(t, 3, item.Index)
}

func errorsStray(t *testing.T, ex executor.Executor) {
	if isNear(ex) {
		var stray *strayError
		require.ErrorAs(t, failed(t, ex, "stray, wrapped"), &stray)
		require.Equal(t, 8, stray.Number)
		var strays strayErrors
		require.ErrorAs(t, failed(t, ex, "strays"), &strays)
		var held *heldError
		require.ErrorAs(t, failed(t, ex, "held"), &held)
		return
	}
	workers := map[string]bool{}
	for _, w := range ex.Stats().Workers {
		workers[w.Name] = true
	}
	for name, typ := range map[string]string{
		"stray": "executortest.strayError", "strays": "executortest.strayErrors", "held": "executortest.heldError",
		"stray on top": "executortest.strayError", "stray, wrapped": "fmt.wrapError", "rude": "executortest.rudeError", "long": "errors.errorString",
	} {
		err := failed(t, ex, name)
		var far *executor.TaskError
		require.ErrorAs(t, err, &far, name)
		require.Contains(t, far.Type, typ)
		require.True(t, workers[far.Worker], "%s: no worker is called %q", name, far.Worker)
		if name != "rude" && name != "long" {
			require.Equal(t, errorsToMake[name]().Error(), far.Message)
		}
		var stray *strayError
		require.NotErrorAs(t, err, &stray, name)
	}
}

// errorTexts: whatever an error travels as, its text is still there.
func errorTexts(t *testing.T, ex executor.Executor) {
	for name, make := range errorsToMake {
		if strings.HasPrefix(name, "long") || strings.HasPrefix(name, "rude") || name == "nil inside" || name == "not text" {
			continue
		}
		err := failed(t, ex, name)
		require.Contains(t, err.Error(), make().Error(), name)
		if isNear(ex) {
			require.Equal(t, make().Error(), err.Error(), name)
		}
	}
	require.Contains(t, failed(t, ex, "not text").Error(), " here: executortest: deep down")
}

func errorsLong(t *testing.T, ex executor.Executor) {
	const limit = 64 << 10
	for _, name := range []string{"long", "long, wrapping", "long stray"} {
		full := errorsToMake[name]().Error()
		err := failed(t, ex, name)
		if isNear(ex) {
			require.True(t, full == err.Error(), "%s: it does not travel, and was changed", name)
			continue
		}
		var far *executor.TaskError
		require.ErrorAs(t, err, &far)
		require.LessOrEqual(t, len(err.Error()), limit+1000, name)
		require.Greater(t, len(far.Message), limit-1000, name)
		require.True(t, utf8.ValidString(far.Message), "%s: it was cut in the middle of a letter", name)
		require.False(t, strings.HasPrefix(full, far.Message), "%s: it does not say that it was cut", name)
		require.True(t, strings.HasPrefix(full, far.Message[:limit-1000]), name)
	}
}

// errorsRude: an error that cannot be asked for its text fails its task, and no more.
func errorsRude(t *testing.T, ex executor.Executor) {
	for _, name := range []string{"rude", "rude, wrapped", "nil inside"} {
		f := executor.Submit(t.Context(), ex, failAs, name)
		_, err := f.Result(soon(t))
		require.True(t, err != nil, name)
		require.Equal(t, futures.Failed, f.State(), name)
		b := executor.Map(t.Context(), ex, failAs, []string{name, name}, executor.WithKeepGoing())
		out, err := b.Outcomes(soon(t))
		require.NoError(t, err)
		require.True(t, out[0].Err != nil && out[1].Err != nil, name)
		if !isNear(ex) {
			require.NotPanics(t, func() { _ = out[1].Err.Error() }, "%s: far, an error has a text", name)
		}
	}
	newBoard(t, ex).fillSlots(t.Context()) // no slot was harmed
}

func errorOwnCanceled(t *testing.T, ex executor.Executor) {
	for _, name := range []string{"canceled", "deadline", "cancel error"} {
		f := executor.Submit(t.Context(), ex, failAs, name)
		failure(t, f, futures.Failed)
		then := executor.Then(t.Context(), ex, triple, f)
		failure(t, then, futures.Failed)
	}
	require.NotErrorIs(t, failed(t, ex, "canceled"), futures.ErrCancelled)
}

// errorsThrough: through a batch's items and dependents, the error is the same.
func errorsThrough(t *testing.T, ex executor.Executor) {
	b := executor.Map(t.Context(), ex, failAs, []string{"code, wrapped"})
	then := executor.Then(t.Context(), ex, sum, b.Future())
	_, results := b.Results(soon(t))
	for name, err := range map[string]error{
		"Results": results, "Future": failure(t, b.Future(), futures.Failed),
		"Futures": failure(t, b.Futures()[0], futures.Failed), "Then": failure(t, then, futures.Failed),
		"dependent": failure(t, executor.Then(t.Context(), ex, triple, executor.Submit(t.Context(), ex, failAs, "code, wrapped")), futures.Failed),
	} {
		var code codeError
		require.ErrorAs(t, err, &code, name)
		require.Equal(t, codeError{5, "five"}, code)
		require.ErrorIs(t, err, io.EOF, name)
		require.Contains(t, err.Error(), "hm: ", name)
	}
}
