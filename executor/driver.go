package executor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/cell"
	"github.com/nearfar/nearfar/internal/codec"
)

// What a Backend that runs its calls elsewhere needs of them. Such a backend sends the
// Request of a call that was enqueued, and then calls Begin when it knows that the
// call's function has started, and in the end one of Deliver, DeliverStored,
// DeliverError and Withdraw. It may do so without having called Begin.

// A Request is what is to be known of a call where it runs.
type Request struct {
	ID       int64  // of the task: see TaskInfo
	Function string // the name it is registered by
	Name     string // of WithName, or ""
	Key      string
	Attempt  int // from 1
	Priority int
	Timeout  time.Duration
	Workers  []string      // of WithWorkers
	Kill     time.Duration // of WithKillAfter
	Once     bool          // WithAtMostOnce
	Home     bool          // the value is wanted in this process, whatever its size
	Arg      Source
	Refs     []Source // the values of the futures in the argument, in the order of package codec
}

// A Source is where a value is, or what it is made of. One of Data, Stored and Parts
// says it; or, for a future in a value, Err or Live, if it has none.
type Source struct {
	Data      []byte   // its encoding
	Refs      []Source // and the futures in it
	Stored    any      // what the backend knows it by
	Parts     []Source
	Made      cell.Made // how, if it is made of Parts
	Err       []byte    // of PackError: the future has failed, or was
	Cancelled bool
	Live      any // the future has no outcome. Where it is made, a cell.Value; else the backend's
}

// An Importer is a Store that tells of futures in other processes.
type Importer interface {
	// Import has done called with what becomes of a future, now or later. The
	// function it returns cancels the future.
	Import(live any, done func(Source)) (cancel func(cause error))
}

// A Store is a backend that can have values elsewhere.
type Store interface {
	// Fetch brings the encoding of a value. It blocks.
	Fetch(ctx context.Context, stored any) ([]byte, error)
	// Drop is told that nobody needs a value any more. It does not block.
	Drop(stored any)
}

// Request describes the call. Its inputs are there. It is an error if the call is over,
// and its argument gone with it.
func (c *Call) Request() (*Request, error) {
	w := c.work()
	m := w.more()
	if !m.describe() {
		return nil, errOver
	}
	defer m.described()
	if m.id.Load() == 0 {
		m.ID()
	}
	r := &Request{
		ID: m.id.Load(), Function: m.fn.registered, Name: m.opts.name, Key: m.opts.key,
		Attempt: int(m.attempt.Load()) + 1, Priority: m.opts.priority, Timeout: m.opts.timeout,
		Workers: m.opts.workers, Kill: m.opts.killAfter, Once: m.opts.has(givenAtMostOnce),
	}
	if h, ok := w.(interface{ home() bool }); ok {
		r.Home = h.home()
	}
	var err error
	r.Arg, r.Refs, err = w.sources(m)
	return r, err
}

var errOver = errors.New("executor: the call is over")

// describe keeps the argument and the inputs until described, whatever becomes of the
// call meanwhile. It is false if they may be gone.
func (m *more) describe() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.describing = !m.over.Load() // which is set before cleanUp looks
	return m.describing
}

func (m *more) described() {
	m.mu.Lock()
	m.describing = false
	m.mu.Unlock()
	if m.over.Load() {
		m.release()
		m.forget()
	}
}

// Priority is the call's.
func (c *Call) Priority() int {
	if m := c.work().peek(); m != nil {
		return m.opts.priority
	}
	return 0
}

// Over reports whether the call has its outcome, whatever that is.
func (c *Call) Over() bool { return c.core().Settled() }

// Cancelled reports whether the call was cancelled.
func (c *Call) Cancelled() bool { return c.core().State() == cell.Cancelled }

// Err is the call's error, or nil.
func (c *Call) Err() error { return c.core().Err() }

// Tag is what SetTag has set, for the backend's own use; at first nil.
func (c *Call) Tag() any {
	w, ok := c.Owner.(work)
	if !ok {
		return nil // a batch, or a share of a run
	}
	m := w.peek()
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tag
}

// SetTag sets the Tag.
func (c *Call) SetTag(tag any) {
	m := c.work().more()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tag = tag
}

