package codec

import (
	"encoding/binary"
	"reflect"
	"unsafe"
)

// A program packs the values of one type, and unpacks them: a list of what to do
// at which offset. Types without maps, methods for encoding, references and
// recursion have one; see the package comment for the bytes it makes.
type program struct {
	typ    reflect.Type
	slices reflect.Type // of typ, if room is roomTyped
	size   uintptr      // of a value in memory
	least  int          // the fewest bytes that a value takes
	exact  bool         // every value takes least bytes
	whole  bool         // ops is one op, over numbers that fill the memory: n values are one op n times as long
	plain  bool         // whole, and the memory is the encoding
	room   room
	ops    []op
}

// room is what a value needs of memory.
type room uint8

const (
	roomTyped   room = iota // pointers where its type says
	roomBare                // no pointers
	roomString              // a string
	roomSlice               // a slice
	roomPointer             // a pointer
)

type op struct {
	kind opKind
	off  uintptr
	n    int      // how many: bytes, numbers, elements
	elem *program // of arrays, slices and pointers
}

type opKind uint8

const (
	opBytes   opKind = iota // n bytes that are the same in memory and in the encoding
	opBool                  // n of them; copied, but checked on the way in
	op16                    // n numbers of 16 bits, where memory is not little-endian
	op32                    //
	op64                    //
	opInt                   // n of them, where an int is not 8 bytes of little-endian
	opUint                  //
	opTime                  // seconds, nanoseconds, offset of the zone
	opString                // length, bytes
	opBlob                  // a slice of bytes: 0 or 1 + length, bytes
	opSlice                 // 0 or 1 + length, elements
	opArray                 // n elements
	opPointer               // 0, or 1 and what it points to
)

// wire is how many bytes one of it takes, or the fewest.
func (k opKind) wire() int {
	switch k {
	case op16:
		return 2
	case op32:
		return 4
	case op64, opInt, opUint:
		return 8
	case opTime:
		return timeSize
	}
	return 1
}

// memory is how many bytes one of it fills, for those that may be repeated.
func (k opKind) memory() uintptr {
	switch k {
	case opInt, opUint:
		return unsafe.Sizeof(int(0))
	}
	return uintptr(k.wire())
}

// bulk says that numbers may be copied as they lie in memory.
var bulk = littleEndian && unsafe.Sizeof(int(0)) == 8

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// general reports whether a shape by itself keeps a type from being raw.
func (s *shape) general() bool {
	switch s.class {
	case classBool, classInt, classUint, classFloat, classComplex, classString, classBytes, classByteArray, classTime:
		return false
	case classSlice, classArray, classPointer:
		return s.recursive
	case classStruct:
		return s.recursive || s.leaves || s.inPointers
	}
	return true
}

// compile makes the program of a shape in which none is general. It is nil if a
// slice has elements that take no bytes, since its length could promise any number
// of them. bulk is a parameter so that tests can compare the ways of machines that
// are not here.
func compile(s *shape, bulk bool) *program {
	c := compiler{bulk: bulk, done: make(map[*shape]*program)}
	g := c.program(s)
	if c.hollow {
		return nil
	}
	return g
}

type compiler struct {
	bulk   bool
	done   map[*shape]*program
	hollow bool // a slice's elements take no bytes
}

func (c *compiler) program(s *shape) *program {
	if p := c.done[s]; p != nil {
		return p
	}
	p := &program{typ: s.t, size: s.t.Size(), exact: true}
	c.done[s] = p
	c.emit(p, s, 0)
	if p.room = p.needs(); p.room == roomTyped {
		p.slices = reflect.SliceOf(s.t)
	}
	if len(p.ops) == 1 && p.ops[0].kind <= opUint {
		o := p.ops[0]
		p.whole = o.off == 0 && uintptr(o.n)*o.kind.memory() == p.size
		p.plain = p.whole && o.kind == opBytes
	}
	return p
}

func (p *program) needs() room {
	if len(p.ops) == 1 && p.ops[0].off == 0 {
		switch o := p.ops[0]; {
		case o.kind == opString && p.size == unsafe.Sizeof(""):
			return roomString
		case (o.kind == opBlob || o.kind == opSlice) && p.size == unsafe.Sizeof(slice{}):
			return roomSlice
		case o.kind == opPointer && p.size == unsafe.Sizeof(uintptr(0)):
			return roomPointer
		}
	}
	if pointers(p.typ) {
		return roomTyped
	}
	return roomBare
}

func pointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return pointers(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if pointers(field.Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() > reflect.Complex128
}

func (c *compiler) emit(p *program, s *shape, off uintptr) {
	switch s.class {
	case classBool:
		p.add(op{kind: opBool, off: off, n: 1})
	case classInt, classUint, classFloat:
		p.add(c.numbers(s.t.Kind(), off, 1))
	case classComplex:
		if s.t.Kind() == reflect.Complex64 {
			p.add(c.numbers(reflect.Float32, off, 2))
		} else {
			p.add(c.numbers(reflect.Float64, off, 2))
		}
	case classByteArray:
		p.add(op{kind: opBytes, off: off, n: s.t.Len()})
	case classTime:
		p.add(op{kind: opTime, off: off, n: 1})
	case classString:
		p.add(op{kind: opString, off: off, n: 1})
	case classBytes:
		p.add(op{kind: opBlob, off: off, n: 1})
	case classSlice:
		elem := c.program(s.elem)
		c.hollow = c.hollow || elem.least == 0
		p.add(op{kind: opSlice, off: off, n: 1, elem: elem})
	case classPointer:
		p.add(op{kind: opPointer, off: off, n: 1, elem: c.program(s.elem)})
	case classArray:
		if e := c.program(s.elem); e.whole {
			p.add(op{kind: e.ops[0].kind, off: off, n: e.ops[0].n * s.t.Len()})
		} else {
			p.add(op{kind: opArray, off: off, n: s.t.Len(), elem: e})
		}
	case classStruct:
		for _, f := range s.fields {
			c.emit(p, f.shape, off+f.offset)
		}
	}
}

// numbers is the op for n numbers of a kind side by side.
func (c *compiler) numbers(k reflect.Kind, off uintptr, n int) op {
	kind := op64
	switch k {
	case reflect.Int8, reflect.Uint8:
		kind = opBytes
	case reflect.Int16, reflect.Uint16:
		kind = op16
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		kind = op32
	case reflect.Int:
		kind = opInt
	case reflect.Uint:
		kind = opUint
	}
	if c.bulk {
		return op{kind: opBytes, off: off, n: n * kind.wire()}
	}
	return op{kind: kind, off: off, n: n}
}

// add appends o, or makes the last op longer where the two touch.
func (p *program) add(o op) {
	if o.n == 0 || o.kind == opArray && len(o.elem.ops) == 0 {
		return // nothing to carry
	}
	switch o.kind {
	case opString, opBlob, opSlice, opPointer:
		p.exact = false
		p.least++
	case opArray:
		p.exact = p.exact && o.elem.exact
		p.least += o.n * o.elem.least
	default:
		p.least += o.n * o.kind.wire()
	}
	if n := len(p.ops); n > 0 && o.kind <= opUint {
		if last := &p.ops[n-1]; last.kind == o.kind && last.off+uintptr(last.n)*o.kind.memory() == o.off {
			last.n += o.n
			return
		}
	}
	p.ops = append(p.ops, o)
}
