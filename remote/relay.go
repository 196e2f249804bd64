package remote

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/codec"
)

// The Relay: what a worker's tasks ask of the client.

// Enqueue sends a call that a task has submitted to the client.
func (s *session) Enqueue(c *executor.Call) {
	r, err := c.Request()
	if err != nil {
		c.Fail(err)
		return
	}
	s.mu.Lock()
	if s.over != nil {
		s.mu.Unlock()
		c.Cancel(s.over)
		return
	}
	s.lastID++
	id := s.lastID
	s.children[id] = c
	s.mu.Unlock()
	c.SetTag(id)
	b := binary.AppendUvarint(nil, id)
	b = appendString(b, r.Function)
	b = appendRequest(b, r, s.out)
	recheck := func(error) {
		if c.Over() {
			s.Cancelled(c)
		}
	}
	sendFrame(s.wire, frameSpawn, b, nil, recheck)
	recheck(nil) // it may have been cancelled before it had its number
}

// Cancelled tells the client that it was cancelled.
func (s *session) Cancelled(c *executor.Call) {
	id, ok := c.Tag().(uint64)
	if !ok {
		return
	}
	s.mu.Lock()
	_, open := s.children[id]
	delete(s.children, id)
	s.mu.Unlock()
	if open {
		s.send(frameCancelChild, binary.AppendUvarint(nil, id), executor.PackError(c.Err()))
	}
}

// childDone is what became of a call that a task here has submitted.
func (s *session) childDone(payload []byte) error {
	d := &dec{b: payload}
	id := d.uint()
	outcome := d.byte()
	worker := d.string()
	s.mu.Lock()
	c := s.children[id]
	delete(s.children, id)
	s.mu.Unlock()
	switch outcome {
	case outcomeValue:
		refs := d.sources(s.in, maxSourceDepth)
		if d.bad {
			return errMalformed
		}
		if c != nil {
			c.Deliver(worker, d.b, refs)
		}
	case outcomeStored:
		r := readRef(d).(*ref)
		if err := d.end(); err != nil {
			return err
		}
		r.child = id
		if c != nil {
			c.DeliverStored(worker, r)
		} else {
			s.Drop(r)
		}
	case outcomeError:
		last := d.byte()
		if d.bad {
			return errMalformed
		}
		if c != nil {
			c.DeliverError(worker, executor.UnpackError(d.b, worker), last != 0)
		}
	case outcomeNone:
		if c != nil {
			err := executor.UnpackError(d.b, worker)
			var cancelled *futures.CancelError
			if errors.As(err, &cancelled) && cancelled.Cause != nil {
				err = cancelled.Cause
			}
			c.Cancel(err)
		}
	default:
		return errMalformed
	}
	return nil
}

// Import is told what becomes of a future of the client.
func (s *session) Import(live any, done func(executor.Source)) (cancel func(error)) {
	return s.live.Import(live, done)
}

// Release tells the client that a share of a run is not needed any more.
func (s *session) Release(c *executor.Call) {
	if id, ok := c.Tag().(uint64); ok {
		s.wire.Send(frameDropChild, binary.AppendUvarint(make([]byte, 0, 12), id), nil)
	}
}

// Lent tells the client that a slot has room.
func (s *session) Lent(task int64, awaited *executor.Call) {
	b := binary.AppendVarint(make([]byte, 0, 24), task)
	var child uint64
	if awaited != nil {
		child, _ = awaited.Tag().(uint64)
	}
	s.wire.Send(frameLent, binary.AppendUvarint(b, child), nil)
}

// Resumed tells it that it has none any more.
func (s *session) Resumed(task int64) {
	s.wire.Send(frameResumed, binary.AppendVarint(make([]byte, 0, 12), task), nil)
}

// Slots is the client's count.
func (s *session) Slots() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots
}

// Stats asks the client.
func (s *session) Stats() executor.Stats {
	var st executor.Stats
	_, data, err := s.wire.Call(context.Background(), []byte{callStats})
	if err == nil {
		err = codec.Decode(data, &st)
	}
	if err != nil {
		s.log.Debug("remote: the client's Stats", "err", err)
	}
	return st
}

// Scatter has the client scatter a value.
func (s *session) Scatter(ctx context.Context, data []byte, workers []string, all bool) (any, error) {
	b := []byte{callScatter, 0}
	if all {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(workers)))
	for _, w := range workers {
		b = appendString(b, w)
	}
	head, _, err := s.wire.Call(ctx, b, data)
	if err != nil {
		return nil, err
	}
	d := &dec{b: head}
	child := d.uint()
	r := readRef(d).(*ref)
	r.child = child
	return r, d.end()
}

// CallAll has the client call a function in each process.
func (s *session) CallAll(ctx context.Context, function string, arg []byte) (map[string]executor.Called, error) {
	_, data, err := s.wire.Call(ctx, appendString([]byte{callAll}, function), arg)
	if err != nil {
		return nil, err
	}
	return readCalled(data)
}

func appendCalled(all map[string]executor.Called) []byte {
	b := binary.AppendUvarint(nil, uint64(len(all)))
	for name, c := range all {
		b = appendString(b, name)
		if c.Err != nil {
			b = appendBytes(append(b, 1), executor.PackError(c.Err))
		} else {
			b = appendBytes(append(b, 0), c.Data)
		}
	}
	return b
}

func readCalled(data []byte) (map[string]executor.Called, error) {
	d := &dec{b: data}
	all := map[string]executor.Called{}
	for range d.count() {
		name, failed, data := d.string(), d.byte(), d.bytes()
		if failed != 0 {
			all[name] = executor.Called{Err: executor.UnpackError(data, name)}
		} else {
			all[name] = executor.Called{Data: data}
		}
	}
	return all, d.end()
}
