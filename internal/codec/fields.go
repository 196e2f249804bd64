package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A field is one that the general codec writes for a struct: its own, or one of a
// struct that it embeds.
type field struct {
	name   string // as Go has it
	index  []int  // for reflect's FieldByIndex
	offset uintptr
	shape  *shape
	key    []byte // the encoded name, as the general codec writes it

	omitEmpty, omitZero bool
	isZero              bool // has an IsZero of its own for omitZero to ask
	optional            bool // may be missing in an encoding
}

type zeroer interface{ IsZero() bool }

var zeroerType = reflect.TypeFor[zeroer]()

// structOf finds the fields of a struct by the rules of the general codec, which
// are those of encoding/json, and refuses a struct wherever those rules drop a
// field without being asked to.
func (b *builder) structOf(s *shape) {
	if blank, ok := s.t.FieldByName("_"); ok {
		_, options, _ := strings.Cut(blank.Tag.Get("cbor"), ",")
		s.asArray = hasOption(options, "toarray")
		if hasOption(options, "toindefarray") {
			b.refuse(&b.soft, "has the option toindefarray", "use toarray")
		}
	}
	c := collector{b: b, s: s, keys: make(map[string]string), embedded: map[reflect.Type]bool{s.t: true}}
	c.collect(s.t, nil, 0, false)
	for i := range s.fields {
		s.written = append(s.written, &s.fields[i])
	}
	if !s.asArray {
		slices.SortFunc(s.written, func(f, g *field) int { return bytes.Compare(f.key, g.key) })
	}
}

type collector struct {
	b        *builder
	s        *shape
	keys     map[string]string // name in the encoding -> path of its field
	embedded map[reflect.Type]bool
}

// collect adds the fields of t, which is the struct or embedded in it at index. It
// reports whether one of them is always written, unless an embedded pointer on
// the way to it is nil.
func (c *collector) collect(t reflect.Type, index []int, offset uintptr, behindPointer bool) (certain bool) {
	b := c.b
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue // holds nothing that a program could have put there
		}
		b.path = append(b.path, "."+f.Name)
		at := append(slices.Clip(index), i)
		if c.field(f, at, offset+f.Offset, behindPointer) {
			certain = true
		}
		b.path = b.path[:len(b.path)-1]
	}
	return certain
}

func (c *collector) field(f reflect.StructField, index []int, offset uintptr, behindPointer bool) (certain bool) {
	b := c.b
	tag, fromJSON := f.Tag.Get("cbor"), false
	if tag == "" {
		tag, fromJSON = f.Tag.Get("json"), true
	}
	inner := f.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	embeds := f.Anonymous && inner.Kind() == reflect.Struct
	switch {
	case tag == "-" && !fromJSON:
		c.s.leaves = true // the user's own wish
		return false
	case !f.IsExported() && !embeds:
		if f.Type.Size() > 0 {
			b.refuse(&b.hard, "is not exported", "export it, tag it `cbor:\"-\"` to leave it behind, or give "+
				c.s.t.String()+" MarshalBinary and UnmarshalBinary")
		}
		return false
	case tag == "-":
		b.refuse(&b.hard, `has the tag json:"-", which would leave it behind`,
			"add `cbor:\"-\"` if it may stay behind, or `cbor:\"name\"` if it is to travel")
	}
	name, options, _ := strings.Cut(tag, ",")
	if embeds && name == "" {
		return c.embed(f, inner, index, offset, behindPointer)
	}
	if name == "" {
		name = f.Name
	}
	fl := field{
		name:   f.Name,
		index:  index,
		offset: offset,
		key:    c.key(name, options),
		shape:  b.in("", f.Type),
	}
	if !c.s.asArray {
		fl.omitEmpty = hasOption(options, "omitempty")
		fl.omitZero = hasOption(options, "omitzero")
		fl.isZero = f.Type.Implements(zeroerType) || reflect.PointerTo(f.Type).Implements(zeroerType)
		fl.optional = fl.omitEmpty || fl.omitZero || behindPointer
	}
	c.s.fields = append(c.s.fields, fl)
	return !fl.omitEmpty && !fl.omitZero
}

// embed adds the fields of an embedded struct as if they were the outer one's.
func (c *collector) embed(f reflect.StructField, inner reflect.Type, index []int, offset uintptr, behindPointer bool) (certain bool) {
	b := c.b
	const advice = "give the field a name"
	switch pointer := f.Type.Kind() == reflect.Pointer; {
	case isReference(f.Type):
		b.refuse(&b.hard, "is an embedded reference", advice)
		if f.IsExported() {
			c.s.fields = append(c.s.fields, field{name: f.Name, index: index, shape: b.in("", f.Type)})
		}
		return false
	case inner == timeType, inner == bigIntType, ownMethods(inner) != methods{}:
		b.refuse(&b.hard, "is embedded, where the methods of "+inner.String()+" for encoding are not used", advice)
		return false
	case c.embedded[inner]:
		b.refuse(&b.hard, "is embedded twice, or in itself", advice)
		return false
	case pointer && !f.IsExported():
		b.refuse(&b.hard, "is an embedded pointer to an unexported type, which cannot be set", advice)
		return false
	case pointer:
		c.embedded[inner] = true
		c.s.inPointers = true
		if c.s.asArray {
			b.refuse(&b.hard, "is an embedded pointer in a struct with the option toarray", advice)
		}
		if !c.collect(inner, index, 0, true) {
			b.refuse(&b.hard, "is an embedded pointer that would arrive as nil when all its fields are left out", advice)
		}
		return false
	}
	c.embedded[inner] = true
	return c.collect(inner, index, offset, behindPointer)
}

// key encodes the name of a field, and refuses a second field of that name: the
// general codec would drop one of the two, or both.
func (c *collector) key(name, options string) []byte {
	b := c.b
	var key []byte
	if hasOption(options, "keyasint") {
		n, err := strconv.Atoi(name)
		switch {
		case err != nil:
			b.refuse(&b.hard, fmt.Sprintf("has the option keyasint and the name %q", name), "name it by an integer")
		case n >= 0:
			key = appendHead(nil, majorUint, uint64(n))
		default:
			key = appendHead(nil, majorInt, uint64(^n))
		}
	} else {
		key = append(appendHead(nil, majorText, uint64(len(name))), name...)
	}
	here := strings.Join(b.path, "")
	if there, taken := c.keys[string(key)]; taken {
		b.refuse(&b.hard, "has the same name as "+there+" when it is encoded", "give one of them another name, or another tag")
	}
	c.keys[string(key)] = here
	return key
}

// hasOption looks for an option in what stands behind the name in a tag.
func hasOption(options, option string) bool {
	return slices.Contains(strings.Split(options, ","), option)
}

// appendHead appends what every CBOR item begins with.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= 0xff:
		return append(dst, major|24, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}
