package codec

import (
	"bytes"
	"reflect"
	"slices"
	"unsafe"
)

// A Reference is a pointer that travels as a mention of what it points to, and not
// as its contents: a future. Package codec writes only whether it is nil; what it
// refers to is told by who finds it with References, and put back by Replace.
//
// The struct behind it must look empty to the general codec: no exported fields,
// no embedded structs, no methods for encoding.
type Reference interface {
	// NearfarReference tells the type of the pointer itself, by which a struct
	// that merely embeds a reference is known, and the type of what it refers
	// to. It is called on nil pointers, and not meant for anybody else.
	NearfarReference() (self, value reflect.Type)
}

var referenceType = reflect.TypeFor[Reference]()

func isReference(t reflect.Type) bool {
	_, ok := referenceTo(t)
	return ok
}

// referenceTo is the type that a reference of type t refers to.
func referenceTo(t reflect.Type) (value reflect.Type, ok bool) {
	if t.Kind() != reflect.Pointer || !t.Implements(referenceType) {
		return nil, false
	}
	// Through an embedded pointer, the call panics.
	defer func() {
		if recover() != nil {
			value, ok = nil, false
		}
	}()
	self, value := reflect.Zero(t).Interface().(Reference).NearfarReference()
	return value, self == t
}

// opaque reports whether the general codec sees nothing in a struct.
func opaque(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == timeType || t == bigIntType || ownMethods(t) != (methods{}) {
		return false
	}
	for f := range t.Fields() {
		if f.IsExported() || f.Anonymous {
			return false
		}
	}
	return true
}

// Fixed reports whether all values of the type have encodings of one length, and hold no
// pointers, and how long those are.
func (t *Type) Fixed() (n int, ok bool) {
	if t.raw == nil || !t.raw.exact || t.raw.room != roomBare {
		return 0, false
	}
	return 1 + t.raw.least, true
}

// HasReferences reports whether values of the type can contain references: in
// exported fields, behind pointers, in slices, arrays and values of maps. What
// stays behind by its cbor:"-" does not count.
func (t *Type) HasReferences() bool { return t.shape.refers }

// References calls visit for every reference in v that is not nil, also when the
// type cannot travel.
//
// The order is that of the fields, of indices, and in maps that of the encoded
// keys. A reference that is in several places is visited for each, also where
// pointers share it, since what they share is encoded for each of them. Only in a
// value that cannot be encoded because it is cyclic, or unfolds to too much,
// everything is visited once.
func (t *Type) References(v reflect.Value, visit func(ref reflect.Value)) {
	if !t.shape.refers {
		return
	}
	w := refWalker{each: func(r reflect.Value) (reflect.Value, error) {
		visit(r)
		return r, nil
	}}
	if t.loops {
		// A value that is about to be encoded passes this; others need not.
		dry := refWalker{
			each:  func(r reflect.Value) (reflect.Value, error) { return r, nil },
			sizes: make(map[place]int),
		}
		if dry.walk(v, t.shape) != nil {
			visitOnce(v, t.shape, visit)
			return
		}
	}
	_ = w.walk(v, t.shape) // visit has no errors
}

// Replace puts what with returns in the place of every reference in v that is not
// nil, in the order of References. v is settable and has just been decoded. with
// gets the number of the reference and its type. An error of with ends it, and is
// returned.
func (t *Type) Replace(v reflect.Value, with func(i int, ref reflect.Type) (reflect.Value, error)) error {
	if !t.shape.refers {
		return nil
	}
	i := 0
	w := refWalker{set: true, each: func(r reflect.Value) (reflect.Value, error) {
		i++
		return with(i-1, r.Type())
	}}
	return w.walk(v, t.shape)
}

type refWalker struct {
	bounds
	each  func(reflect.Value) (reflect.Value, error)
	set   bool          // each gives what to put in the place
	sizes map[place]int // if only the bounds matter: how many places are behind one
}

func (w *refWalker) walk(v reflect.Value, s *shape) error {
	switch {
	case !s.refers:
		return nil
	case !s.recursive:
		return w.inside(v, s)
	case !w.enter(s):
		return errDepth
	}
	err := w.insideOnce(v, s)
	w.leave(s)
	return err
}

