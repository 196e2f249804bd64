package codec

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A shape is one type inside a Type: how its values are encoded, and what is to be
// watched for in them. The shapes of a Type form a graph, with loops where the Go
// types have them.
type shape struct {
	t     reflect.Type
	class class
	elem  *shape // of pointers, slices, arrays and maps
	key   *shape // of maps

	fields  []field  // of structs, in the order of the Go type
	written []*field // and in the order in which the general codec writes them
	guarded []*field // those that are watched, or may be left out at a loss
	holding []*field // those with references

	asArray    bool // a struct that the general codec writes as an array
	leaves     bool // a struct with fields that stay behind, by the wish of their cbor:"-"
	inPointers bool // a struct with embedded pointers

	bound     bool // for the general codec: something in it has no raw path
	refers    bool // references are in it
	recursive bool // a value of it can contain another
	watched   bool // some of its values cannot be encoded faithfully; see watch
	blobs     bool // something in it has a CBOR marshaler
}

// class is how a type is encoded.
type class uint8

const (
	classNone class = iota // cannot be
	classBool
	classInt
	classUint
	classFloat
	classComplex // by raw paths only
	classString
	classBytes     // slices of bytes
	classByteArray // arrays of bytes
	classSlice
	classArray
	classMap
	classPointer
	classStruct
	classTime
	classBigInt
	classBinary // by its own MarshalBinary
	classText   // by its own MarshalText
	classCBOR   // by its own MarshalCBOR
	classReference
)

var (
	timeType   = reflect.TypeFor[time.Time]()
	bigIntType = reflect.TypeFor[big.Int]()
	bigFloat   = reflect.TypeFor[big.Float]()
)

// A builder makes the shapes of one Type.
type builder struct {
	root   reflect.Type
	shapes map[reflect.Type]*shape
	order  []*shape // as they were made
	path   []string // to the type that is being looked at
	hard   error    // the first reason why no path takes the root
	soft   error    // the first reason why the general codec does not; raw paths may
	maps   []keyed  // whose keys are looked at when their shapes are complete
}

type keyed struct {
	s    *shape
	path []string
}

func (b *builder) build() *shape {
	b.path = []string{rootName(b.root)}
	s := b.shapeOf(b.root)
	for _, m := range b.maps {
		if why := badKey(m.s.key); why != "" {
			b.path = m.path
			b.refuse(&b.hard, "is a map whose keys "+why, "use keys that are equal when their encodings are, such as numbers and strings")
		}
	}
	for _, s := range b.order {
		s.recursive = reaches(s, s, make(map[*shape]bool))
	}
	b.spread(func(s *shape) *bool { return &s.bound }, (*shape).general)
	b.spread(func(s *shape) *bool { return &s.refers }, func(s *shape) bool { return s.class == classReference })
	b.spread(func(s *shape) *bool { return &s.blobs }, func(s *shape) bool { return s.class == classCBOR })
	b.spread(func(s *shape) *bool { return &s.watched }, risky)
	for _, s := range b.order {
		for i := range s.fields {
			if f := &s.fields[i]; f.shape.watched || f.risky() {
				s.guarded = append(s.guarded, f)
			}
			if f := &s.fields[i]; f.shape.refers {
				s.holding = append(s.holding, f)
			}
		}
	}
	return s
}

// rootName is how a type begins the path to something in it.
func rootName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	if name := t.Name(); name != "" {
		return name
	}
	return t.String()
}

func (b *builder) refuse(to *error, reason, advice string) {
	if *to == nil {
		*to = &TypeError{Type: b.root, Path: strings.Join(b.path, ""), Reason: reason, Advice: advice}
	}
}

// in is shapeOf, one step further down the path.
func (b *builder) in(step string, t reflect.Type) *shape {
	b.path = append(b.path, step)
	s := b.shapeOf(t)
	b.path = b.path[:len(b.path)-1]
	return s
}

func (b *builder) shapeOf(t reflect.Type) *shape {
	if s := b.shapes[t]; s != nil {
		return s
	}
	s := &shape{t: t}
	b.shapes[t] = s
	b.order = append(b.order, s)
	switch own := ownMethods(t); {
	case isReference(t):
		s.class = classReference
		if !opaque(t.Elem()) {
			b.refuse(&b.hard, "is a reference whose own fields or methods would be encoded", "references must be opaque")
		}
	case t == timeType:
		s.class = classTime
	case t == bigIntType:
		s.class = classBigInt
	case t == bigFloat:
		b.refuse(&b.hard, "is a big.Float, whose MarshalText drops its precision", "send its Text and its Prec, or a big.Rat")
	case own.fault != "":
		b.refuse(&b.hard, own.fault, own.advice)
	case own.class != classNone:
		s.class = own.class
	default:
		b.byKind(s)
	}
	return s
}

