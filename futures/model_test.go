package futures_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/futures"
)

// A node is a future of any type, a promise or a reference, and what a plain model of
// it expects.
type node struct {
	futures.Waiter
	result   func(ctx context.Context) (string, error) // the value, printed
	onDone   func(fn func()) (stop func() bool)
	release  func()
	describe func() string
	made     int // how many were made before

	future  *futures.Future[int] // of a promise
	resolve func(int, error) bool
	all     *futures.Future[[]int]
	inputs  []*node // of a reference
	lost    []bool  // inputs that were released before

	// The model.
	state    futures.State
	err      error
	value    string
	released bool
	uses     []*node // references to it, that still wait for it
	calls    []*call
	chans    []<-chan struct{}
}

// A call is one OnDone.
type call struct {
	stop         func() bool
	ran          chan struct{}
	times        atomic.Int32
	due, stopped bool
}

func newNode[T any](f *futures.Future[T]) *node {
	return &node{
		Waiter: f,
		result: func(ctx context.Context) (string, error) {
			v, err := f.Result(ctx)
			return fmt.Sprint(v), err
		},
		onDone: func(fn func()) func() bool {
			return f.OnDone(func(got *futures.Future[T]) {
				if got == f {
					fn()
				}
			})
		},
		release:  f.Release,
		describe: f.String,
	}
}

// GoString is short, for what rapid draws.
func (n *node) GoString() string { return fmt.Sprint("node ", n.made) }

// A machine is futures and all that may happen to them in one goroutine.
type machine struct {
	nodes   []*node
	bag     *futures.Completions[futures.Waiter]
	inBag   []*node // the model of bag
	serial  int
	context context.Context // that has ended
}

// settle is the model's part of the end of n, and of what depends on it.
func (m *machine) settle(n *node, state futures.State, value string, err error) {
	n.state, n.value, n.err = state, value, err
	for _, c := range n.calls {
		c.due = !c.stopped
	}
	uses := n.uses
	n.uses = nil
	for _, u := range uses {
		m.arrived(u)
	}
}

// arrived ends the reference u if its inputs say so. Where several have failed at once
// the first is any of them.
func (m *machine) arrived(u *node) {
	if u.state.Done() {
		return
	}
	got := u.Err()
	var values []string
	failed := false
	for i, in := range u.inputs {
		err, state := in.err, in.state
		if u.lost[i] {
			err, state = futures.ErrReleased, futures.Failed
		}
		failed = failed || err != nil
		switch {
		case err == nil:
			values = append(values, in.value)
		case u.all != nil && isItem(got, i, err):
			m.settle(u, futures.Failed, "", got)
			return
		case u.all == nil && got == err:
			m.settle(u, state, "", got)
			return
		}
	}
	switch {
	case failed:
		panic(fmt.Sprintf("%v is the error of no input", got))
	case slices.ContainsFunc(u.inputs, func(in *node) bool { return in.state == futures.Pending }):
	case u.all != nil:
		m.settle(u, futures.Finished, "["+strings.Join(values, " ")+"]", nil)
	default:
		m.settle(u, futures.Finished, "{"+strings.Join(values, " ")+"}", nil)
	}
}

func isItem(err error, i int, want error) bool {
	var item *futures.ItemError
	return errors.As(err, &item) && item == err && item.Index == i && item.Err == want
}

func (m *machine) add(n *node) {
	n.made = len(m.nodes)
	m.nodes = append(m.nodes, n)
	for _, in := range n.inputs {
		n.lost = append(n.lost, in.released && in.err == nil)
		in.uses = append(in.uses, n)
	}
	if n.inputs != nil || n.all != nil {
		m.arrived(n)
	}
}

// draw draws some nodes, with duplicates.
func (m *machine) draw(t *rapid.T, label string, most int, of func(*node) bool) (ns []*node) {
	var from []*node
	for _, n := range m.nodes {
		if of(n) {
			from = append(from, n)
		}
	}
	if len(from) == 0 {
		t.Skip("none")
	}
	for range rapid.IntRange(0, most).Draw(t, label) {
		ns = append(ns, rapid.SampledFrom(from).Draw(t, label))
	}
	return ns
}

func (m *machine) one(t *rapid.T, of func(*node) bool) *node {
	ns := m.draw(t, "node", 1, of)
	if len(ns) == 0 {
		t.Skip("none")
	}
	return ns[0]
}

func anyNode(*node) bool     { return true }
func isPromise(n *node) bool { return n.future != nil }
func isAll(n *node) bool     { return n.all != nil }

func (m *machine) New(*rapid.T) {
	f, resolve := futures.New[int]()
	n := newNode(f)
	n.future, n.resolve = f, resolve
	m.add(n)
}

