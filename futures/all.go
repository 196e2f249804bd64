package futures

import (
	"fmt"
	"sync/atomic"

	"github.com/nearfar/nearfar/internal/cell"
)

// All makes one future of many: of their values, in order, once all are there. It
// fails as *ItemError at the first failure. It is a reference: nothing is waited for
// and, far, nothing moves. Cancelling it cancels none of fs.
func All[T any](fs ...*Future[T]) *Future[[]T] {
	a := &all[T]{vals: make([]T, len(fs)), inputs: make([]input[T], len(fs))}
	a.left.Store(int64(len(fs)))
	a.cell.Owner = a
	for i, f := range fs {
		a.inputs[i] = input[T]{from: &f.cell, pinned: f.cell.Pin(), to: a, i: i}
	}
	for i := range a.inputs {
		a.inputs[i].list()
	}
	if len(fs) == 0 {
		a.resolve(a.vals, nil)
	}
	return &a.Future
}

// all is the future of All, and its inputs.
type all[T any] struct {
	Future[[]T]
	reference
	vals   []T
	inputs []input[T]
	left   atomic.Int64
}

func (a *all[T]) arrived(i int, v T, w *cell.Wave) {
	a.vals[i] = v
	if a.left.Add(-1) == 0 {
		if a.cell.OpenWith(a.vals, w) {
			a.vals, a.inputs = nil, nil // the value is the cell's to drop
		}
	}
}

func (a *all[T]) clear(i int) {
	var zero T
	a.vals[i] = zero
}

func (a *all[T]) failed(_ *cell.Core, i int, err error, w *cell.Wave) {
	if a.cell.Fail(&ItemError{Index: i, Err: err}, w) {
		a.drop()
	}
}

func (a *all[T]) ended() bool { return a.cell.Err() != nil }

func (a *all[T]) drop() {
	for i := range a.inputs {
		a.inputs[i].drop()
	}
}

func (a *all[T]) Key() string { return "" }
func (a *all[T]) Why() string { return inputs(int(a.left.Load())) }

// Cancelled lets go of the inputs.
func (a *all[T]) Cancelled(cell.State, error, *cell.Wave) { a.drop() }

// Pair is the value of a Join.
type Pair[A, B any] struct {
	First  A
	Second B
}

// Join is All for two futures of different types. It fails with its input's error.
func Join[A, B any](a *Future[A], b *Future[B]) *Future[Pair[A, B]] {
	j := &join[A, B]{}
	j.left.Store(2)
	j.cell.Owner = j
	j.first = input[A]{from: &a.cell, pinned: a.cell.Pin(), to: joinFirst[A, B]{j}}
	j.second = input[B]{from: &b.cell, pinned: b.cell.Pin(), to: joinSecond[A, B]{j}}
	j.first.list()
	j.second.list()
	return &j.Future
}

type join[A, B any] struct {
	Future[Pair[A, B]]
	reference
	val    Pair[A, B]
	first  input[A]
	second input[B]
	left   atomic.Int64
}

func (j *join[A, B]) arrived(w *cell.Wave) {
	if j.left.Add(-1) == 0 && j.cell.OpenFrom(&j.val, w) {
		j.val = Pair[A, B]{} // the value is the cell's to drop
	}
}

func (j *join[A, B]) failed(from *cell.Core, _ int, err error, w *cell.Wave) {
	if inherit(&j.cell.Core, from, err, w) {
		j.drop()
	}
}

func (j *join[A, B]) ended() bool { return j.cell.Err() != nil }

func (j *join[A, B]) drop() {
	j.first.drop()
	j.second.drop()
}

func (j *join[A, B]) Key() string { return "" }
func (j *join[A, B]) Why() string { return inputs(int(j.left.Load())) }

// Cancelled lets go of the inputs.
func (j *join[A, B]) Cancelled(cell.State, error, *cell.Wave) { j.drop() }

type joinFirst[A, B any] struct{ *join[A, B] }

func (j joinFirst[A, B]) arrived(_ int, v A, w *cell.Wave) {
	j.val.First = v
	j.join.arrived(w)
}

func (j joinFirst[A, B]) clear(int) {
	var zero A
	j.val.First = zero
}

type joinSecond[A, B any] struct{ *join[A, B] }

func (j joinSecond[A, B]) arrived(_ int, v B, w *cell.Wave) {
	j.val.Second = v
	j.join.arrived(w)
}

func (j joinSecond[A, B]) clear(int) {
	var zero B
	j.val.Second = zero
}

// An input is one of the futures that a reference waits for. Its value is pinned
// until it was copied.
type input[T any] struct {
	cell.Hook
	from   *cell.Cell[T]
	pinned bool
	to     interface {
		arrived(i int, v T, w *cell.Wave)
		clear(i int) // what arrived
		ended() bool // without a value
		failed(from *cell.Core, i int, err error, w *cell.Wave)
	}
	i      int
	step   atomic.Uint32 // input*. Who leaves inputOpen unpins
	listed atomic.Bool   // the hook is, so that drop may take it out
}

const (
	inputOpen    = iota
	inputTaken   // by Fire, or by drop
	inputArrived // the value was copied
	inputCleared // and dropped again
)

func (in *input[T]) list() {
	in.Do = in
	var w cell.Wave
	defer w.Run()
	if !in.pinned {
		err := in.from.Err()
		if err == nil {
			err = ErrReleased
		}
		in.to.failed(&in.from.Core, in.i, err, &w)
		return
	}
	if !in.from.AddHook(&in.Hook) {
		in.Fire(nil, &w)
		return
	}
	in.listed.Store(true)
	if in.step.Load() != inputOpen {
		in.RemoveHook()
	}
}

// Fire copies the value, or fails the reference.
func (in *input[T]) Fire(_ *cell.Hook, w *cell.Wave) {
	if !in.step.CompareAndSwap(inputOpen, inputTaken) {
		return
	}
	if err := in.from.Err(); err != nil {
		in.to.failed(&in.from.Core, in.i, err, w)
	} else if v, ok := in.from.GetPinned(); ok {
		in.to.arrived(in.i, v, w)
		in.step.Store(inputArrived)
		if in.to.ended() { // and may have dropped what came before
			in.clear()
		}
	}
	in.from.Unpin()
}

// clear drops the copy of the value, if there is one.
func (in *input[T]) clear() {
	if in.step.CompareAndSwap(inputArrived, inputCleared) {
		in.to.clear(in.i)
	}
}

// drop lets go of the future before it is resolved.
func (in *input[T]) drop() {
	in.clear()
	if !in.pinned || !in.step.CompareAndSwap(inputOpen, inputTaken) {
		return
	}
	if in.listed.Load() {
		in.RemoveHook()
	}
	in.from.Unpin()
}

// inherit ends a future as from ended: with its error, and cancelled if it was.
func inherit(c, from *cell.Core, err error, w *cell.Wave) bool {
	if from.State() == cell.Cancelled {
		return c.Cancel(err, err, w)
	}
	return c.Fail(err, w)
}

// reference is the Owner of a future that is made of others: what it has nothing
// to say to.
type reference struct{}

func (reference) Run(any)                         {}
func (reference) Settling(cell.State, cell.State) {}
func (reference) Released()                       {}

// inputs says what a future with n inputs missing waits for.
func inputs(n int) string {
	if n == 1 {
		return "for 1 input"
	}
	return fmt.Sprintf("for %d inputs", n)
}