// Begin is told that the function has started, on a worker. It is false if the call
// was over before, and counts as abandoned then, until its Deliver.
func (c *Call) Begin(worker string) bool {
	m := c.work().more()
	m.where.Store(&worker)
	if m.run != nil {
		m.run.look()
	}
	if !c.core().Start(0) {
		if c.core().State() != cell.Running && m.gone.CompareAndSwap(false, true) {
			m.base.abandoned.Add(1)
		}
		return false
	}
	m.base.leaveRoom(m)
	m.attempt.Add(1)
	m.base.observe(eventStarted, m, nil)
	if m.run != nil {
		m.run.started()
	}
	if f, ok := c.Owner.(*Foreign); ok {
		f.begun(f)
	}
	return true
}

// begun is Begin for an outcome that comes without one.
func (c *Call) begun(worker string) {
	if c.core().Startable() {
		c.Begin(worker)
	}
}

// Deliver ends the call with its value, encoded, and the values of the futures in it.
func (c *Call) Deliver(worker string, data []byte, refs []Source) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		return
	}
	if err := w.deliver(m, data, refs); err != nil {
		c.ended(w, m, err)
		return
	}
	w.finish(nil)
}

// DeliverStored ends the call with a value that stays where it is.
func (c *Call) DeliverStored(worker string, stored any) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		m.base.backend.(Store).Drop(stored)
		return
	}
	m.stored = stored
	m.base.count(nil, 1)
	won, fire := c.core().FinishAway()
	if !won {
		m.base.count(nil, -1)
		m.base.backend.(Store).Drop(stored)
		c.core().Outcome() // which another is about to write
		c.returned(m)
		return
	}
	if fire {
		c.core().Fire()
	}
	m.settled()
	w.(interface{ finished() }).finished()
}

// DeliverError ends the attempt with an error. The call is enqueued again if it has
// attempts left, unless the error is said to be the last.
func (c *Call) DeliverError(worker string, err error, last bool) {
	c.begun(worker)
	w := c.work()
	m := w.more()
	if c.returned(m) {
		return
	}
	if last {
		err = &permanentError{err}
	}
	c.ended(w, m, err)
}

// Late ends a call whose last attempt took longer than its timeout, while its function
// still runs. It is false if there will be another attempt.
func (c *Call) Late(worker string, err error) bool {
	c.begun(worker)
	m := c.work().more()
	if int(m.attempt.Load()) <= m.opts.retries {
		return false
	}
	var wave cell.Wave
	if c.core().Fail(err, &wave) {
		if m.gone.CompareAndSwap(false, true) {
			m.base.abandoned.Add(1)
		}
		m.settled()
	}
	wave.Run()
	return true
}

// Lost enqueues a call again that was lost with its worker. It is false if the call is
// over.
func (c *Call) Lost() bool {
	m := c.work().more()
	m.base.lost.Add(1)
	if c.returned(m) {
		return false
	}
	core := c.core()
	if core.State() == cell.Running {
		core.Again()
		m.base.retried.Add(1)
	}
	if core.Settled() {
		return false
	}
	return true
}

// Sent is told that the call was sent to where it may start, and Gone that it is not
// there any more. Sent may be called with locks held.
func (c *Call) Sent() {
	if s, ok := c.Owner.(interface{ sent() }); ok {
		s.sent()
	}
}

// Gone is told that the function of the call does not run, and will not before the
// next Sent.
func (c *Call) Gone() {
	if s, ok := c.Owner.(interface{ returned() }); ok {
		s.returned()
	}
}

// CancelPending cancels the call if it has not begun.
func (c *Call) CancelPending() {
	var w cell.Wave
	c.core().CancelPending(cell.CancelError(nil), &w)
	w.Run()
}

// A Withdrawer is a backend that takes calls back which have not begun: it has
// CancelPending called then.
type Withdrawer interface{ Withdraw(c *Call) }

// Fail ends the call with an error, whatever attempts it has left.
func (c *Call) Fail(err error) {
	m := c.work().more()
	if fail(c.core(), err) {
		m.settled()
	}
}

// Returned is told that the function of a call that was over has returned, or will
// never start.
func (c *Call) Returned() { c.returned(c.work().more()) }

// returned is true if the call is over.
func (c *Call) returned(m *more) bool {
	core := c.core()
	if !core.Ended() && !core.Settled() {
		return false
	}
	if m.gone.CompareAndSwap(true, false) {
		m.base.abandoned.Add(-1)
	}
	m.release()
	m.forget()
	return true
}

// ended is the end of an attempt that failed.
func (c *Call) ended(w work, m *more, err error) {
	var permanent *permanentError
	last := errors.As(err, &permanent) || int(m.attempt.Load()) > m.opts.retries
	if !last && m.again(c.core()) {
		return
	}
	m.forget()
	if fail(c.core(), err) {
		m.settled()
	} else {
		c.returned(m)
	}
}

