package codec

import (
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A table finds Types by their Go types. It is read on every call, and grows only
// while a program meets types that it has not met before. Reading it takes no lock,
// and a third of the time of a sync.Map, which hashes an interface (BenchmarkFor).
type table struct {
	slots atomic.Pointer[[]slot] // a power of two of them, at most half of them used
	mu    sync.Mutex             // held by who adds
	used  int                    // guarded by mu
}

type slot struct{ atomic.Pointer[entry] }

type entry struct {
	key unsafe.Pointer
	t   *Type
}

// types is every Type that was asked for.
var types table

func (tb *table) find(t reflect.Type) *Type {
	slots := tb.slots.Load()
	if slots == nil {
		return nil
	}
	e := probe(*slots, identity(t)).Load()
	if e == nil {
		return nil
	}
	return e.t
}

// add adds t, unless somebody else was faster, and returns what is there.
func (tb *table) add(t *Type) *Type {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	slots := tb.slots.Load()
	if slots == nil || 2*(tb.used+1) > len(*slots) {
		slots = tb.grown(slots)
		tb.slots.Store(slots)
	}
	key := identity(t.rtype)
	s := probe(*slots, key)
	if e := s.Load(); e != nil {
		return e.t
	}
	s.Store(&entry{key, t})
	tb.used++
	return t
}

func (tb *table) grown(old *[]slot) *[]slot {
	if old == nil {
		slots := make([]slot, 64)
		return &slots
	}
	slots := make([]slot, 2*len(*old))
	for i := range *old {
		if e := (*old)[i].Load(); e != nil {
			probe(slots, e.key).Store(e)
		}
	}
	return &slots
}

// probe is the slot that key is in, or the one that it belongs into.
func probe(slots []slot, key unsafe.Pointer) *slot {
	mask := uintptr(len(slots) - 1)
	// Descriptions of types lie at multiples of 32 or so.
	at := uintptr(key) >> 5
	at ^= at >> 7
	for ; ; at++ {
		s := &slots[at&mask]
		if e := s.Load(); e == nil || e.key == key {
			return s
		}
	}
}

// identity is where the description of a type lies. There is one a type, it does
// not move, and the Type in the table keeps it alive.
func identity(t reflect.Type) unsafe.Pointer {
	return (*[2]unsafe.Pointer)(unsafe.Pointer(&t))[1]
}
