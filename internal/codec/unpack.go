package codec

import (
	"encoding/binary"
	"math"
	"reflect"
	"time"
	"unsafe"
)

// An unpacker undoes pack. Every length is held against the bytes that are left
// before anything is allocated for it.
type unpacker struct {
	data []byte // what is left
	lend bool   // data was given up: large strings and byte slices may stay in it

	block []byte         // where short strings and byte slices are carved from
	zone  *time.Location // the last one made
}

const (
	blockSize = 1 << 10  // so much may stay in memory for the sake of one short string
	carveMax  = 1 << 8   // longer ones are allocated on their own
	lendMin   = 32 << 10 // shorter ones are copied even if data was given up
)

// unpack fills the memory at p, of which it sets every byte that is not padding.
func (u *unpacker) unpack(g *program, p unsafe.Pointer) error {
	if len(u.data) < g.least {
		return errShort
	}
	for i := range g.ops {
		o := &g.ops[i]
		at := unsafe.Add(p, o.off)
		var err error
		switch o.kind {
		case opTime:
			err = u.time((*time.Time)(at))
		case opString:
			err = u.string((*string)(at))
		case opBlob:
			err = u.blob((*[]byte)(at))
		case opSlice:
			err = u.slice(o.elem, (*slice)(at))
		case opArray:
			err = u.many(o.elem, at, o.n)
		case opPointer:
			err = u.pointer(o.elem, (*unsafe.Pointer)(at))
		default:
			err = u.numbers(o.kind, at, o.n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// many unpacks n values that lie one behind the other.
func (u *unpacker) many(g *program, p unsafe.Pointer, n int) error {
	if g.whole {
		return u.numbers(g.ops[0].kind, p, g.ops[0].n*n)
	}
	for i := range n {
		if err := u.unpack(g, unsafe.Add(p, uintptr(i)*g.size)); err != nil {
			return err
		}
	}
	return nil
}

// length reads the length of something whose elements take at least least bytes.
func (u *unpacker) length(least int) (int, error) {
	n, size := binary.Uvarint(u.data)
	switch {
	case size == 0:
		return 0, errShort
	case size < 0:
		return 0, errVarint
	}
	u.data = u.data[size:]
	if n > uint64(len(u.data)/least)+1 { // the 1 is what a slice's length is off by
		return 0, errShort
	}
	return int(n), nil
}

func (u *unpacker) string(s *string) error {
	n, err := u.length(1)
	if err != nil {
		return err
	}
	if n > len(u.data) {
		return errShort
	}
	b := u.take(n)
	*s = unsafe.String(unsafe.SliceData(b), len(b))
	return nil
}

func (u *unpacker) blob(b *[]byte) error {
	n, err := u.length(1)
	if err != nil {
		return err
	}
	switch n {
	case 0:
		*b = nil
	case 1:
		*b = []byte{}
	default:
		*b = u.take(n - 1)
	}
	return nil
}

// take is the next n bytes in memory of their own, which nothing else writes to.
func (u *unpacker) take(n int) []byte {
	from := u.data[:n:n]
	u.data = u.data[n:]
	switch {
	case n > lendMin && u.lend:
		return from
	case n > carveMax:
		return append([]byte(nil), from...)[:n:n]
	case n > len(u.block):
		u.block = make([]byte, min(blockSize, n+len(u.data)))
	}
	to := u.block[:n:n]
	u.block = u.block[n:]
	copy(to, from)
	return to
}

// empty is where slices without elements point to: not nil, and nothing to keep.
var empty uint64

func (u *unpacker) slice(g *program, s *slice) error {
	*s = slice{}
	return u.sliceIn(g, s)
}

// sliceIn unpacks a slice into the memory that s has, or into fresh memory if that is too
// little.
func (u *unpacker) sliceIn(g *program, s *slice) error {
	n, err := u.length(g.least)
	if err != nil {
		return err
	}
	switch n--; n {
	case -1:
		*s = slice{}
		return nil
	case 0:
		*s = slice{data: unsafe.Pointer(&empty)}
		return nil
	}
	if g.size > 0 && uintptr(n) > math.MaxInt/g.size {
		return errLarge
	}
	if n <= s.cap {
		s.len = n
		return u.many(g, s.data, n)
	}
	if g.plain {
		size := n * g.ops[0].n
		*s = slice{data: duplicate(u.data[:size]), len: n, cap: n}
		u.data = u.data[size:]
		return nil
	}
	to := g.allocate(n)
	if err := u.many(g, to, n); err != nil {
		return err
	}
	*s = slice{data: to, len: n, cap: n}
	return nil
}

// allocate makes room for n values. For the commonest elements it needs no
// reflection: what the collector has to know of memory is where pointers are.
func (g *program) allocate(n int) unsafe.Pointer {
	switch g.room {
	case roomBare:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, (uintptr(n)*g.size+7)/8)))
	case roomString:
		return unsafe.Pointer(unsafe.SliceData(make([]string, n)))
	case roomSlice:
		return unsafe.Pointer(unsafe.SliceData(make([][]byte, n)))
	case roomPointer:
		return unsafe.Pointer(unsafe.SliceData(make([]unsafe.Pointer, n)))
	}
	return reflect.MakeSlice(g.slices, n, n).UnsafePointer()
}

// duplicate copies bytes into memory that is aligned for any number. Appending to
// nil, it spares clearing what is about to be overwritten.
func duplicate(b []byte) unsafe.Pointer {
	if len(b)%8 != 0 {
		to := make([]uint64, len(b)/8+1)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&to[0])), len(b)), b)
		return unsafe.Pointer(&to[0])
	}
	from := unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8)
	return unsafe.Pointer(unsafe.SliceData(append([]uint64(nil), from...)))
}

