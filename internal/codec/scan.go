package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A scanner holds an encoding of the general codec against the type that it is
// said to be of, and allocates nothing. After it has passed, decoding costs
// memory only in proportion to the data, as far as the type allows: no few bytes
// stand for a large struct or array.
type scanner struct {
	data  []byte
	off   int
	depth int
}

// The upper three bits of the first byte of a CBOR item.
const (
	majorUint  = 0 << 5
	majorInt   = 1 << 5 // -1 - n
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
	majorTag   = 6 << 5
	majorOther = 7 << 5
)

// First bytes that are, or tell, the whole item.
const (
	itemFalse   = majorOther | 20
	itemTrue    = majorOther | 21
	itemNull    = majorOther | 22
	itemFloat32 = majorOther | 26
	itemFloat64 = majorOther | 27

	itemEmptyMap = majorMap
	itemTimeTag  = majorTag     // 0, text
	itemPlusTag  = majorTag | 2 // a large big.Int
	itemMinusTag = majorTag | 3
)

// selfDescribed is a tag that says that what follows is CBOR. The decoder takes it
// away before it calls UnmarshalCBOR.
var selfDescribed = []byte{0xd9, 0xd9, 0xf7}

// whole checks that the data is one value of s.
func (s *scanner) whole(sh *shape) error {
	if err := s.value(sh); err != nil {
		return err
	}
	if s.off != len(s.data) {
		return errExtra
	}
	return nil
}

func (s *scanner) wrong(sh *shape) error {
	if s.off >= len(s.data) {
		return errShort
	}
	return fmt.Errorf("byte %d (%#02x) is not how a %s begins", s.off, s.data[s.off], sh)
}

// is moves past one byte if it is next.
func (s *scanner) is(b byte) bool {
	if s.off < len(s.data) && s.data[s.off] == b {
		s.off++
		return true
	}
	return false
}

// head moves past the first bytes of an item of the kind major, whose number n is.
// A length that has no room in an int fails here too.
func (s *scanner) head(major byte) (n int, ok bool) {
	if s.off >= len(s.data) || s.data[s.off]&0xe0 != major {
		return 0, false
	}
	rest := s.data[s.off+1:]
	info := s.data[s.off] & 0x1f
	if info < 24 {
		s.off++
		return int(info), true
	}
	if info > 27 || len(rest) < 1<<(info-24) {
		return 0, false
	}
	var long uint64
	switch info {
	case 24:
		long = uint64(rest[0])
	case 25:
		long = uint64(binary.BigEndian.Uint16(rest))
	case 26:
		long = uint64(binary.BigEndian.Uint32(rest))
	case 27:
		long = binary.BigEndian.Uint64(rest)
	}
	n = int(long)
	if major >= majorBytes && major <= majorMap && (n < 0 || uint64(n) != long) {
		return 0, false
	}
	s.off += 1 + 1<<(info-24)
	return n, true
}

func (s *scanner) skip(n int) error {
	if n > len(s.data)-s.off {
		return errShort
	}
	s.off += n
	return nil
}

// string moves past an item of bytes or text.
func (s *scanner) string(major byte, sh *shape) error {
	n, ok := s.head(major)
	if !ok {
		return s.wrong(sh)
	}
	return s.skip(n)
}

// enter is the head of an array or map, of n elements or pairs. Who comes out of it
// without an error takes one from depth.
func (s *scanner) enter(major byte, sh *shape) (n int, err error) {
	n, ok := s.head(major)
	if !ok {
		return 0, s.wrong(sh)
	}
	if n > len(s.data)-s.off {
		return 0, errShort
	}
	if s.depth++; s.depth > allLevels {
		return 0, errDepth
	}
	return n, nil
}

