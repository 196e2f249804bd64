package executor

import (
	"fmt"
	"strings"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/codec"
)

// A TaskError is an error of a task that could not travel as itself: its text, and
// what was known of it. errors.Is and errors.As still find in it the registered errors
// that it wrapped.
type TaskError struct {
	Type    string // of the error, as %T gives it
	Message string // the error's text, cut at 64 KiB; then it says so
	Worker  string // where it comes from
	Stack   []byte // of a panic, if it was one that could not be told otherwise

	known []error
}

func (e *TaskError) Error() string { return e.Message }

// Unwrap is the registered errors that the error wrapped.
func (e *TaskError) Unwrap() []error { return e.known }

// maxErrorText is where the text of an error is cut.
const maxErrorText = 64 << 10

// A wireError is an error on its way.
type wireError struct {
	Kind  wireKind
	Text  string      // what Error gave
	Type  string      // of the error
	Known []string    // the registered sentinels that it is, by their texts
	Data  []byte      // of a registered type, encoded
	Stack []byte      // of a panic
	Index int         // of an item
	Parts []wireError // what it wraps: of a registered type, or all there is
}

type wireKind uint8

const (
	wireOther    wireKind = iota
	wireSentinel          // a registered sentinel itself: Text
	wireTyped             // of a registered type: Type and Data
	wirePanic             // *futures.PanicError; Parts is its Value, if that is an error
	wireItem              // *futures.ItemError; Parts is its Err
	wireCancel            // *futures.CancelError; Parts is its Cause
)

// maxWrapped is how many errors are looked at in what an error wraps.
const maxWrapped = 1000

// packError makes an error ready to travel.
func packError(err error) wireError {
	budget := maxWrapped
	return pack(err, &budget)
}

func pack(err error, budget *int) wireError {
	*budget--
	w := wireError{Text: textOf(err), Type: fmt.Sprintf("%T", err)}
	if errorTable.is(err) {
		w.Kind = wireSentinel
		return w
	}
	switch e := err.(type) {
	case *futures.PanicError:
		w.Kind, w.Stack = wirePanic, e.Stack
		if inner, ok := e.Value.(error); ok {
			w.Parts = []wireError{pack(inner, budget)}
		} else {
			w.Text = cut(fmt.Sprintf("%v", e.Value))
		}
		return w
	case *futures.ItemError:
		w.Kind, w.Index = wireItem, e.Index
		w.Parts = []wireError{pack(e.Err, budget)}
		return w
	case *futures.CancelError:
		w.Kind = wireCancel
		if e.Cause != nil {
			w.Parts = []wireError{pack(e.Cause, budget)}
		}
		return w
	}
	if name, data, ok := errorTable.encode(err); ok {
		w.Kind, w.Type, w.Data = wireTyped, name, data
		return w
	}
	w.Known = errorTable.sentinelsOf(err)
	for _, inner := range wrapped(err) {
		collect(inner, &w.Parts, budget)
	}
	return w
}

// collect adds to parts what errors.As should find in err.
func collect(err error, parts *[]wireError, budget *int) {
	if *budget <= 0 {
		return
	}
	switch err.(type) {
	case *futures.PanicError, *futures.ItemError, *futures.CancelError:
		*parts = append(*parts, pack(err, budget))
		return
	}
	*budget--
	if name, data, ok := errorTable.encode(err); ok {
		*parts = append(*parts, wireError{Kind: wireTyped, Text: textOf(err), Type: name, Data: data})
	}
	for _, inner := range wrapped(err) {
		collect(inner, parts, budget)
	}
}

// wrapped is what err wraps itself, if it can be asked.
func wrapped(err error) (inner []error) {
	defer func() {
		if recover() != nil { // of a method of err, which may be a nil pointer
			inner = nil
		}
	}()
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return []error{inner}
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// textOf is err's text, whatever its method does.
func textOf(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("(the Error method of %T panicked: %v)", err, p)
		}
	}()
	return cut(err.Error())
}

func cut(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	return fmt.Sprintf("%s... (cut: it had %d bytes)", strings.ToValidUTF8(text[:maxErrorText], ""), len(text))
}

// unpackError makes an error again, of a task that ran on worker.
func unpackError(w wireError, worker string) error {
	switch w.Kind {
	case wireSentinel:
		if s := errorTable.sentinel(w.Text); s != nil {
			return s
		}
	case wireTyped:
		if err, ok := errorTable.decode(w.Type, w.Data); ok {
			return err
		}
	case wirePanic:
		e := &futures.PanicError{Value: w.Text, Stack: w.Stack}
		if len(w.Parts) == 1 {
			e.Value = unpackError(w.Parts[0], worker)
		}
		return e
	case wireItem:
		if len(w.Parts) == 1 {
			return &futures.ItemError{Index: w.Index, Err: unpackError(w.Parts[0], worker)}
		}
	case wireCancel:
		e := &futures.CancelError{}
		if len(w.Parts) == 1 {
			e.Cause = unpackError(w.Parts[0], worker)
		}
		return e
	}
	e := &TaskError{Type: w.Type, Message: w.Text, Worker: worker}
	for _, text := range w.Known {
		if s := errorTable.sentinel(text); s != nil {
			e.known = append(e.known, s)
		}
	}
	for _, part := range w.Parts {
		e.known = append(e.known, unpackError(part, worker))
	}
	return e
}

// throughWire is err as it would arrive.
func throughWire(err error, worker string) error {
	w := packError(err)
	data, cerr := codec.Append(nil, &w)
	var back wireError
	if cerr == nil {
		cerr = codec.Decode(data, &back)
	}
	if cerr != nil {
		return &TaskError{Type: w.Type, Message: w.Text, Worker: worker}
	}
	return unpackError(back, worker)
}
