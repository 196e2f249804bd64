package cell

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