// insideOnce is inside, but only counts what it has seen.
func (w *refWalker) insideOnce(v reflect.Value, s *shape) error {
	if w.sizes == nil || s.class == classStruct || s.class == classArray || v.IsNil() {
		return w.inside(v, s)
	}
	here := placeOf(v)
	if n, known := w.sizes[here]; known {
		if w.places += n; w.places > maxPlaces {
			return errDepth
		}
		return nil
	}
	before := w.places
	err := w.inside(v, s)
	w.sizes[here] = w.places - before
	return err
}

func (w *refWalker) inside(v reflect.Value, s *shape) error {
	switch s.class {
	case classReference:
		if v.IsNil() {
			return nil
		}
		r, err := w.each(v)
		if err == nil && w.set {
			v.Set(r)
		}
		return err
	case classPointer:
		if v.IsNil() {
			return nil
		}
		return w.walk(v.Elem(), s.elem)
	case classSlice, classArray:
		for i := range v.Len() {
			if err := w.walk(v.Index(i), s.elem); err != nil {
				return err
			}
		}
	case classMap:
		return w.values(v, s)
	case classStruct:
		for _, f := range s.holding {
			if part, ok := fieldOf(v, f.index); ok {
				if err := w.walk(part, f.shape); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *refWalker) values(v reflect.Value, s *shape) error {
	for _, key := range sortedKeys(v) {
		value := v.MapIndex(key)
		if !w.set {
			if err := w.walk(value, s.elem); err != nil {
				return err
			}
			continue
		}
		changed := reflect.New(s.elem.t).Elem() // what is in a map cannot be set
		changed.Set(value)
		if err := w.walk(changed, s.elem); err != nil {
			return err
		}
		v.SetMapIndex(key, changed)
	}
	return nil
}

// place is where a pointer, slice or map points to.
type place struct {
	to  uintptr
	len int
	t   unsafe.Pointer // identity of the type
}

// placeOf has no to if v is nil.
func placeOf(v reflect.Value) place {
	p := place{to: v.Pointer(), t: identity(v.Type())}
	if v.Kind() == reflect.Slice {
		p.len = v.Len()
	}
	return p
}

// visitOnce visits every reference in a graph of any shape and size, by way of a
// list of what is left, since it may be deeper than a stack.
func visitOnce(v reflect.Value, s *shape, visit func(reflect.Value)) {
	type part struct {
		v reflect.Value
		s *shape
	}
	seen := make(map[place]bool)
	left := []part{{v, s}}
	add := func(v reflect.Value, s *shape) {
		if s.refers {
			left = append(left, part{v, s})
		}
	}
	for len(left) > 0 {
		p := left[len(left)-1]
		left = left[:len(left)-1]
		switch p.s.class {
		case classPointer, classSlice, classMap, classReference:
			if p.v.IsNil() || seen[placeOf(p.v)] {
				continue
			}
			seen[placeOf(p.v)] = true
		}
		switch p.s.class {
		case classReference:
			visit(p.v)
		case classPointer:
			add(p.v.Elem(), p.s.elem)
		case classSlice, classArray:
			for i := range p.v.Len() {
				add(p.v.Index(i), p.s.elem)
			}
		case classMap:
			for _, key := range sortedKeys(p.v) {
				add(p.v.MapIndex(key), p.s.elem)
			}
		case classStruct:
			for _, f := range p.s.holding {
				if fv, ok := fieldOf(p.v, f.index); ok {
					add(fv, f.shape)
				}
			}
		}
	}
}

// sortedKeys are the keys of a map in the order of their encodings. Where those
// fail, the map cannot be encoded, and the order is not used.
func sortedKeys(m reflect.Value) []reflect.Value {
	type keyed struct {
		key  reflect.Value
		code []byte
	}
	t := For(m.Type().Key())
	keys := make([]keyed, 0, m.Len())
	for iter := m.MapRange(); iter.Next(); {
		code, _ := t.Append(nil, iter.Key())
		keys = append(keys, keyed{iter.Key(), code})
	}
	slices.SortFunc(keys, func(a, b keyed) int { return bytes.Compare(a.code, b.code) })
	sorted := make([]reflect.Value, len(keys))
	for i, k := range keys {
		sorted[i] = k.key
	}
	return sorted
}
