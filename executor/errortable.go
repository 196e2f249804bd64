package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"sync"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/codec"
)

// RegisterError makes sentinel errors known, so that errors.Is finds them in the error
// of a task that ran in another process. They are known by their text, so two of one
// text panic. Those of this module, of package context, io.EOF, io.ErrUnexpectedEOF,
// fs.ErrNotExist and its kin, and os.ErrDeadlineExceeded are known already. It is
// called at package init.
func RegisterError(sentinels ...error) {
	for _, s := range sentinels {
		errorTable.add(s)
	}
}

// RegisterErrorType makes a type of errors known, so that errors.As finds it in the
// error of a task that ran in another process. The type must be one that can be
// encoded: with exported fields, or methods to marshal it; an error that cannot be
// arrives as *TaskError. It is called at package init.
func RegisterErrorType[E error]() {
	t := reflect.TypeFor[E]()
	if t.Kind() == reflect.Interface {
		panic(fmt.Sprintf("executor: RegisterErrorType of %v, which is an interface; register the types that implement it", t))
	}
	errorTable.addType(t)
}

// errorTable has the errors that keep their meaning.
var errorTable = func() *errorRegistry {
	r := &errorRegistry{}
	for _, s := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe,
		fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed, os.ErrDeadlineExceeded,
		futures.ErrCancelled, futures.ErrReleased, futures.ErrGoexit,
		ErrClosed, ErrNotRegistered, ErrNotEncodable, ErrTooLarge, ErrFull, ErrKeyConflict, ErrConfig,
	} {
		r.add(s)
	}
	return r
}()

type errorRegistry struct {
	mu        sync.RWMutex
	sentinels map[string]error
	list      []error // the sentinels
	types     map[string]reflect.Type
}

func (r *errorRegistry) add(s error) {
	if s == nil {
		panic("executor: RegisterError of a nil error")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text := s.Error()
	if old, ok := r.sentinels[text]; ok {
		if !same(old, s) {
			panic(fmt.Sprintf("executor: RegisterError of two errors with the text %q, by which they are known elsewhere", text))
		}
		return
	}
	if r.sentinels == nil {
		r.sentinels = map[string]error{}
	}
	r.sentinels[text] = s
	r.list = append(r.list, s)
}

// same is a == b, but for errors that cannot be compared.
func same(a, b error) bool {
	t := reflect.TypeOf(a)
	return t == reflect.TypeOf(b) && t.Comparable() && a == b
}

func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		return "*" + typeName(t.Elem())
	}
	if t.PkgPath() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

func (r *errorRegistry) addType(t reflect.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.types == nil {
		r.types = map[string]reflect.Type{}
	}
	r.types[typeName(t)] = t
}

// sentinel is the sentinel of a text, or nil.
func (r *errorRegistry) sentinel(text string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.sentinels[text]
}

// is reports whether err is a sentinel itself.
func (r *errorRegistry) is(err error) bool {
	if !reflect.TypeOf(err).Comparable() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.list {
		if same(s, err) {
			return true
		}
	}
	return false
}

// sentinelsOf are the texts of the sentinels that err is by errors.Is.
func (r *errorRegistry) sentinelsOf(err error) (texts []string) {
	r.mu.RLock()
	list := r.list
	r.mu.RUnlock()
	defer func() { _ = recover() }() // of a method of err, which may be a nil pointer
	for _, s := range list {
		if errors.Is(err, s) {
			texts = append(texts, s.Error())
		}
	}
	return texts
}

// encode encodes an error of a registered type.
func (r *errorRegistry) encode(err error) (name string, data []byte, ok bool) {
	t := reflect.TypeOf(err)
	name = typeName(t)
	r.mu.RLock()
	registered := r.types[name] == t
	r.mu.RUnlock()
	if !registered {
		return "", nil, false
	}
	v := reflect.ValueOf(err)
	if t.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", nil, false
		}
		t, v = t.Elem(), v.Elem()
	}
	data, cerr := codec.For(t).Append(nil, v)
	return name, data, cerr == nil
}

// decode makes an error of a registered type again.
func (r *errorRegistry) decode(name string, data []byte) (error, bool) {
	r.mu.RLock()
	t := r.types[name]
	r.mu.RUnlock()
	if t == nil {
		return nil, false
	}
	elem := t
	if t.Kind() == reflect.Pointer {
		elem = t.Elem()
	}
	p := reflect.New(elem)
	if codec.For(elem).Decode(data, p.Elem()) != nil {
		return nil, false
	}
	if t.Kind() != reflect.Pointer {
		p = p.Elem()
	}
	err, ok := p.Interface().(error)
	return err, ok
}
