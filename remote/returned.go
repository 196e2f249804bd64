package remote

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/futures"
	"github.com/nearfar/nearfar/internal/wire"
)

// leaseDone tells the client what became of a lease.
func (s *session) leaseDone(id int64, o executor.LeaseOutcome) {
	s.mu.Lock()
	var memory []byte
	if r := s.runs[id]; r != nil {
		memory = r.memory
	}
	delete(s.runs, id)
	over := s.over != nil
	s.mu.Unlock()
	if over {
		return
	}
	b := binary.AppendVarint(make([]byte, 0, 64), id)
	b = append(b, outcomeLease)
	b = binary.AppendVarint(b, int64(o.Took))
	b = binary.AppendUvarint(b, uint64(o.Ran))
	if o.Err != nil {
		b = appendBytes(b, executor.PackError(o.Err))
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(o.Failed)))
	for _, f := range o.Failed {
		b = appendBytes(binary.AppendUvarint(b, uint64(f.At)), executor.PackError(f.Err))
	}
	b = appendSources(b, o.Refs, s.out)
	sendFrom(s.wire, frameDone, b, o.Data, memory, nil)
}

// returned tells the client what became of a call.
func (s *session) returned(id int64, o executor.Outcome) {
	s.mu.Lock()
	r := s.runs[id]
	delete(s.runs, id)
	over := s.over != nil
	stays := false
	if o.State == futures.Finished && !over && len(o.Refs) == 0 {
		if limit := maxInline; len(o.Data) > limit && !(r.home && len(o.Data) <= maxFrame) {
			stays = true
			s.values[id] = &value{hosted: r.hosted, size: len(o.Data)}
		}
	}
	s.mu.Unlock()
	if over {
		return
	}
	head := make([]byte, 0, 64)
	head = binary.AppendVarint(head, id)
	var body []byte
	switch {
	case stays:
		head = append(head, outcomeStored)
		head = binary.AppendVarint(head, int64(o.Took))
		head = binary.AppendVarint(head, int64(len(o.Data)))
	case o.State == futures.Finished:
		head = append(head, outcomeValue)
		head = binary.AppendVarint(head, int64(o.Took))
		head = appendSources(head, o.Refs, s.out)
		body = o.Data
	case o.State == futures.Failed:
		head = append(head, outcomeError)
		head = binary.AppendVarint(head, int64(o.Took))
		last := byte(0)
		if o.Last {
			last = 1
		}
		head = append(head, last)
		body = executor.PackError(o.Err)
	default:
		head = append(head, outcomeNone)
		head = binary.AppendVarint(head, int64(o.Took))
	}
	s.send(frameDone, head, body)
}

// send sends a frame of any size.
func (s *session) send(kind byte, head, body []byte) { sendFrame(s.wire, kind, head, body, nil) }

// sendFrame sends a frame: as a call if it is a large one, which others may overtake.
// Then is called when that is through.
func sendFrame(w *wire.Session, kind byte, head, body []byte, then func(error)) {
	sendFrom(w, kind, head, body, nil, then)
}

// sendFrom is sendFrame from memory that may be recycled afterwards.
func sendFrom(w *wire.Session, kind byte, head, body, memory []byte, then func(error)) {
	if len(head)+len(body) <= maxFrame {
		w.Send(kind, head, body)
		wire.Recycle(memory)
		return
	}
	go func() { // ends with the session at the latest
		_, _, err := w.Call(context.Background(), []byte{callFrame, kind}, head, body)
		if err != nil { // a frame arrives, or the session is over
			w.Kill(fmt.Errorf("remote: a large frame did not arrive: %w", err))
		} else {
			wire.Recycle(memory)
		}
		if then != nil {
			then(err)
		}
	}()
}
