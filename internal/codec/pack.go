package codec

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
	"unsafe"
)

// pack appends the encoding of the value at p.
func (g *program) pack(dst []byte, p unsafe.Pointer) []byte {
	for i := range g.ops {
		o := &g.ops[i]
		at := unsafe.Add(p, o.off)
		switch o.kind {
		case opTime:
			dst = packTime(dst, *(*time.Time)(at))
		case opString:
			s := *(*string)(at)
			dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
		case opBlob:
			b := *(*[]byte)(at)
			if b == nil {
				dst = append(dst, 0)
				continue
			}
			dst = append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
		case opSlice:
			s := (*slice)(at)
			if s.data == nil {
				dst = append(dst, 0)
				continue
			}
			dst = binary.AppendUvarint(dst, uint64(s.len)+1)
			dst = o.elem.packMany(dst, s.data, s.len)
		case opArray:
			dst = o.elem.packMany(dst, at, o.n)
		case opPointer:
			to := *(*unsafe.Pointer)(at)
			if to == nil {
				dst = append(dst, 0)
				continue
			}
			dst = o.elem.pack(append(dst, 1), to)
		default:
			dst = packNumbers(dst, o.kind, at, o.n)
		}
	}
	return dst
}

// packMany packs n values that lie one behind the other.
func (g *program) packMany(dst []byte, p unsafe.Pointer, n int) []byte {
	if g.whole {
		return packNumbers(dst, g.ops[0].kind, p, g.ops[0].n*n)
	}
	if g.exact {
		dst = slices.Grow(dst, n*g.least)
	}
	for i := range n {
		dst = g.pack(dst, unsafe.Add(p, uintptr(i)*g.size))
	}
	return dst
}

func packNumbers(dst []byte, kind opKind, p unsafe.Pointer, n int) []byte {
	switch kind {
	case op16:
		for _, x := range unsafe.Slice((*uint16)(p), n) {
			dst = binary.LittleEndian.AppendUint16(dst, x)
		}
	case op32:
		for _, x := range unsafe.Slice((*uint32)(p), n) {
			dst = binary.LittleEndian.AppendUint32(dst, x)
		}
	case op64:
		for _, x := range unsafe.Slice((*uint64)(p), n) {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
	case opInt:
		for _, x := range unsafe.Slice((*int)(p), n) {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
		}
	case opUint:
		for _, x := range unsafe.Slice((*uint)(p), n) {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
		}
	default: // opBytes, opBool
		dst = append(dst, unsafe.Slice((*byte)(p), n)...)
	}
	return dst
}

// slice is how a slice lies in memory, whatever its elements are.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

const (
	timeSize = 8 + 4 + 8
	inUTC    = math.MinInt64 // instead of an offset
)

// packTime keeps the instant exactly and the offset of the zone. The marshalers
// of package time refuse years and offsets that RFC 3339 has no room for.
func packTime(dst []byte, t time.Time) []byte {
	offset := int64(inUTC)
	if t.Location() != time.UTC {
		_, seconds := t.Zone()
		offset = int64(seconds)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Unix()))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.Nanosecond()))
	return binary.LittleEndian.AppendUint64(dst, uint64(offset))
}