func (s *scanner) value(sh *shape) error {
	switch sh.class {
	case classBool:
		if s.is(itemFalse) || s.is(itemTrue) {
			return nil
		}
	case classInt, classUint:
		if _, ok := s.head(majorUint); ok {
			return nil
		}
		if sh.class == classUint {
			break
		}
		if _, ok := s.head(majorInt); ok {
			return nil
		}
	case classFloat:
		if sh.t.Size() == 4 && s.is(itemFloat32) || sh.t.Size() == 8 && s.is(itemFloat64) {
			return s.skip(int(sh.t.Size()))
		}
	case classString, classText:
		return s.string(majorText, sh)
	case classBinary:
		return s.string(majorBytes, sh)
	case classBytes:
		if s.is(itemNull) {
			return nil
		}
		return s.string(majorBytes, sh)
	case classByteArray:
		if n, ok := s.head(majorBytes); ok && n == sh.t.Len() {
			return s.skip(n)
		}
	case classSlice, classArray:
		return s.list(sh)
	case classMap:
		return s.dict(sh)
	case classPointer:
		if s.is(itemNull) {
			return nil
		}
		return s.value(sh.elem)
	case classStruct:
		return s.structure(sh)
	case classTime:
		if s.is(itemNull) {
			return nil
		}
		if s.is(itemTimeTag) {
			return s.string(majorText, sh)
		}
	case classBigInt:
		if s.is(itemPlusTag) || s.is(itemMinusTag) {
			return s.string(majorBytes, sh)
		}
		if _, ok := s.head(majorUint); ok {
			return nil
		}
		if _, ok := s.head(majorInt); ok {
			return nil
		}
	case classCBOR:
		if bytes.HasPrefix(s.data[s.off:], selfDescribed) {
			return fmt.Errorf("what %s writes begins with the tag 55799, which its UnmarshalCBOR would not see", sh)
		}
		return s.any(sh)
	case classReference:
		if s.is(itemNull) || s.is(itemEmptyMap) {
			return nil
		}
	}
	return s.wrong(sh)
}

func (s *scanner) list(sh *shape) error {
	if sh.class == classSlice && s.is(itemNull) {
		return nil
	}
	n, err := s.enter(majorArray, sh)
	if err != nil {
		return err
	}
	if sh.class == classArray && n != sh.t.Len() {
		return fmt.Errorf("there are %d elements for a %s", n, sh)
	}
	for range n {
		if err := s.value(sh.elem); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

func (s *scanner) dict(sh *shape) error {
	if s.is(itemNull) {
		return nil
	}
	n, err := s.enter(majorMap, sh)
	if err != nil {
		return err
	}
	for range n {
		if err := s.value(sh.key); err != nil {
			return err
		}
		if err := s.value(sh.elem); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// structure wants the fields in the order in which they are written.
func (s *scanner) structure(sh *shape) error {
	major := byte(majorMap)
	if sh.asArray {
		major = majorArray
	}
	n, err := s.enter(major, sh)
	if err != nil {
		return err
	}
	found := 0
	for _, f := range sh.written {
		// Behind the last field may come another struct's, of the same name.
		if found == n || !sh.asArray && !bytes.HasPrefix(s.data[s.off:], f.key) {
			if f.optional {
				continue
			}
			return fmt.Errorf("the field %s of %s is missing at byte %d", f.name, sh, s.off)
		}
		found++
		if !sh.asArray {
			s.off += len(f.key)
		}
		if err := s.value(f.shape); err != nil {
			return err
		}
	}
	if found != n {
		return fmt.Errorf("%s has fields at byte %d that are not its own", sh, s.off)
	}
	s.depth--
	return nil
}

// any moves past one item of any kind.
func (s *scanner) any(sh *shape) error {
	if s.off >= len(s.data) {
		return errShort
	}
	switch major := s.data[s.off] & 0xe0; major {
	case majorBytes, majorText:
		return s.string(major, sh)
	case majorArray, majorMap:
		n, err := s.enter(major, sh)
		if err != nil {
			return err
		}
		for range n {
			if err := s.any(sh); err != nil {
				return err
			}
			if major == majorArray {
				continue
			}
			if err := s.any(sh); err != nil {
				return err
			}
		}
		s.depth--
		return nil
	case majorTag:
		if _, ok := s.head(major); !ok {
			return s.wrong(sh)
		}
		// A tag counts as a level, as it does for the decoder when tags
		// follow each other.
		if s.depth++; s.depth > allLevels {
			return errDepth
		}
		err := s.any(sh)
		s.depth--
		return err
	default: // numbers, floats, true, false, null
		if _, ok := s.head(major); !ok {
			return s.wrong(sh)
		}
		return nil
	}
}
