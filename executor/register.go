package executor

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/nearfar/nearfar/internal/codec"
)

// Register makes fn known by name, so that it may run in another process of the same
// program, and returns it. It is called at package init, for a top-level function or
// a literal in the declaration of a package-level variable, which needs WithName:
//
//	func area(ctx context.Context, r float64) (float64, error) { ... }
//	func init() { executor.Register(area) }
//
//	var volume = executor.Register(func(ctx context.Context, r float64) (float64, error) { ... },
//		executor.WithName("geo.volume"))
//
// Submit knows a function by its code: it is given the function itself, or the
// variable. A top-level function is named by its package path, itself and its
// signature. So is an instance of a generic function, if all its type arguments show
// in the argument or the result; another one needs WithName.
//
// Register panics, and says where, on nil, on any other literal, on a function that
// captures something or is a method value, and on two functions of one name. The same
// function again is a no-op. It never refuses a type; Submit does.
func Register[A, R any](fn func(context.Context, A) (R, error), opts ...Option) func(context.Context, A) (R, error) {
	if fn == nil {
		panic("executor: Register of a nil function")
	}
	o, err := gather(opts, "Register", forRegister)
	if err != nil {
		panic(err.Error())
	}
	f := newFunction(funcID{codeOf(fn), reflect.TypeFor[A](), reflect.TypeFor[R]()})
	if why := untravelable(f, *(*unsafe.Pointer)(unsafe.Pointer(&fn)), o.name != ""); why != "" {
		panic(fmt.Sprintf("executor: Register of %s: %s", f.place(), why))
	}
	if f.registered = o.name; o.name == "" {
		f.registered = f.travelName()
	}
	f.print = codec.FuncFingerprint(f.id.arg, f.id.result)
	f.invoke = func(ctx context.Context, arg []byte) ([]byte, error) { return invokeEncoded(ctx, fn, arg) }
	f.host = func() hosted {
		t := &hostedTask[A, R]{}
		t.fn = fn
		return t
	}
	f.plain = makePlain(fn)
	rooms := new(sync.Pool)
	f.lease = func() hostedLeaser { return &hostedLease[A, R]{fn: fn, rooms: rooms} }
	enlist(f)
	return fn
}

func enlist(f *function) {
	functions.Lock()
	defer functions.Unlock()
	if old := functions.byName[f.registered]; old != nil && old.id != f.id {
		panic(fmt.Sprintf("executor: Register of two functions as %q: %s and %s; give one of them another name by WithName",
			f.registered, old.place(), f.place()))
	}
	if old := lookup(f.id); old != nil && old.registered != "" {
		if old.registered != f.registered {
			panic(fmt.Sprintf("executor: Register of %s under two names: %q and %q", f.place(), old.registered, f.registered))
		}
		return
	}
	if functions.byName == nil {
		functions.byName = map[string]*function{}
	}
	functions.byName[f.registered] = f
	knowLocked(f)
}

// A literal of a package-level variable is called so by the compiler. One in a
// function init is init.0.func1, and one elsewhere has its function's name.
var packageLiteral = regexp.MustCompile(`\.init\.func\d+$`)

var anyLiteral = regexp.MustCompile(`\.func\d+(\.\d+)*$`)

// untravelable says why a function cannot be found again in another process, or "".
func untravelable(f *function, value unsafe.Pointer, named bool) string {
	symbol := f.symbol()
	switch {
	case strings.HasSuffix(symbol, "-fm"):
		return "a method value carries its receiver, which stays here; register a function that takes it as its argument"
	case captures(value):
		return "it captures variables, which stay here; register a top-level function that takes them in its argument"
	case anyLiteral.MatchString(symbol) && !packageLiteral.MatchString(symbol):
		return "a function literal must stand in the declaration of a package-level variable; or make it a top-level function"
	case packageLiteral.MatchString(symbol) && !named:
		return "a function literal has no name that is the same in every build; give it one by WithName"
	}
	return ""
}

// captures reports whether a function value is one that was made at run time. What
// the linker has laid out captures nothing, and has no cleanup: asking for one panics.
func captures(value unsafe.Pointer) (made bool) {
	defer func() {
		if recover() != nil {
			made = false
		}
	}()
	runtime.AddCleanup((*uintptr)(value), func(int) {}, 0).Stop()
	return true
}

// errNotRegistered is ErrNotRegistered for f.
func errNotRegistered(f *function) error {
	how := "add func init() { executor.Register(" + shortName(f.symbol()) + ") } to its package"
	if why := anyLiteral.FindString(f.symbol()); why != "" {
		how = "it is a literal: make it a top-level function, and register that at package init"
	}
	return fmt.Errorf("%w: %s would have to run in another process (or pass for one, in strict mode); %s", ErrNotRegistered, f.place(), how)
}

func shortName(symbol string) string {
	return symbol[strings.LastIndexAny(symbol, "./")+1:]
}

// Registered are the fingerprints of the functions that were registered, by name: what
// two processes compare to see that they mean the same.
func Registered() map[string]string {
	functions.Lock()
	defer functions.Unlock()
	all := make(map[string]string, len(functions.byName))
	for name, f := range functions.byName {
		all[name] = fmt.Sprintf("%x", f.print)
	}
	return all
}
