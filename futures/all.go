package futures

import (
	"context"
	"fmt"
	"slices"
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
	away   atomic.Bool // some input's value is elsewhere, and so is this one
}

func (a *all[T]) arrived(i int, v T, w *cell.Wave) {
	a.vals[i] = v
	a.count(w)
}

func (a *all[T]) isAway(_ int, w *cell.Wave) {
	a.away.Store(true)
	a.count(w)
}

func (a *all[T]) count(w *cell.Wave) {
	switch {
	case a.left.Add(-1) != 0:
	case a.away.Load():
		a.cell.OpenAway(w)
	case a.cell.OpenWith(a.vals, w):
		a.vals, a.inputs = nil, nil // the value is the cell's to drop
	}
}

// Fetch brings home what is elsewhere.
func (a *all[T]) Fetch(ctx context.Context) error {
	vals := slices.Clone(a.vals)
	for i := range a.inputs {
		if err := a.inputs[i].fetch(ctx, &vals[i]); err != nil {
			return &ItemError{Index: i, Err: err}
		}
	}
	a.cell.Arrive(vals)
	return nil
}

// Source is where the values are.
func (a *all[T]) Source() cell.Source {
	s := cell.Source{Made: cell.Slice, Parts: make([]cell.Source, len(a.inputs))}
	for i := range a.inputs {
		s.Parts[i] = a.inputs[i].source(&a.vals[i])
	}
	return s
}

// Dropped lets go of what is elsewhere.
func (a *all[T]) Dropped() {
	for i := range a.inputs {
		a.inputs[i].let()
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
	away   atomic.Bool // an input's value is elsewhere, and so is this one
}

func (j *join[A, B]) arrived(w *cell.Wave) {
	switch {
	case j.left.Add(-1) != 0:
	case j.away.Load():
		j.cell.OpenAway(w)
	case j.cell.OpenFrom(&j.val, w):
		j.val = Pair[A, B]{} // the value is the cell's to drop
	}
}

func (j *join[A, B]) isAway(_ int, w *cell.Wave) {
	j.away.Store(true)
	j.arrived(w)
}

// Fetch brings home what is elsewhere.
func (j *join[A, B]) Fetch(ctx context.Context) error {
	val := j.val
	if err := j.first.fetch(ctx, &val.First); err != nil {
		return err
	}
	if err := j.second.fetch(ctx, &val.Second); err != nil {
		return err
	}
	j.cell.Arrive(val)
	return nil
}

// Source is where the values are.
func (j *join[A, B]) Source() cell.Source {
	return cell.Source{Made: cell.Struct, Parts: []cell.Source{j.first.source(&j.val.First), j.second.source(&j.val.Second)}}
}

// Dropped lets go of what is elsewhere.
func (j *join[A, B]) Dropped() {
	j.first.let()
	j.second.let()
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
		isAway(i int, w *cell.Wave)
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
	inputAway    // the value is elsewhere; the future stays pinned
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
	} else if in.from.Away() {
		in.step.Store(inputAway)
		if in.to.isAway(in.i, w); in.to.ended() {
			in.let()
		}
		return
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

// fetch brings the value home to *v, if it is elsewhere.
func (in *input[T]) fetch(ctx context.Context, v *T) error {
	if in.step.Load() != inputAway {
		return nil
	}
	if err := in.from.Bring(ctx); err != nil {
		return err
	}
	*v, _ = in.from.GetPinned()
	return nil
}

// source is where the value is: in *v, or elsewhere.
func (in *input[T]) source(v *T) cell.Source {
	if in.step.Load() != inputAway {
		return cell.Source{Here: v}
	}
	return in.from.Source()
}

// let lets go of a future whose value is elsewhere.
func (in *input[T]) let() {
	if in.step.CompareAndSwap(inputAway, inputCleared) {
		in.from.Unpin()
	}
}

// drop lets go of the future before it is resolved.
func (in *input[T]) drop() {
	in.clear()
	in.let()
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
