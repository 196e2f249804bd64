package codec

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// risky reports whether a shape by itself has values that the general codec does
// not keep, or never comes to the end of.
func risky(s *shape) bool {
	switch s.class {
	case classTime:
		return true
	case classFloat:
		return s.t.Size() == 4 // signalling NaNs
	case classMap:
		return s.recursive || floats(s.key)
	case classPointer:
		return s.recursive || s.elem.class == classCBOR
	case classSlice, classArray:
		return s.recursive
	case classStruct:
		for i := range s.fields {
			if s.fields[i].risky() {
				return true
			}
		}
		return s.recursive
	}
	return false
}

// risky reports whether the field may be left out although it holds something.
func (f *field) risky() bool {
	if f.omitZero && f.isZero {
		return true
	}
	if !f.omitEmpty {
		return false
	}
	switch f.shape.class {
	case classBytes, classSlice, classMap, classFloat, classBinary, classText, classCBOR:
		return true
	}
	return false
}

// floats reports whether NaNs can be in keys of a shape.
func floats(s *shape) bool {
	switch s.class {
	case classFloat:
		return true
	case classArray:
		return floats(s.elem)
	case classStruct:
		for _, f := range s.fields {
			if floats(f.shape) {
				return true
			}
		}
	}
	return false
}

// watch looks through a value, at what is watched, for what would be lost.
func watch(t *Type, v reflect.Value) error {
	w := watcher{}
	f := w.walk(v, t.shape)
	if f == errEndless {
		// Once more, and slower, to say where.
		w = watcher{onPath: make(map[place]bool)}
		if f = w.walk(v, t.shape); f == errEndless {
			f = &fault{reason: fmt.Sprintf("is nested deeper than %d levels, or unfolds to more than %d parts", MaxDepth, maxPlaces),
				advice: "send the parts in a slice, and their relations as indices into it"}
		}
	}
	if f == nil {
		return nil
	}
	return &ValueError{Type: t.rtype, Path: rootName(t.rtype) + f.path(), Reason: f.reason, Advice: f.advice}
}

// A watcher walks a value of a recursive type without remembering where it was:
// a cycle, and only a cycle or what cannot be decoded either, is deeper than
// allowed. That costs less than a map of pointers, for all who have no cycle. What
// is shared so often that unfolding it would not end is found by counting.
type watcher struct {
	bounds
	onPath map[place]bool // only if a cycle is to be named
}

// bounds ends walks of values of recursive types that would not end, or not before
// the memory does.
type bounds struct {
	depth  int // of structs, slices, arrays and maps
	hops   int // of those and pointers
	places int // how many there were
}

// maxPlaces is more than a value has that is worth sending in one piece.
const maxPlaces = 1 << 26

// enter is false if the walk has to end; else leave has to follow.
func (b *bounds) enter(s *shape) bool {
	if s.class != classPointer {
		b.depth++
	}
	b.hops++
	b.places++
	return b.depth <= MaxDepth && b.hops <= 3*MaxDepth && b.places <= maxPlaces
}

func (b *bounds) leave(s *shape) {
	if s.class != classPointer {
		b.depth--
	}
	b.hops--
}

// A fault is why a value cannot travel, and by which steps it is reached, the last
// one first.
type fault struct {
	reason, advice string
	steps          []string
}

var errEndless = new(fault)

func (w *watcher) walk(v reflect.Value, s *shape) *fault {
	switch {
	case !s.watched:
		return nil
	case !s.recursive:
		return w.inside(v, s)
	case !w.enter(s):
		return errEndless
	}
	var here place
	if w.onPath != nil && s.class != classStruct && s.class != classArray && !v.IsNil() {
		here = placeOf(v)
		if w.onPath[here] {
			return &fault{reason: "leads back to itself", advice: "send the parts in a slice, and their relations as indices into it"}
		}
		w.onPath[here] = true
	}
	f := w.inside(v, s)
	delete(w.onPath, here)
	w.leave(s)
	return f
}

func (w *watcher) inside(v reflect.Value, s *shape) *fault {
	switch s.class {
	case classTime:
		return watchTime(*(*time.Time)(v.Addr().UnsafePointer()))
	case classFloat:
		if signals(*(*uint32)(v.Addr().UnsafePointer())) {
			return lost(signalling)
		}
	case classPointer:
		if v.IsNil() {
			return nil
		}
		if s.elem.class == classTime && v.Interface().(*time.Time).IsZero() {
			return lost("points to the zero time, and would arrive as nil")
		}
		if s.elem.class == classCBOR {
			return watchBlob(v)
		}
		return w.walk(v.Elem(), s.elem)
	case classSlice, classArray:
		return w.list(v, s)
	case classMap:
		return w.dict(v, s)
	case classStruct:
		for i := range s.fields {
			if f := w.field(v, &s.fields[i]); f != nil {
				return f.at("." + s.fields[i].name)
			}
		}
	}
	return nil
}

