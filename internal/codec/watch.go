package codec

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// watch looks through a value, at what is watched, for what would be lost.
func watch(t *Type, p unsafe.Pointer) error {
	w := watcher{}
	f := w.walk(p, t.shape)
	if f == errEndless && w.places > maxPlaces {
		f = &fault{reason: fmt.Sprintf("unfolds to more than %d parts", maxPlaces), advice: flatten}
	}
	if f == errEndless {
		// Once more, and slower, to say where.
		w = watcher{onPath: make(map[place]bool)}
		if f = w.walk(p, t.shape); f == errEndless {
			f = &fault{reason: fmt.Sprintf("is nested deeper than %d levels", MaxDepth), advice: flatten}
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

// maxPlaces is more than a value has that is worth sending in one piece. Tests have
// less patience.
var maxPlaces = 1 << 26

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

const flatten = "send the parts in a slice, and their relations as indices into it"

var errEndless = new(fault)

// walk looks at the value of s at p. Offsets instead of reflection make it several
// times faster, and every value of a recursive type goes through it.
func (w *watcher) walk(p unsafe.Pointer, s *shape) *fault {
	switch {
	case !s.watched:
		return nil
	case !s.recursive:
		return w.inside(p, s)
	case !w.enter(s):
		return errEndless
	}
	var here place
	if w.onPath != nil {
		switch s.class {
		case classPointer, classSlice, classMap:
			if here = placeOf(valueAt(p, s)); here.to == 0 {
				break
			}
			if w.onPath[here] {
				return &fault{reason: "leads back to itself", advice: flatten}
			}
			w.onPath[here] = true
		}
	}
	f := w.inside(p, s)
	if here.to != 0 {
		delete(w.onPath, here)
	}
	w.leave(s)
	return f
}

func valueAt(p unsafe.Pointer, s *shape) reflect.Value { return reflect.NewAt(s.t, p).Elem() }

func (w *watcher) inside(p unsafe.Pointer, s *shape) *fault {
	switch s.class {
	case classTime:
		return watchTime(*(*time.Time)(p))
	case classFloat:
		if signals(*(*uint32)(p)) {
			return lost(signalling)
		}
	case classPointer:
		to := *(*unsafe.Pointer)(p)
		switch {
		case to == nil:
			return nil
		case s.elem.class == classTime && (*time.Time)(to).IsZero():
			return lost("points to the zero time, and would arrive as nil")
		case s.elem.class == classCBOR:
			return watchBlob(valueAt(p, s))
		}
		return w.walk(to, s.elem)
	case classSlice:
		sl := (*slice)(p)
		return w.list(sl.data, sl.len, s.elem)
	case classArray:
		return w.list(p, s.t.Len(), s.elem)
	case classMap:
		if *(*unsafe.Pointer)(p) == nil {
			return nil
		}
		return w.dict(valueAt(p, s), s)
	case classStruct:
		for _, f := range s.guarded {
			if fault := w.field(p, s, f); fault != nil {
				return fault.at("." + f.name)
			}
		}
	}
	return nil
}

func (w *watcher) list(p unsafe.Pointer, n int, elem *shape) *fault {
	if elem.class == classFloat {
		for i, bits := range unsafe.Slice((*uint32)(p), n) {
			if signals(bits) {
				return lost(signalling).at("[" + strconv.Itoa(i) + "]")
			}
		}
		return nil
	}
	size := elem.t.Size()
	for i := range n {
		if f := w.walk(unsafe.Add(p, uintptr(i)*size), elem); f != nil {
			return f.at("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

func (w *watcher) dict(m reflect.Value, s *shape) *fault {
	// What is in a map has no address.
	key, value := reflect.New(s.key.t), reflect.New(s.elem.t)
	for iter := m.MapRange(); iter.Next(); {
		key.Elem().SetIterKey(iter)
		value.Elem().SetIterValue(iter)
		f := watchKey(key.Elem(), s.key)
		if f == nil {
			f = w.walk(key.UnsafePointer(), s.key)
		}
		if f == nil {
			f = w.walk(value.UnsafePointer(), s.elem)
		}
		if f != nil {
			return f.at("[" + keyName(key.Elem()) + "]")
		}
	}
	return nil
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

func (w *watcher) field(p unsafe.Pointer, s *shape, f *field) *fault {
	if s.inPointers {
		v, ok := fieldOf(valueAt(p, s), f.index)
		if !ok {
			return nil
		}
		p = v.Addr().UnsafePointer()
	} else {
		p = unsafe.Add(p, f.offset)
	}
	if f.risky() {
		if fault := watchOmitted(valueAt(p, f.shape), f); fault != nil {
			return fault
		}
	}
	return w.walk(p, f.shape)
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
