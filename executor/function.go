package executor

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/nearfar/nearfar/internal/codec"
	"github.com/nearfar/nearfar/pool"
)

// A function is what is known of a task's function: of a registered one, or of one
// that somebody just submits.
type function struct {
	id         funcID
	registered string // the name that it travels under, or ""
	file       string
	line       int

	// Of a registered function.
	print  codec.Fingerprint
	invoke func(ctx context.Context, arg []byte) ([]byte, error)
	host   func() hosted       // makes a task of it that came from elsewhere
	lease  func() hostedLeaser // makes a lease of its calls
	plain  func(*PlainHost, []PlainArg) []pool.Task
}

// A funcID tells functions apart: by their code, and by their types too, since the
// instances of a generic function may share their code.
type funcID struct {
	code        uintptr
	arg, result reflect.Type
}

// functions are those that were registered, and those met since. They are read at
// every turn and written once a function, so a write makes new maps.
var functions struct {
	known atomic.Pointer[map[funcID]*function]

	sync.Mutex // guards writing known, and byName
	byName     map[string]*function
}

// lookup finds a function that is known.
func lookup(id funcID) *function {
	if known := functions.known.Load(); known != nil {
		return (*known)[id]
	}
	return nil
}

// knowLocked makes f known.
func knowLocked(f *function) {
	known := map[funcID]*function{}
	if old := functions.known.Load(); old != nil {
		maps.Copy(known, *old)
	}
	known[f.id] = f
	functions.known.Store(&known)
}

// codeOf is where the code of fn begins.
func codeOf[A, R any](fn func(context.Context, A) (R, error)) uintptr {
	return **(**uintptr)(unsafe.Pointer(&fn))
}

// functionOf finds out about fn.
func functionOf[A, R any](fn func(context.Context, A) (R, error)) *function {
	if fn == nil {
		return &function{}
	}
	id := funcID{codeOf(fn), reflect.TypeFor[A](), reflect.TypeFor[R]()}
	if f := lookup(id); f != nil {
		return f
	}
	functions.Lock()
	defer functions.Unlock()
	f := lookup(id)
	if f == nil {
		f = newFunction(id)
		knowLocked(f)
	}
	return f
}

func newFunction(id funcID) *function {
	f := &function{id: id}
	if rf := runtime.FuncForPC(id.code); rf != nil {
		f.file, f.line = rf.FileLine(id.code)
	}
	return f
}

// symbol is the runtime's name of the function.
func (f *function) symbol() string {
	if rf := runtime.FuncForPC(f.id.code); rf != nil {
		return rf.Name()
	}
	return "unknown"
}

// name is what the function is called in front of people.
func (f *function) name() string {
	if f.registered != "" {
		return f.registered
	}
	return f.symbol()
}

// place is where the function stands, for error messages.
func (f *function) place() string { return fmt.Sprintf("%s (%s:%d)", f.symbol(), f.file, f.line) }

// travelName is the name of a function that was given none: the full path of its
// package, itself, and its signature, which tells the instances of a generic
// function apart.
func (f *function) travelName() string {
	return fmt.Sprintf("%s(%s) %s", qualified(f.symbol()), codec.For(f.id.arg), codec.For(f.id.result))
}

// qualified replaces the package name main, which every program has, by the import
// path of this one.
func qualified(symbol string) string {
	rest, ok := strings.CutPrefix(symbol, "main.")
	if !ok {
		return symbol
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" && info.Path != "command-line-arguments" {
		return strings.TrimSuffix(info.Path, ".test") + "." + rest
	}
	return symbol
}
