package remote

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/codec"
)

// Values at a worker, its own and those of others.

// A value is one that stays here: of a call, or scattered.
type value struct {
	hosted *executor.Hosted
	data   []byte // of a scattered one, encoded
	size   int

	mu   sync.Mutex
	live reflect.Value // of a scattered one, decoded. Guarded by mu
}

// A ref is a value as a worker knows it that is told of it.
type ref struct {
	id      int64
	holders []holder
	child   uint64 // the call it is the value of, if a task here submitted that
}

// A holder is a worker that has a value.
type holder struct{ name, network, addr string }

// readRef decodes a stored value as the client tells of it.
func readRef(d *dec) any {
	r := &ref{id: d.int()}
	for range d.count() {
		r.holders = append(r.holders, holder{d.string(), d.string(), d.string()})
	}
	return r
}

// writeRef encodes one as the client knows it.
func writeRef(b []byte, v any) []byte { return binary.AppendVarint(b, v.(*ref).id) }

// Load is a value that is here.
func (s *session) Load(_ context.Context, stored any, t reflect.Type) (v reflect.Value, ok bool, err error) {
	r := stored.(*ref)
	s.mu.Lock()
	val := s.values[r.id]
	s.mu.Unlock()
	if val == nil {
		return v, false, nil
	}
	if val.hosted != nil {
		v, ok = val.hosted.Value(t)
		return v, ok, nil
	}
	val.mu.Lock()
	defer val.mu.Unlock()
	if val.live.IsValid() && val.live.Type() == t {
		return val.live, true, nil
	}
	v = reflect.New(t).Elem()
	if err := codec.For(t).Decode(val.data, v); err != nil {
		return v, false, err
	}
	val.live = v
	return v, true, nil
}

// fetchLocal is the encoding of a value that is here.
func (s *session) fetchLocal(id int64) ([]byte, error) {
	s.mu.Lock()
	val := s.values[id]
	s.mu.Unlock()
	switch {
	case val == nil:
		return nil, fmt.Errorf("value %d is not here", id)
	case val.hosted != nil:
		return val.hosted.Encode()
	}
	return val.data, nil
}

// Fetch brings a value from where it is: here, a peer, or, if none can be reached, by
// way of the client.
func (s *session) Fetch(ctx context.Context, stored any) ([]byte, error) {
	r := stored.(*ref)
	if data, err := s.fetchLocal(r.id); err == nil {
		return data, nil
	}
	head := binary.AppendVarint([]byte{callFetch}, r.id)
	for _, h := range r.holders {
		if h.name == s.srv.name {
			continue
		}
		peer, err := s.srv.peers.get(ctx, h, s.key)
		if err != nil {
			s.log.Debug("remote: peer not reached", "peer", h.name, "err", err)
			continue
		}
		if _, data, err := peer.Call(ctx, head); err == nil {
			return data, nil
		}
	}
	_, data, err := s.wire.Call(ctx, binary.AppendVarint([]byte{callSource}, r.id))
	if err != nil {
		return nil, fmt.Errorf("%w: value %d: %w", ErrDataLost, r.id, err)
	}
	return data, nil
}

// Drop tells the client that nobody here needs a value any more.
func (s *session) Drop(stored any) {
	if r, ok := stored.(*ref); ok && r.child != 0 {
		s.wire.Send(frameDropChild, binary.AppendUvarint(make([]byte, 0, 12), r.child), nil)
	}
}