func (w *watcher) list(v reflect.Value, s *shape) *fault {
	n := v.Len()
	if n > 0 && s.elem.class == classFloat {
		for i, bits := range unsafe.Slice((*uint32)(v.Index(0).Addr().UnsafePointer()), n) {
			if signals(bits) {
				return lost(signalling).at("[" + strconv.Itoa(i) + "]")
			}
		}
		return nil
	}
	for i := range n {
		if f := w.walk(v.Index(i), s.elem); f != nil {
			return f.at("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

func (w *watcher) dict(v reflect.Value, s *shape) *fault {
	for iter := v.MapRange(); iter.Next(); {
		f := watchKey(iter.Key(), s.key)
		if f == nil && s.key.watched {
			f = w.walk(copied(iter.Key()), s.key)
		}
		if f == nil && s.elem.watched {
			f = w.walk(copied(iter.Value()), s.elem)
		}
		if f != nil {
			return f.at("[" + keyName(iter.Key()) + "]")
		}
	}
	return nil
}

// copied is v where it has an address, which the contents of maps have not.
func copied(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

func keyName(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String && v.Len() <= 40:
		return strconv.Quote(v.String())
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	return "..."
}

func watchKey(v reflect.Value, s *shape) *fault {
	switch {
	case !floats(s):
	case s.class == classFloat:
		if math.IsNaN(v.Float()) {
			return lost("is a NaN as a key, which nothing finds again")
		}
	case s.class == classArray:
		for i := range v.Len() {
			if f := watchKey(v.Index(i), s.elem); f != nil {
				return f
			}
		}
	case s.class == classStruct:
		for _, part := range s.fields {
			if f := watchKey(v.FieldByIndex(part.index), part.shape); f != nil {
				return f
			}
		}
	}
	return nil
}

func (w *watcher) field(v reflect.Value, f *field) *fault {
	if !f.shape.watched && !f.risky() {
		return nil
	}
	v, ok := fieldOf(v, f.index)
	if !ok {
		return nil
	}
	if f.risky() {
		if lost := watchOmitted(v, f); lost != nil {
			return lost
		}
	}
	return w.walk(v, f.shape)
}

// fieldOf is a field of a struct, unless an embedded pointer on the way is nil.
func fieldOf(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, n := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(n)
	}
	return v, true
}

func watchOmitted(v reflect.Value, f *field) *fault {
	if v.IsZero() {
		return nil // as which it arrives
	}
	left := false
	if f.omitEmpty {
		switch f.shape.class {
		case classBytes, classSlice, classMap, classCBOR:
			left = (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
		case classFloat:
			left = v.Float() == 0 // and negative
		case classBinary:
			b, err := method[encoding.BinaryMarshaler](v).MarshalBinary()
			left = err == nil && len(b) == 0
		case classText:
			b, err := method[encoding.TextMarshaler](v).MarshalText()
			left = err == nil && len(b) == 0
		}
	}
	if left {
		return lost("is empty but not zero, and omitempty would leave it out")
	}
	if f.omitZero && f.isZero && method[zeroer](v).IsZero() {
		return lost("says that it is zero but is not, and omitzero would leave it out")
	}
	return nil
}

// method is v, or its address, as something with a method of its type.
func method[I any](v reflect.Value) I {
	if m, ok := v.Addr().Interface().(I); ok {
		return m
	}
	return v.Interface().(I)
}

func watchTime(t time.Time) *fault {
	_, offset := t.Zone()
	switch {
	case t.IsZero() && offset != 0:
		return lost("is the zero time in a zone, and would arrive in UTC")
	case offset%60 != 0:
		return lost("has a zone with seconds in its offset, and would arrive as another time")
	}
	return nil
}

// watchBlob asks a marshaler behind a pointer whether it writes null.
func watchBlob(v reflect.Value) *fault {
	b, err := v.Interface().(cbor.Marshaler).MarshalCBOR()
	if err == nil && len(b) == 1 && (b[0] == itemNull || b[0] == itemNull+1) {
		return lost("points to something whose MarshalCBOR writes null, and would arrive as nil")
	}
	return nil // errors are the encoder's
}

func signals(bits uint32) bool {
	const exponent, quiet, payload = 0xff << 23, 1 << 22, 1<<22 - 1
	return bits&exponent == exponent && bits&quiet == 0 && bits&payload != 0
}

const signalling = "is a signalling NaN, which would arrive as a quiet one"

func lost(reason string) *fault {
	return &fault{reason: reason, advice: "avoid such values, or keep them out of types with maps, recursion, futures or methods for encoding"}
}

func (f *fault) at(step string) *fault {
	if f != errEndless {
		f.steps = append(f.steps, step)
	}
	return f
}

// path is the steps in their order, without the middle ones if there are many.
func (f *fault) path() string {
	slices.Reverse(f.steps)
	if n := len(f.steps); n > 20 {
		return strings.Join(f.steps[:10], "") + " ... " + strings.Join(f.steps[n-5:], "")
	}
	return strings.Join(f.steps, "")
}