// Cancel cancels the call for a reason of the backend's.
func (c *Call) Cancel(cause error) { cancelWith(c.core(), cause) }

// sources of a task: its argument was encoded when it was submitted.
func (t *task[A, R]) sources(m *more) (Source, []Source, error) {
	refs, err := sourcesOf(m, references(m.base, &t.arg))
	return Source{Data: m.arg}, refs, err
}

func (t *thenTask[A, R]) sources(m *more) (Source, []Source, error) {
	s, err := sourceOf(m, t.in.Source())
	return s, nil, err
}

func (t *nodeTask[T]) sources(m *more) (Source, []Source, error) {
	s := Source{Made: cell.Slice, Parts: make([]Source, len(t.in))}
	for i, c := range t.in {
		part, err := sourceOf(m, c.Source())
		if err != nil {
			return s, nil, err
		}
		s.Parts[i] = part
	}
	return s, nil, nil
}

func sourcesOf(m *more, values []cell.Value) ([]Source, error) {
	if len(values) == 0 {
		return nil, nil
	}
	list := make([]Source, len(values))
	for i, v := range values {
		s, err := sourceOf(m, v.Source())
		if err != nil {
			return nil, err
		}
		list[i] = s
	}
	return list, nil
}

// sourceOf makes the source of a value ready to travel.
func sourceOf(m *more, s cell.Source) (Source, error) {
	switch {
	case s.Here != nil:
		v := reflect.ValueOf(s.Here).Elem()
		t := codec.For(v.Type())
		var refs []Source
		t.References(v, func(ref reflect.Value) {
			refs = append(refs, futureSource(m.base, futures.ValueOf(ref.Interface())))
		})
		data, err := t.Append(nil, v)
		if err != nil {
			return Source{}, fmt.Errorf("%w: an input of %s: %w", ErrNotEncodable, m.fn.name(), err)
		}
		if limit := m.base.cfg.MaxValueBytes; int64(len(data)) > limit {
			return Source{}, fmt.Errorf("%w: an input of %s has %d bytes encoded, and MaxValueBytes is %d; make it smaller, or the limit larger",
				ErrTooLarge, m.fn.name(), len(data), limit)
		}
		return Source{Data: data, Refs: refs}, nil
	case s.Stored != nil:
		if o, ok := s.Stored.(*storedAt); ok {
			if e, ok := o.stored.(encoded); ok {
				return Source{Data: e.data, Refs: e.refs}, nil
			}
			if o.base != m.base { // of another executor: it goes by way of here
				data, err := o.base.backend.(Store).Fetch(context.Background(), o.stored)
				return Source{Data: data}, err
			}
			return Source{Stored: o.stored}, nil
		}
		return Source{Stored: s.Stored}, nil
	}
	parts := make([]Source, len(s.Parts))
	for i := range parts {
		p, err := sourceOf(m, s.Parts[i])
		if err != nil {
			return Source{}, err
		}
		parts[i] = p
	}
	return Source{Made: s.Made, Parts: parts}, nil
}

// futureSource is the source of a future in a value, whatever its state.
func futureSource(b *Base, v cell.Value) Source {
	c := v.Base()
	switch c.State() {
	case cell.Finished:
		if !v.Pin() {
			return Source{Err: PackError(futures.ErrReleased)}
		}
		defer v.Unpin()
		if c.Away() {
			if err := v.Bring(context.Background()); err != nil {
				return Source{Err: PackError(err)}
			}
		}
		p := reflect.ValueOf(v.Pointer()).Elem()
		t := codec.For(p.Type())
		data, err := t.Append(nil, p)
		if err != nil {
			return Source{Err: PackError(fmt.Errorf("%w: %w", ErrNotEncodable, err))}
		}
		s := Source{Data: data}
		t.References(p, func(ref reflect.Value) {
			s.Refs = append(s.Refs, futureSource(b, futures.ValueOf(ref.Interface())))
		})
		return s
	case cell.Failed, cell.Cancelled:
		return Source{Err: PackError(c.Err()), Cancelled: c.State() == cell.Cancelled}
	}
	return Source{Live: v}
}

// FutureSource is the source of a future that was Live, once it has its outcome. It may
// block, to bring its value here.
func FutureSource(b *Base, v cell.Value) Source { return futureSource(b, v) }

// storedAt is what a backend knows a value by, and which backend.
type storedAt struct {
	base   *Base
	stored any
}

