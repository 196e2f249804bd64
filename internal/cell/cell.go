package cell

import "context"

// A Cell is a Core and its value.
//
// The value is written once, by the one that holds Running or claimed, before
// Finish publishes it. From then on it is only read, until it is dropped: when
// it was released and nobody has it pinned. Readers pin it for the few
// instructions of a copy, and tasks that need it from their Submit to their end,
// so that a Release in between takes nothing away from them.
type Cell[T any] struct {
	Core
	val T
}

const (
	released = 1 << 31
	dropped  = 1 << 30
	pinCount = dropped - 1
)

// Set writes the value. See Cell for who may.
func (c *Cell[T]) Set(v T) { c.val = v }

// At is where the value is written, under the rules of Set.
func (c *Cell[T]) At() *T { return &c.val }

// Get copies the value out if c is Finished, has it here, and was not released.
func (c *Cell[T]) Get() (v T, ok bool) {
	if !c.home() {
		return v, false
	}
	if c.pins.Add(1)&released == 0 {
		v, ok = c.val, true
	}
	c.Unpin()
	return v, ok
}

// GetPinned is Get for who has c pinned, released or not.
func (c *Cell[T]) GetPinned() (v T, ok bool) {
	if !c.home() {
		return v, false
	}
	return c.val, true
}

// Pin keeps the value from being dropped until Unpin. It is false if c was
// released before: then there is nothing to unpin.
func (c *Cell[T]) Pin() bool {
	if c.pins.Add(1)&released != 0 {
		c.Unpin()
		return false
	}
	return true
}

// Unpin ends a Pin. The last one out drops what was released.
func (c *Cell[T]) Unpin() {
	if c.pins.Add(^uint32(0)) == released {
		c.drop()
	}
}

// Released reports whether Release was called.
func (c *Core) Released() bool { return c.pins.Load()&released != 0 }

// Release marks the value as no longer wanted. It is dropped here, or by the
// last Unpin, or when it comes: whoever Finishes calls Finished.
func (c *Cell[T]) Release() {
	old := c.pins.Or(released)
	if old&released != 0 {
		return
	}
	if c.Owner != nil {
		c.Owner.Released()
	}
	if old&pinCount == 0 {
		c.drop()
	}
}

// Finished drops a value that was released before it came.
func (c *Cell[T]) Finished() {
	if c.pins.Load() == released {
		c.drop()
	}
}

// drop zeroes the value if it is there, and nobody else did.
func (c *Cell[T]) drop() {
	if c.load() == Finished && c.pins.CompareAndSwap(released, released|dropped) {
		var zero T
		c.val = zero
		if d, ok := c.Owner.(interface{ Dropped() }); ok {
			d.Dropped()
		}
	}
}

// OpenWith finishes a Pending cell with v. w goes on with it.
func (c *Cell[T]) OpenWith(v T, w *Wave) bool { return c.OpenFrom(&v, w) }

// OpenFrom is OpenWith of *v, which is not read if somebody else has settled c.
func (c *Cell[T]) OpenFrom(v *T, w *Wave) bool {
	if !c.Claim() {
		return false
	}
	c.Set(*v)
	if c.FinishClaimed() {
		w.push(c.detach(nil))
	}
	c.Finished()
	return true
}

// A Value is a Cell of any type.
type Value interface {
	Base() *Core
	Pin() bool
	Unpin()
	// Pointer points to the value, which is there if the cell is Finished and not
	// Away, and stays while it is pinned.
	Pointer() any
	// Bring brings the value of a Finished cell home. The caller has it pinned.
	Bring(ctx context.Context) error
	// Source is where the value of a Finished cell is, or what it is made of. The
	// caller has it pinned.
	Source() Source
}

// A Source is where a value is: here, in a backend's keeping, or made of others.
type Source struct {
	Here   any // a pointer to it; or nil
	Stored any // what a backend knows it by; or nil
	Made   Made
	Parts  []Source // what it is made of
}

// Made says how a value is made of its parts.
type Made uint8

// The ways to make a value.
const (
	Whole  Made = iota // it has no parts
	Slice              // a slice of them
	Struct             // a struct with a field for each
	Concat             // slices, one after the other
)

// A Keeper is the Owner of a cell whose value may be elsewhere.
type Keeper interface {
	// Fetch has Arrive called with the value.
	Fetch(ctx context.Context) error
	// Source is where it is.
	Source() Source
}

// Pointer points to the value.
func (c *Cell[T]) Pointer() any { return &c.val }

// Bring brings the value home. See Value.
func (c *Cell[T]) Bring(ctx context.Context) error {
	if !c.Away() {
		return nil
	}
	return c.Owner.(Keeper).Fetch(ctx)
}

// Source is where the value is. See Value.
func (c *Cell[T]) Source() Source {
	if c.Away() {
		return c.Owner.(Keeper).Source()
	}
	return Source{Here: &c.val}
}

// Arrive writes a value that was away, for a caller that has c pinned.
func (c *Cell[T]) Arrive(v T) {
	mu := c.lock()
	mu.Lock()
	defer mu.Unlock()
	if c.Away() {
		c.val = v
		c.state.And(^uint32(away))
	}
}

// OpenAway finishes a Pending cell whose value the Owner keeps. w goes on with it.
func (c *Cell[T]) OpenAway(w *Wave) bool {
	if !c.Claim() {
		return false
	}
	c.OpenAwayClaimed(w)
	return true
}

// OpenAwayClaimed is OpenAway for the caller that claimed c.
func (c *Cell[T]) OpenAwayClaimed(w *Wave) {
	old, _ := c.move(claimed, Finished, away)
	if old&hooked != 0 {
		w.push(c.detach(nil))
	}
	c.Finished()
}

// Base is the Core.
func (c *Cell[T]) Base() *Core { return &c.Core }

// FinishWith finishes a Running cell with v, for the only one who writes it. w goes
// on with it.
func (c *Cell[T]) FinishWith(v T, w *Wave) bool {
	if c.load() != Running {
		return false
	}
	c.Set(v)
	won, fire := c.Finish()
	if fire {
		w.push(c.detach(nil))
	}
	if won {
		c.Finished()
	}
	return won
}
