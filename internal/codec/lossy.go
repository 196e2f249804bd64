package codec

import (
	"encoding"
	"math"
	"reflect"
	"time"

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
		return s.recursive || floats(s.key.t)
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
	if f.omitZero && (f.isZero || floats(f.shape.t)) {
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

// floats reports whether a value of t itself, and not something it points to, has
// floats in it: as a key it can be a NaN, as zero it can be minus zero.
func floats(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return floats(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if floats(field.Type) {
				return true
			}
		}
	}
	return false
}

// watchKey looks for NaNs, which are keys that nothing finds again, and whose order
// is left to chance.
func watchKey(v reflect.Value, s *shape) *fault {
	switch {
	case !floats(s.t):
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

func watchOmitted(v reflect.Value, f *field) *fault {
	if v.IsZero() && !negative(v) {
		return nil // as which it arrives
	}
	if f.omitEmpty {
		left := false
		switch f.shape.class {
		case classBytes, classSlice, classMap, classCBOR:
			left = (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
		case classFloat:
			left = v.Float() == 0
		case classBinary:
			b, err := method[encoding.BinaryMarshaler](v).MarshalBinary()
			left = err == nil && len(b) == 0
		case classText:
			b, err := method[encoding.TextMarshaler](v).MarshalText()
			left = err == nil && len(b) == 0
		}
		if left {
			return lost("is empty but not zero, and omitempty would leave it out")
		}
	}
	if f.omitZero {
		left := v.IsZero()
		if f.isZero {
			left = method[zeroer](v).IsZero()
		}
		if left {
			return lost("counts as zero but is not, and omitzero would leave it out")
		}
	}
	return nil
}

// negative reports whether one of the floats in v, which all are zero, is minus
// zero: that is zero for reflection.
func negative(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.Signbit(v.Float())
	case reflect.Complex64, reflect.Complex128:
		return math.Signbit(real(v.Complex())) || math.Signbit(imag(v.Complex()))
	case reflect.Array:
		for i := range v.Len() {
			if negative(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if negative(field) {
				return true
			}
		}
	}
	return false
}

// method is v, or its address, as something with a method of its type.
func method[I any](v reflect.Value) I {
	if m, ok := v.Addr().Interface().(I); ok {
		return m
	}
	return v.Interface().(I)
}

// What RFC 3339 has room for, in seconds since 1970 by the clock of the zone.
const (
	yearZero  = -62167219200
	year10000 = 253402300800
)

func watchTime(t time.Time) *fault {
	_, offset := t.Zone()
	switch clock := t.Unix() + int64(offset); {
	case t.IsZero() && offset != 0:
		return lost("is the zero time in a zone, and would arrive in UTC")
	case offset%60 != 0:
		return lost("has a zone with seconds in its offset, and would arrive as another time")
	case offset <= -24*3600 || offset >= 24*3600:
		return lost("has a zone that is a day or more from UTC")
	case clock < yearZero || clock >= year10000:
		return lost("is in a year that has not four digits")
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

// signals reports whether a float32 is a NaN of the signalling kind. They become
// quiet on the way through a float64, which reflection takes.
func signals(bits uint32) bool {
	const exponent, quiet, payload = 0xff << 23, 1 << 22, 1<<22 - 1
	return bits&exponent == exponent && bits&quiet == 0 && bits&payload != 0
}

const signalling = "is a signalling NaN, which would arrive as a quiet one"

func lost(reason string) *fault {
	return &fault{reason: reason, advice: "avoid such values, or keep them out of types with maps, recursion, futures or methods for encoding"}
}