func (u *unpacker) pointer(g *program, to *unsafe.Pointer) error {
	if len(u.data) == 0 {
		return errShort
	}
	set := u.data[0]
	u.data = u.data[1:]
	switch set {
	case 0:
		*to = nil
		return nil
	case 1:
		p := reflect.New(g.typ).UnsafePointer()
		*to = p
		return u.unpack(g, p)
	}
	return errPointer
}

func (u *unpacker) numbers(kind opKind, p unsafe.Pointer, n int) error {
	size := n * kind.wire()
	if len(u.data) < size {
		return errShort
	}
	from := u.data[:size]
	u.data = u.data[size:]
	switch kind {
	case opBytes:
		copy(unsafe.Slice((*byte)(p), n), from)
	case opBool:
		for _, b := range from {
			if b > 1 {
				return errBool
			}
		}
		copy(unsafe.Slice((*byte)(p), n), from)
	case op16:
		for i := range unsafe.Slice((*uint16)(p), n) {
			unsafe.Slice((*uint16)(p), n)[i] = binary.LittleEndian.Uint16(from[2*i:])
		}
	case op32:
		for i := range unsafe.Slice((*uint32)(p), n) {
			unsafe.Slice((*uint32)(p), n)[i] = binary.LittleEndian.Uint32(from[4*i:])
		}
	case op64:
		for i := range unsafe.Slice((*uint64)(p), n) {
			unsafe.Slice((*uint64)(p), n)[i] = binary.LittleEndian.Uint64(from[8*i:])
		}
	case opInt:
		to := unsafe.Slice((*int)(p), n)
		for i := range to {
			x := int64(binary.LittleEndian.Uint64(from[8*i:]))
			if to[i] = int(x); int64(to[i]) != x {
				return errWord
			}
		}
	case opUint:
		to := unsafe.Slice((*uint)(p), n)
		for i := range to {
			x := binary.LittleEndian.Uint64(from[8*i:])
			if to[i] = uint(x); uint64(to[i]) != x {
				return errWord
			}
		}
	}
	return nil
}

// time undoes packTime. As time.Parse does, it gives the local zone to a time with
// the offset that the local zone had then.
func (u *unpacker) time(to *time.Time) error {
	if len(u.data) < timeSize {
		return errShort
	}
	seconds := int64(binary.LittleEndian.Uint64(u.data))
	nanos := binary.LittleEndian.Uint32(u.data[8:])
	offset := int64(binary.LittleEndian.Uint64(u.data[12:]))
	u.data = u.data[timeSize:]
	if nanos >= 1e9 {
		return errTime
	}
	t := time.Unix(seconds, int64(nanos))
	if offset == inUTC {
		*to = t.UTC()
		return nil
	}
	if int64(int(offset)) != offset {
		return errWord
	}
	if _, local := t.Zone(); int64(local) == offset {
		*to = t
		return nil
	}
	if u.zone != nil {
		*to = t.In(u.zone)
		if _, same := to.Zone(); int64(same) == offset {
			return nil
		}
	}
	u.zone = time.FixedZone("", int(offset))
	*to = t.In(u.zone)
	return nil
}