// encoded is a value that was not decoded yet, in the place of what a backend knows.
type encoded struct {
	data []byte
	refs []Source
}

// deliver keeps a value that came encoded.
func (t *task[A, R]) deliver(m *more, data []byte, refs []Source) error {
	var v R
	if err := decodeWith(m.base, data, &v, refs); err != nil {
		return err
	}
	t.cell().Set(v)
	return nil
}

// decodeWith decodes a value, with the futures of refs in it.
func decodeWith[T any](b *Base, data []byte, v *T, refs []Source) error {
	if err := codec.DecodeOwned(data, v); err != nil {
		return fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, *v, err)
	}
	return replaceWith(b, codec.TypeFor[T](), reflect.ValueOf(v).Elem(), refs)
}

// decodeSliceWith is decodeWith for a slice, which is put into room if that has room for it.
func decodeSliceWith[T any](b *Base, data []byte, room []T, refs []Source) ([]T, error) {
	v, err := codec.DecodeSlice(data, room)
	if err != nil {
		return nil, fmt.Errorf("%w: decoding %T: %w", ErrNotEncodable, v, err)
	}
	return v, replaceWith(b, codec.TypeFor[[]T](), reflect.ValueOf(&v).Elem(), refs)
}

// replaceWith puts futures of refs in the places of the references in v.
func replaceWith(b *Base, t *codec.Type, v reflect.Value, refs []Source) error {
	if !t.HasReferences() {
		return nil
	}
	return t.Replace(v, func(i int, ref reflect.Type) (reflect.Value, error) {
		if i >= len(refs) {
			return reflect.Value{}, fmt.Errorf("%w: %d futures came with a %v that has more", ErrNotEncodable, len(refs), t)
		}
		src := refs[i]
		if src.Live != nil || src.Err != nil {
			return b.future(ref, src), nil
		}
		return futures.Away(ref, func(ctx context.Context, t reflect.Type) (reflect.Value, error) {
			return b.load(ctx, src, t)
		}, func() cell.Source { return b.cellSource(src) }), nil
	})
}

// future makes a future that has failed, or has no outcome yet.
func (b *Base) future(t reflect.Type, src Source) reflect.Value {
	var cancel func(error)
	v, finish := futures.Later(t, func(cause error) {
		if cancel != nil {
			cancel(cause)
		}
	})
	done := func(src Source) {
		var err error
		if src.Err != nil {
			err = UnpackError(src.Err, b.worker)
		}
		finish(func(ctx context.Context, t reflect.Type) (reflect.Value, error) { return b.load(ctx, src, t) },
			func() cell.Source { return b.cellSource(src) }, err, src.Cancelled)
	}
	if src.Live == nil {
		done(src)
	} else {
		cancel = b.backend.(Importer).Import(src.Live, done)
	}
	return v
}

// cellSource is src as package cell has it.
func (b *Base) cellSource(src Source) cell.Source {
	switch {
	case src.Stored != nil:
		return cell.Source{Stored: &storedAt{b, src.Stored}}
	case src.Parts != nil || src.Made != cell.Whole:
		parts := make([]cell.Source, len(src.Parts))
		for i := range parts {
			parts[i] = b.cellSource(src.Parts[i])
		}
		return cell.Source{Made: src.Made, Parts: parts}
	}
	return cell.Source{Stored: &storedAt{b, encoded{src.Data, src.Refs}}}
}

// A Loader is a Store that has some of the values in this process.
type Loader interface {
	Load(ctx context.Context, stored any, t reflect.Type) (v reflect.Value, ok bool, err error)
}

// load makes a value of type t from where it is.
func (b *Base) load(ctx context.Context, src Source, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	switch {
	case src.Stored != nil:
		if e, ok := src.Stored.(encoded); ok {
			return b.load(ctx, Source{Data: e.data, Refs: e.refs}, t)
		}
		if l, ok := b.backend.(Loader); ok {
			if v, ok, err := l.Load(ctx, src.Stored, t); ok || err != nil {
				return v, err
			}
		}
		data, err := b.backend.(Store).Fetch(ctx, src.Stored)
		if err != nil {
			return v, err
		}
		return v, codec.For(t).DecodeOwned(data, v)
	case src.Made == cell.Whole:
		if err := codec.For(t).DecodeOwned(src.Data, v); err != nil {
			return v, fmt.Errorf("%w: decoding %v: %w", ErrNotEncodable, t, err)
		}
		return v, replaceWith(b, codec.For(t), v, src.Refs)
	}
	for i, part := range src.Parts {
		pt := t
		switch {
		case src.Made == cell.Slice && t.Kind() == reflect.Slice:
			pt = t.Elem()
		case src.Made == cell.Struct && t.Kind() == reflect.Struct && i < t.NumField():
			pt = t.Field(i).Type
		case src.Made != cell.Concat || t.Kind() != reflect.Slice:
			return v, fmt.Errorf("%w: a %v is not made of %d parts", ErrNotEncodable, t, len(src.Parts))
		}
		p, err := b.load(ctx, part, pt)
		if err != nil {
			return v, err
		}
		switch src.Made {
		case cell.Slice:
			v = reflect.Append(v, p)
		case cell.Struct:
			v.Field(i).Set(p)
		case cell.Concat:
			v = reflect.AppendSlice(v, p)
		}
	}
	return v, nil
}

