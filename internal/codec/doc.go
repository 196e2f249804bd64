// Package codec turns values of Go types that both sides know into bytes and back:
// the arguments and results of tasks.
//
// # What it promises
//
//   - What arrives is what left: to the bit for numbers, with nil and empty kept
//     apart, and with the nanoseconds and the zone's offset of a time. What the
//     package cannot keep it refuses, with a *TypeError if it is in the type and a
//     *ValueError if it is in the value; both say where it is and what to do (G26).
//   - Not kept, and not refused: a time's monotonic reading and the name of its
//     zone, the capacity of slices, and that two pointers or slices share what they
//     point to. Types with methods for encoding are as faithful as those.
//   - Equal values have equal encodings, unless a type's own methods see to it that
//     they have not.
//   - No data makes Decode panic, or allocate more than in proportion to it: 24 bytes
//     a byte at most for slices, about 100 for maps, whatever it says about its
//     lengths. Other data than Append made for a type of the same fingerprint is an
//     error (G25).
//   - What was decoded shares no memory with the data, except after DecodeOwned.
//   - All of it may be called by many goroutines at once.
//
// # Which types travel
//
// Those made of bools, numbers, strings, slices, arrays, maps, pointers and structs
// of exported fields, time.Time, big.Int, references, and types that have both
// halves of MarshalBinary, MarshalText or MarshalCBOR, the last of these first.
// Fields with the tag `cbor:"-"` stay behind. These do not travel:
//
//   - channels, functions, uintptr and unsafe.Pointer;
//   - interfaces: the other side would not know what to decode into;
//   - structs with unexported fields that hold anything, and no methods for encoding;
//   - types with only one half of a pair of such methods, or whose pair comes from an
//     embedded field and would leave out the others;
//   - fields of one name, in a struct and what it embeds; `json:"-"` without a cbor
//     tag; embedded references; embedded types that encode themselves; embedded
//     pointers that cannot be told from nil ones;
//   - map keys with pointers, times or fields that stay behind: they would be other
//     keys;
//   - big.Float, whose text does not tell its precision;
//   - where CBOR is used: complex numbers, pointers to pointers, slices or maps.
//
// And these values: cycles; what is nested deeper than MaxDepth; NaNs as keys; what
// omitempty or omitzero would leave out although it is not zero, such as a slice that
// is empty and not nil. Where CBOR is used, also signalling NaNs of float32; times
// whose offset has seconds, whose year has not four digits, or that are the zero
// time but not in UTC; pointers to the zero time, or to what writes itself as null.
//
// # Encodings
//
// The first byte tells the path; each type has one.
//
//	's' scalar, 'b' string or bytes, 'p' slice of values of one length, 'r' record
//	'c' one item of CBOR
//
// The first four are raw: a program for the type, made at the first use, moves memory.
// They take all types without maps, recursion, references and methods for encoding
// (but with times), and share one language, little-endian and without padding:
//
//	bool, intN, uintN, floatN   their bytes; int and uint are 8
//	complexN                    real part, imaginary part
//	time.Time                   8 bytes of seconds since 1970, 4 of nanoseconds, 8 of
//	                            the zone's offset in seconds, or -1<<63 for UTC
//	string                      length as a uvarint, bytes
//	slice                       0 if nil, else length + 1 as a uvarint, elements
//	pointer                     0 if nil, else 1 and the value
//	array, struct               elements, fields
//
// The rest is CBOR by the options in general.go. Its encoder and decoder are made for
// people who agree on a format and not on a type, and are lenient. So Append looks
// for what the encoder would lose, where the type has such values, and Decode holds
// the data against the type before the decoder sees it.
//
// # References
//
// A future inside an argument travels as a mention. Append writes only whether it is
// nil; the executor sends what References finds beside it, and Replace puts futures
// in their places on the other side (G20).
package codec
