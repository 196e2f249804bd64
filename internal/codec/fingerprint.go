package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
)

// A Fingerprint identifies a type by its contents: two builds of one source agree
// on it, and a field that was added, renamed, moved or changed makes another.
type Fingerprint [16]byte

func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// The first line of what is hashed. It changes when encodings do.
const layout = "nearfar codec 1\n"

// Fingerprint is the fingerprint of the type.
func (t *Type) Fingerprint() Fingerprint {
	t.describe.Do(t.makeDescription)
	return t.print
}

// Describe is the type in full, a line a field: what the fingerprint is made of.
// Names of types are not in it, since the encoding does not depend on them,
// unless a type encodes itself.
func (t *Type) Describe() string {
	t.describe.Do(t.makeDescription)
	return t.text
}

func (t *Type) makeDescription() {
	d := describer{structs: make(map[reflect.Type]int)}
	d.describe(t.rtype)
	t.text = d.String()
	t.print = fingerprint(t.text)
}

// FuncFingerprint is the fingerprint of a function with one argument and one
// result.
func FuncFingerprint(arg, result reflect.Type) Fingerprint {
	return fingerprint(For(arg).Describe() + "\n->\n" + For(result).Describe())
}

func fingerprint(text string) Fingerprint {
	sum := sha256.Sum256([]byte(layout + text))
	return Fingerprint(sum[:])
}

type describer struct {
	strings.Builder
	structs map[reflect.Type]int // in the order in which they came
	open    []reflect.Type       // the named types around this one
	indent  int
}

func (d *describer) describe(t reflect.Type) {
	if value, ok := referenceTo(t); ok {
		// The name of the reference's own type has its element's in brackets.
		name, _, _ := strings.Cut(t.Elem().Name(), "[")
		d.WriteString("reference " + t.Elem().PkgPath() + "." + name + " to ")
		if value == nil {
			d.WriteString("nothing")
			return
		}
		d.describe(value)
		return
	}
	if how := encodesItself(t); how != "" {
		d.WriteString(qualified(t) + " by " + how)
		return
	}
	if t.Kind() == reflect.Struct {
		d.structure(t)
		return
	}
	if t.Name() != "" && t.PkgPath() != "" {
		for up := range d.open {
			if d.open[len(d.open)-1-up] == t {
				fmt.Fprintf(d, "^%d", up)
				return
			}
		}
		d.open = append(d.open, t)
		defer func() { d.open = d.open[:len(d.open)-1] }()
	}
	switch t.Kind() {
	case reflect.Pointer:
		d.WriteString("*")
		d.describe(t.Elem())
	case reflect.Slice:
		d.WriteString("[]")
		d.describe(t.Elem())
	case reflect.Array:
		fmt.Fprintf(d, "[%d]", t.Len())
		d.describe(t.Elem())
	case reflect.Map:
		d.WriteString("map[")
		d.describe(t.Key())
		d.WriteString("]")
		d.describe(t.Elem())
	case reflect.Interface:
		d.WriteString("interface " + qualified(t) + " {")
		for m := range t.Methods() {
			fmt.Fprintf(d, " %s %s;", m.Name, m.Type)
		}
		d.WriteString(" }")
	case reflect.Chan, reflect.Func:
		d.WriteString(t.String())
	default:
		d.WriteString(t.Kind().String())
	}
}

func (d *describer) structure(t reflect.Type) {
	if n, known := d.structs[t]; known {
		fmt.Fprintf(d, "struct %d", n)
		return
	}
	n := len(d.structs) + 1
	d.structs[t] = n
	fmt.Fprintf(d, "struct %d {", n)
	d.indent++
	for f := range t.Fields() {
		d.line()
		if f.Anonymous {
			d.WriteString("embedded ")
		}
		d.WriteString(f.Name + " ")
		d.describe(f.Type)
		tag := f.Tag.Get("cbor")
		if tag == "" {
			tag = f.Tag.Get("json") // as the general codec does
		}
		if tag != "" {
			fmt.Fprintf(d, " %q", tag)
		}
	}
	d.indent--
	d.line()
	d.WriteString("}")
}

func (d *describer) line() { d.WriteString("\n" + strings.Repeat("  ", d.indent)) }

// encodesItself says by which methods.
func encodesItself(t reflect.Type) string {
	if t == bigIntType {
		return "number"
	}
	switch ownMethods(t).class {
	case classCBOR:
		return "MarshalCBOR"
	case classBinary:
		return "MarshalBinary"
	case classText:
		return "MarshalText"
	}
	return ""
}

func qualified(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	if t.PkgPath() == "" {
		return t.Name()
	}
	return t.PkgPath() + "." + t.Name()
}
