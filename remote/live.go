package remote

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/wire"
)

// A liveTable has the futures in values that crossed a session before they had an
// outcome: nobody waits for those, and each side tells the other what becomes of its
// own (G20).
type liveTable struct {
	wire *wire.Session
	base func() *executor.Base
	out  outward
	in   inward

	mu   sync.Mutex
	last uint64
	ours map[uint64]cell.Value // sent, by the number they were given
	ids  map[*cell.Core]uint64
	not  map[uint64]*imported // received: by the other side's number
	over error
}

// An imported is a future of the other side.
type imported struct {
	table *liveTable
	id    uint64

	// Guarded by table.mu.
	done    bool
	outcome executor.Source
	tell    []func(executor.Source)
}

func newLiveTable(w *wire.Session) *liveTable {
	return &liveTable{wire: w, ours: map[uint64]cell.Value{}, ids: map[*cell.Core]uint64{}, not: map[uint64]*imported{}}
}

// An exported waits for the outcome of a future of this side.
type exported struct {
	cell.Hook
	table *liveTable
	id    uint64
	v     cell.Value
}

// append sends a future of this side, or one of the other side back.
func (t *liveTable) append(b []byte, v any) []byte {
	if im, ok := v.(*imported); ok && im.table == t {
		return binary.AppendUvarint(append(b, 1), im.id)
	}
	val, ok := v.(cell.Value)
	if !ok { // of another session: it has to be known here first
		im := v.(*imported)
		val = im.relay()
	}
	t.mu.Lock()
	id, known := t.ids[val.Base()]
	if !known {
		t.last++
		id = t.last
		t.ours[id], t.ids[val.Base()] = val, id
	}
	t.mu.Unlock()
	b = binary.AppendUvarint(append(b, 0), id)
	if known {
		return b
	}
	e := &exported{table: t, id: id, v: val}
	e.Do = e
	if !val.Base().AddHook(&e.Hook) {
		e.Fire(nil, nil)
	}
	return b
}

// relay is a future of this side that follows one of the other.
func (im *imported) relay() cell.Value {
	c := &relayed{}
	c.Owner = c
	c.cancel = im.table.Import(im, func(s executor.Source) {
		var w cell.Wave
		c.source = s
		c.Open(&w)
		w.Run()
	})
	return c
}

// A relayed has the outcome of another session's future as its value.
type relayed struct {
	cell.Cell[struct{}]
	source executor.Source
	cancel func(error)
}

func (c *relayed) Run(any)                         {}
func (c *relayed) Settling(cell.State, cell.State) {}
func (c *relayed) Key() string                     { return "" }
func (c *relayed) Why() string                     { return "" }
func (c *relayed) Released()                       {}

func (c *relayed) Cancelled(_ cell.State, cause error, _ *cell.Wave) { c.cancel(cause) }

// Fire sends the outcome, from a goroutine, since the value may have to be brought.
func (e *exported) Fire(*cell.Hook, *cell.Wave) {
	go func() { // ends when the value is here
		var s executor.Source
		if r, ok := e.v.(*relayed); ok {
			s = r.source
			if err := r.Err(); err != nil {
				s = executor.Source{Err: executor.PackError(err), Cancelled: r.State() == cell.Cancelled}
			}
		} else {
			s = executor.FutureSource(e.table.base(), e.v)
		}
		t := e.table
		t.mu.Lock()
		delete(t.ours, e.id)
		delete(t.ids, e.v.Base())
		t.mu.Unlock()
		b := binary.AppendUvarint(nil, e.id)
		b = appendSource(b, &s, t.out)
		sendFrame(t.wire, frameFuture, b, nil, nil)
	}()
}

// read receives a future of the other side, or one of this side back.
func (t *liveTable) read(d *dec) any {
	back, id := d.byte(), d.uint()
	t.mu.Lock()
	defer t.mu.Unlock()
	if back == 1 {
		if v, ok := t.ours[id]; ok {
			return v
		}
		d.fail()
		return nil
	}
	return t.importLocked(id)
}

func (t *liveTable) importLocked(id uint64) *imported {
	im := t.not[id]
	if im == nil {
		im = &imported{table: t, id: id}
		if t.over != nil {
			im.done, im.outcome = true, executor.Source{Err: executor.PackError(t.over)}
		}
		t.not[id] = im
	}
	return im
}

// Import has done called with what becomes of a future.
func (t *liveTable) Import(live any, done func(executor.Source)) (cancel func(error)) {
	im, ok := live.(*imported)
	if !ok { // it is this side's own, which has been there and back
		f := &follower{v: live.(cell.Value), base: t.base, done: done}
		f.Do = f
		if !f.v.Base().AddHook(&f.Hook) {
			f.Fire(nil, nil)
		}
		return func(cause error) {
			var w cell.Wave
			f.v.Base().Cancel(cell.CancelError(cause), cause, &w)
			w.Run()
		}
	}
	it := im.table
	it.mu.Lock()
	over := im.done
	if !over {
		im.tell = append(im.tell, done)
	}
	it.mu.Unlock()
	if over {
		done(im.outcome)
	}
	return func(cause error) {
		b := binary.AppendUvarint(nil, im.id)
		it.wire.Send(frameFutureCancel, b, executor.PackError(cause))
	}
}

// A follower follows a future of this side.
type follower struct {
	cell.Hook
	v    cell.Value
	base func() *executor.Base
	done func(executor.Source)
}

func (f *follower) Fire(*cell.Hook, *cell.Wave) {
	go func() { f.done(executor.FutureSource(f.base(), f.v)) }() // ends when the value is here
}

// settled is a frameFuture.
func (t *liveTable) settled(payload []byte) error {
	d := &dec{b: payload}
	id := d.uint()
	s := d.source(t.in, maxSourceDepth)
	if err := d.end(); err != nil {
		return err
	}
	t.mu.Lock()
	im := t.importLocked(id)
	tell := im.tell
	im.done, im.outcome, im.tell = true, s, nil
	t.mu.Unlock()
	for _, f := range tell {
		f(s)
	}
	return nil
}

// cancel is a frameFutureCancel.
func (t *liveTable) cancel(d *dec) {
	id := d.uint()
	t.mu.Lock()
	v := t.ours[id]
	t.mu.Unlock()
	if v != nil {
		cause := executor.UnpackError(d.b, "the other side")
		var w cell.Wave
		v.Base().Cancel(cell.CancelError(cause), cause, &w)
		w.Run()
	}
	d.b = nil
}

// close ends the futures of the other side, which is gone.
func (t *liveTable) close(err error) {
	err = errors.Join(ErrWorkerLost, err)
	s := executor.Source{Err: executor.PackError(err)}
	var tell []func(executor.Source)
	t.mu.Lock()
	t.over = err
	for _, im := range t.not {
		if !im.done {
			tell = append(tell, im.tell...)
			im.done, im.outcome, im.tell = true, s, nil
		}
	}
	t.mu.Unlock()
	for _, f := range tell {
		f(s)
	}
}