func (m *machine) Value(*rapid.T) {
	m.serial++
	f := futures.Value(m.serial)
	n := newNode(f)
	n.future, n.resolve = f, func(int, error) bool { return false }
	n.state, n.value = futures.Finished, fmt.Sprint(m.serial)
	m.add(n)
}

func (m *machine) All(t *rapid.T) {
	ins := m.draw(t, "inputs", 4, isPromise)
	var fs []*futures.Future[int]
	for _, in := range ins {
		fs = append(fs, in.future)
	}
	f := futures.All(fs...)
	n := newNode(f)
	n.all, n.inputs = f, ins
	m.add(n)
}

func (m *machine) Join(t *rapid.T) {
	a := m.one(t, isPromise)
	b := m.one(t, isAll)
	n := newNode(futures.Join(a.future, b.all))
	n.inputs = []*node{a, b}
	m.add(n)
}

func (m *machine) Resolve(t *rapid.T) {
	n := m.one(t, isPromise)
	m.serial++
	expect(t, !n.state.Done(), n.resolve(m.serial, nil))
	if !n.state.Done() {
		m.settle(n, futures.Finished, fmt.Sprint(m.serial), nil)
	}
}

func (m *machine) Fail(t *rapid.T) {
	n := m.one(t, isPromise)
	m.serial++
	err := fmt.Errorf("failure %d", m.serial)
	expect(t, !n.state.Done(), n.resolve(m.serial, err))
	if !n.state.Done() {
		m.settle(n, futures.Failed, "", err)
	}
}

func (m *machine) Cancel(t *rapid.T) {
	n := m.one(t, anyNode)
	m.serial++
	cause := fmt.Errorf("cause %d", m.serial)
	expect(t, !n.state.Done(), n.Waiter.Cancel(cause))
	if !n.state.Done() {
		err := n.Err()
		expect(t, true, errors.Is(err, cause) && errors.Is(err, futures.ErrCancelled))
		m.settle(n, futures.Cancelled, "", err)
	}
}

func (m *machine) Release(t *rapid.T) {
	n := m.one(t, anyNode)
	n.release()
	n.released = true
}

func (m *machine) OnDone(t *rapid.T) {
	n := m.one(t, anyNode)
	c := &call{ran: make(chan struct{}, 9), due: n.state.Done()}
	c.stop = n.onDone(func() {
		c.times.Add(1)
		c.ran <- struct{}{}
	})
	n.calls = append(n.calls, c)
}

func (m *machine) Stop(t *rapid.T) {
	n := m.one(t, anyNode)
	if len(n.calls) == 0 {
		t.Skip("none")
	}
	c := rapid.SampledFrom(n.calls).Draw(t, "call")
	expect(t, !c.due && !c.stopped, c.stop())
	c.stopped = c.stopped || !c.due
}

func (m *machine) Done(t *rapid.T) {
	n := m.one(t, anyNode)
	n.chans = append(n.chans, n.Waiter.Done())
}

func (m *machine) Check(t *rapid.T) {
	expect(t, len(m.inBag), m.bag.Len())
	for _, n := range m.nodes {
		expect(t, n.state, n.State())
		expect(t, n.err, n.Err())
		expect(t, true, strings.HasPrefix(n.describe(), n.state.String()))
		expect(t, "", n.Key())

		v, err := n.result(m.context)
		werr := n.Wait(m.context)
		switch {
		case !n.state.Done():
			expect(t, true, errors.Is(err, context.Canceled) && errors.Is(err, errStop))
			expect(t, err.Error(), werr.Error())
		case n.err != nil:
			expect(t, n.err, err)
			expect(t, n.err, werr)
		case n.released:
			expect(t, futures.ErrReleased, err)
			expect(t, nil, werr)
		default:
			expect(t, nil, err)
			expect(t, n.value, v)
		}
		for _, ch := range append(n.chans, n.Waiter.Done()) {
			expect(t, n.state.Done(), isClosed(ch))
		}
		for _, c := range n.calls {
			if c.due && c.times.Load() == 0 {
				<-c.ran
			}
			expect(t, c.due, c.times.Load() == 1)
		}
	}
}

func expect[T comparable](t *rapid.T, want, got T) {
	t.Helper()
	if want != got {
		t.Fatalf("want %v, got %v", want, got)
	}
}

// Promises, and what is made of them, do what their model does, whatever the order of
// events.
func TestModel(t *testing.T) {
	watch(t)
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{bag: futures.NewCompletions[futures.Waiter](), context: ended()}
		t.Repeat(rapid.StateMachineActions(m))
	})
}
