package codec

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
)

// A TypeError says that no value of a type can be encoded so that it arrives as
// it left, and where in the type the reason is.
type TypeError struct {
	Type   reflect.Type // what was asked for
	Path   string       // where in Type: Job.Meta["..."].Notify, or just Job
	Reason string       // what is wrong there: "is a chan int"
	Advice string       // what to do about it
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("codec: type %s cannot travel: %s %s; %s", e.Type, e.Path, e.Reason, e.Advice)
}

// A ValueError says that one value cannot be encoded so that it arrives as it
// left, although others of its type can.
type ValueError struct {
	Type   reflect.Type // of the whole value
	Path   string       // where in it: Job.Items[3].At
	Reason string
	Advice string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("codec: this %s cannot travel: %s %s; %s", e.Type, e.Path, e.Reason, e.Advice)
}

// What is wrong with bytes that are no encoding of the type. Decode puts the
// type in front.
var (
	errEmpty   = errors.New("no data")
	errForm    = errors.New("the data was encoded in another way than this type is")
	errShort   = errors.New("the data ends too early")
	errExtra   = errors.New("there is data behind the value")
	errBool    = errors.New("a bool is neither 0 nor 1")
	errPointer = errors.New("a pointer is marked neither as nil nor as set")
	errVarint  = errors.New("a length is malformed")
	errTime    = errors.New("a time is malformed")
	errWord    = errors.New("an int or uint is too large for this machine")
	errLarge   = errors.New("a length is too large for this machine")
	errDepth   = fmt.Errorf("the data is nested deeper than %d levels", MaxDepth)
)

func encodeError(t reflect.Type, err error) error {
	return fmt.Errorf("codec: cannot encode %s: %w", t, err)
}

func decodeError(t reflect.Type, err error) error {
	return fmt.Errorf("codec: cannot decode %s: %w", t, err)
}

// caught turns a panic of a marshaler or unmarshaler into an error that names it.
// It is deferred around whatever calls code of users.
func caught(t reflect.Type, doing string, err *error) {
	r := recover()
	if r == nil {
		return
	}
	who := culprit()
	if who == "" {
		who = "a method of a type in it"
	}
	if cause, ok := r.(error); ok {
		*err = fmt.Errorf("codec: cannot %s %s: %s panicked: %w", doing, t, who, cause)
		return
	}
	*err = fmt.Errorf("codec: cannot %s %s: %s panicked: %v", doing, t, who, r)
}

// culprit finds the user's method that panicked. Neither recover nor the value
// tells, but the stack is still there while a deferred function runs.
func culprit() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		switch name := f.Function[strings.LastIndexByte(f.Function, '.')+1:]; name {
		case "MarshalCBOR", "UnmarshalCBOR", "MarshalBinary", "UnmarshalBinary", "MarshalText", "UnmarshalText", "IsZero":
			return f.Function
		}
		if !more {
			return ""
		}
	}
}
