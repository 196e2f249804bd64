package futures_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/futures"
)

// The ways to wait for many, in the machine of model_test.go. None of them may block
// there: where something would be waited for, ctx has ended.

// Wait waits for some, with a ctx that has ended unless there is nothing to wait for.
func (m *machine) Wait(t *rapid.T) {
	ns := m.draw(t, "nodes", 5, anyNode)
	until := rapid.SampledFrom([]futures.Until{futures.AllCompleted, futures.FirstCompleted, futures.FirstFailed}).Draw(t, "until")
	var ws, wantDone, wantPending []futures.Waiter
	failed := false
	for _, n := range ns {
		ws = append(ws, n)
		if n.state.Done() {
			wantDone = append(wantDone, n)
		} else {
			wantPending = append(wantPending, n)
		}
		failed = failed || n.err != nil
	}
	enough := len(wantPending) == 0 || until == futures.FirstCompleted && len(wantDone) > 0 || until == futures.FirstFailed && failed
	ctx := m.context
	if enough && rapid.Bool().Draw(t, "live") {
		ctx = context.Background()
	}
	done, pending, err := futures.Wait(ctx, until, ws...)
	expect(t, true, slices.Equal(wantDone, done) && slices.Equal(wantPending, pending))
	expect(t, enough, err == nil)
	expect(t, enough, !errors.Is(err, errStop))
}

// Gather gathers some of which one has failed, or all are there.
func (m *machine) Gather(t *rapid.T) {
	ns := m.draw(t, "nodes", 5, isPromise)
	var fs []*futures.Future[int]
	var values []string
	failed, released, pending := -1, false, false
	for i, n := range ns {
		fs, values = append(fs, n.future), append(values, n.value)
		if n.err != nil && failed < 0 {
			failed = i
		}
		released = released || n.released
		pending = pending || !n.state.Done()
	}
	if pending && (failed < 0 || released) {
		t.Skip("it would wait")
	}
	got, err := futures.Gather(context.Background(), fs...)
	var item *futures.ItemError
	switch {
	case failed < 0 && !released:
		expect(t, nil, err)
		expect(t, "["+strings.Join(values, " ")+"]", fmt.Sprint(got))
	case !errors.As(err, &item):
		t.Fatalf("%v is no ItemError", err)
	case failed >= 0:
		expect(t, true, isItem(err, failed, ns[failed].err) || isItem(err, item.Index, futures.ErrReleased) && ns[item.Index].released)
	default:
		expect(t, true, isItem(err, item.Index, futures.ErrReleased) && ns[item.Index].released)
	}
}

func (m *machine) AsCompleted(t *rapid.T) {
	ns := m.draw(t, "nodes", 5, anyNode)
	var ws, want []futures.Waiter
	for _, n := range ns {
		ws = append(ws, n)
		if n.state.Done() && !slices.Contains(want, futures.Waiter(n)) {
			want = append(want, n)
		}
	}
	expect(t, true, slices.Equal(want, slices.Collect(futures.AsCompleted(m.context, ws...))))
}

func (m *machine) AddToBag(t *rapid.T) {
	for _, n := range m.draw(t, "nodes", 3, anyNode) {
		m.bag.Add(n)
		if !slices.Contains(m.inBag, n) {
			m.inBag = append(m.inBag, n)
		}
	}
}

// EmptyBag takes out what is done, or some of it.
func (m *machine) EmptyBag(t *rapid.T) {
	most := rapid.IntRange(1, 9).Draw(t, "most")
	ready := 0
	for _, n := range m.inBag {
		if n.state.Done() {
			ready++
		}
	}
	taken := 0
	for w := range m.bag.All(m.context) {
		n := w.(*node)
		i := slices.Index(m.inBag, n)
		expect(t, true, i >= 0 && n.state.Done())
		m.inBag = slices.Delete(m.inBag, i, i+1)
		if taken++; taken == most {
			break
		}
	}
	expect(t, min(ready, most), taken)
}