// A task as the keeper of a value that stays elsewhere.

// Fetch brings the value home.
func (t *task[A, R]) Fetch(ctx context.Context) error {
	m := t.peek()
	v, err := m.base.load(ctx, Source{Stored: m.stored}, reflect.TypeFor[R]())
	if err != nil {
		return err
	}
	t.cell().Arrive(v.Interface().(R))
	return nil
}

// Source is where the value is.
func (t *task[A, R]) Source() cell.Source {
	m := t.peek()
	return cell.Source{Stored: &storedAt{m.base, m.stored}}
}

// Dropped lets it go there.
func (t *task[A, R]) Dropped() {
	if m := t.peek(); m != nil && m.stored != nil {
		m.base.backend.(Store).Drop(m.stored)
	}
}

// finished drops a value that was released before it came.
func (t *task[A, R]) finished() {
	dropWhenCollected(t, t.peek().base, t.peek().stored)
	t.cell().Finished()
}

// Account is what the package counts for the executor: all of Stats but what waits and
// runs, which is the backend's to know, and Pending with it.
func (b *Base) Account() Stats {
	return Stats{
		Submitted: b.submitted.Load(), Finished: b.finished.Load(), Failed: b.failed.Load(), Cancelled: b.cancelled.Load(),
		Retried: b.retried.Load(), Lost: b.lost.Load(), Abandoned: b.abandoned.Load(), Running: b.groupRunning.Load(),
	}
}

// Refuse has the executor refuse new tasks.
func (b *Base) Refuse() {
	b.closed.Store(true)
	b.room.close()
}

// CancelHeld refuses new tasks, and cancels those that wait for inputs, a retry, or
// belong to a Group.
func (b *Base) CancelHeld() {
	b.Refuse()
	b.shut.Store(true)
	for _, c := range b.heldCores() {
		cancelWith(c, ErrClosed)
	}
	b.endGroups()
}

// WaitGroups waits for the functions of Groups to return.
func (b *Base) WaitGroups() { b.waitGroups() }

// WaitIdle waits until no task is held and idle says that none is with the backend.
// The backend calls Changed when that may have become so.
func (b *Base) WaitIdle(ctx context.Context, idle func() bool) error {
	b.idlers.Add(1)
	defer b.idlers.Add(-1)
	return b.waitUntil(ctx, idle)
}

// Changed wakes WaitIdle.
func (b *Base) Changed() { b.ranIdle() }

// Config is the executor's.
func (b *Base) Config() Config { return b.cfg }

// Inside reports whether ctx is that of a task of the executor.
func (b *Base) Inside(ctx context.Context) bool {
	a := attemptOf(ctx)
	return a != nil && a.scope.base == b
}

// SetUp runs the functions of RegisterSetup, the first time, for a worker.
func SetUp(ctx context.Context, worker string, data []byte) error { return setUp(ctx, worker, data) }

// PackError encodes an error of a task, so that UnpackError makes one again that means
// the same (G24).
func PackError(err error) []byte {
	w := packError(err)
	data, cerr := codec.Append(nil, &w)
	if cerr != nil {
		data, _ = codec.Append(nil, &wireError{Text: w.Text, Type: w.Type})
	}
	return data
}

// UnpackError makes an error again, of a task that ran on worker.
func UnpackError(data []byte, worker string) error {
	var w wireError
	if err := codec.Decode(data, &w); err != nil {
		return &TaskError{Type: "unknown", Message: "an error that could not be read: " + err.Error(), Worker: worker}
	}
	return unpackError(w, worker)
}

// NewID is a number that no task of the executor has.
func (b *Base) NewID() int64 { return b.ids.Add(1) }