func (b *builder) byKind(s *shape) {
	t := s.t
	switch t.Kind() {
	case reflect.Bool:
		s.class = classBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.class = classInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.class = classUint
	case reflect.Float32, reflect.Float64:
		s.class = classFloat
	case reflect.Complex64, reflect.Complex128:
		s.class = classComplex
		b.refuse(&b.soft, "is a "+t.Kind().String()+", which CBOR has no form for",
			"send real and imaginary parts, or keep it out of types with maps, recursion, futures or methods for encoding")
	case reflect.String:
		s.class = classString
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			s.class = classBytes
			return
		}
		s.class = classSlice
		s.elem = b.in("[i]", t.Elem())
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			s.class = classByteArray
			return
		}
		s.class = classArray
		s.elem = b.in("[i]", t.Elem())
	case reflect.Map:
		s.class = classMap
		s.key = b.in("(key)", t.Key())
		b.maps = append(b.maps, keyed{s, slices.Clone(b.path)})
		step := "[...]"
		if t.Key().Kind() == reflect.String {
			step = `["..."]`
		}
		s.elem = b.in(step, t.Elem())
	case reflect.Pointer:
		s.class = classPointer
		s.elem = b.in("", t.Elem())
		if nilable(t.Elem()) {
			b.refuse(&b.soft, "is a "+t.String()+", where a nil pointer and a pointer to nil would look alike", "drop one level of pointers")
		}
	case reflect.Struct:
		s.class = classStruct
		b.structOf(s)
	case reflect.Interface:
		b.refuse(&b.hard, "is of the interface type "+t.String(),
			"the other side has to know what to decode: use a concrete type")
	case reflect.Chan:
		b.refuse(&b.hard, "is a "+t.String(), "a channel cannot leave its process: send values, or futures")
	case reflect.Func:
		b.refuse(&b.hard, "is a "+t.String(), "code does not travel: send data, and register the function that uses it")
	default: // uintptr, unsafe.Pointer
		b.refuse(&b.hard, "is a "+t.String(), "an address means nothing in another process: use a uint64 if it is a number")
	}
}

// nilable reports whether the general codec may write a value of t as null.
// Times and types with a CBOR marshaler are watched instead.
func nilable(t reflect.Type) bool {
	if isReference(t) || t.Kind() == reflect.Pointer {
		return true
	}
	own := ownMethods(t)
	return own.class == classNone && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map)
}

// badKey says why keys of a shape may not be the same keys, or not as many, when
// they arrive.
func badKey(s *shape) string {
	switch s.class {
	case classPointer, classReference:
		return "contain pointers, which are others when they arrive"
	case classTime:
		return "contain times, which are compared with their zone and arrive with another"
	case classArray:
		return badKey(s.elem)
	case classStruct:
		if s.leaves {
			return `contain fields with a cbor:"-"`
		}
		for _, f := range s.fields {
			if why := badKey(f.shape); why != "" {
				return why
			}
		}
	}
	return ""
}

// next is every shape whose values are part of the values of s.
func (s *shape) next() []*shape {
	var to []*shape
	if s.key != nil {
		to = append(to, s.key)
	}
	if s.elem != nil {
		to = append(to, s.elem)
	}
	for _, f := range s.fields {
		to = append(to, f.shape)
	}
	return to
}

func reaches(from, to *shape, seen map[*shape]bool) bool {
	for _, s := range from.next() {
		if s == to {
			return true
		}
		if !seen[s] {
			seen[s] = true
			if reaches(s, to, seen) {
				return true
			}
		}
	}
	return false
}

// spread sets a mark on every shape that has a property of its own, or contains
// one that is marked.
func (b *builder) spread(mark func(*shape) *bool, own func(*shape) bool) {
	for changed := true; changed; {
		changed = false
		for _, s := range slices.Backward(b.order) {
			if *mark(s) {
				continue
			}
			if own(s) || slices.ContainsFunc(s.next(), func(n *shape) bool { return *mark(n) }) {
				*mark(s), changed = true, true
			}
		}
	}
}

func (s *shape) String() string { return fmt.Sprint(s.t) }
