package remote

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearfar/nearfar/executor"
)

// plainCalls are the plain calls that a worker has of a client. It is their sink. A call stays
// in its place until another takes that, which the client does not allow before it has heard
// what became of it.
type plainCalls struct {
	s    *session
	host *executor.PlainHost
	n    atomic.Int64 // that are not through

	args []executor.PlainArg // the reading goroutine's

	mu     sync.Mutex
	places []plainPlace // guarded by mu
}

type plainPlace struct {
	call *executor.Call
	told bool // the client knows that it has begun
}

const maxPlaces = 1 << 22

func (p *plainCalls) init(s *session) {
	p.s = s
	p.host = &executor.PlainHost{Host: s.host, Sink: p}
	p.host.Ticks.Store(1)
}

// arrive starts calls.
func (p *plainCalls) arrive(d *dec) error {
	number := d.uint()
	if number >= uint64(len(p.s.srv.numbered)) {
		return errMalformed
	}
	args, last := p.args[:0], uint32(0)
	for len(d.b) > 0 {
		a := executor.PlainArg{Place: uint32(d.uint()), ID: d.int(), Arg: d.bytes()}
		if d.bad || a.Place == 0 || a.Place >= maxPlaces {
			return errMalformed
		}
		last = max(last, a.Place)
		args = append(args, a)
	}
	p.args = args
	p.n.Add(int64(len(args)))
	calls := p.s.srv.numbered[number].Make(p.host, args)
	p.mu.Lock()
	for len(p.places) <= int(last) {
		p.places = append(p.places, plainPlace{})
	}
	for _, t := range calls {
		c := t.(*executor.Call)
		p.places[c.Plain().Place] = plainPlace{call: c}
	}
	p.mu.Unlock()
	p.host.Push(calls)
	return nil
}

// at is a call, if that is there.
func (p *plainCalls) at(id int64, place uint32) *plainPlace {
	if int(place) < len(p.places) {
		if pl := &p.places[place]; pl.call != nil && pl.call.Plain().ID == id {
			return pl
		}
	}
	return nil
}

// cancel cancels a call. The client is to know first that it has begun, if it has.
func (p *plainCalls) cancel(id int64, place uint32, cause []byte) {
	p.mu.Lock()
	pl := p.at(id, place)
	if pl == nil {
		p.mu.Unlock()
		return
	}
	call, tell := pl.call, !pl.told && pl.call.Hosted().Running()
	pl.told = true
	p.mu.Unlock()
	if tell {
		p.s.wire.Send(frameBegun, appendBegun(nil, id, place), nil)
	}
	call.Hosted().Cancel(executor.UnpackError(cause, "the client"))
}

// withdraw takes a call back, or says that it has begun.
func (p *plainCalls) withdraw(id int64, place uint32) {
	p.mu.Lock()
	pl := p.at(id, place)
	var call *executor.Call
	if pl != nil {
		call, pl.told = pl.call, true
	}
	p.mu.Unlock()
	if call != nil && !call.Hosted().Withdraw() {
		p.s.wire.Send(frameBegun, appendBegun(nil, id, place), nil)
	}
}

// begun appends the calls that run since the last tick but one, and are not known to.
func (p *plainCalls) begun(b []byte) []byte {
	now := p.host.Ticks.Add(1)
	if p.n.Load() == 0 {
		return b
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.places {
		pl := &p.places[i]
		if pl.call == nil || pl.told || !pl.call.Hosted().Running() {
			continue
		}
		h := pl.call.Plain()
		if began := h.Began.Load(); began != 0 && now-began >= 2 {
			pl.told = true
			b = appendBegun(b, h.ID, h.Place)
		}
	}
	return b
}

// appendBegun appends a call that has begun, with its place if it is a plain one, else 0.
func appendBegun(b []byte, id int64, place uint32) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, id), uint64(place))
}

// close cancels all of them.
func (p *plainCalls) close(cause error) {
	p.mu.Lock()
	places := p.places
	p.places = nil
	p.mu.Unlock()
	for _, pl := range places {
		if pl.call != nil {
			pl.call.Hosted().Cancel(cause)
		}
	}
}

// The sink.

// Value sends a value, or keeps it, if it is large.
func (p *plainCalls) Value(call *executor.Call, c *executor.HostedPlain, data []byte, took time.Duration) {
	defer p.n.Add(-1)
	switch {
	case len(data) > maxInline:
		s := p.s
		s.mu.Lock()
		if s.over == nil {
			s.values[c.ID] = &value{hosted: call.Hosted(), size: len(data)}
		}
		s.mu.Unlock()
		p.send(c, plainStored, 0, binary.AppendUvarint(nil, uint64(len(data))))
	case took > 0:
		p.send(c, plainTimed, took, data)
	default:
		p.send(c, plainValue, 0, data)
	}
}

// Failed sends an error.
func (p *plainCalls) Failed(c *executor.HostedPlain, err error, last bool) {
	defer p.n.Add(-1)
	b := []byte{0}
	if last {
		b[0] = 1
	}
	p.send(c, plainFailed, 0, append(b, executor.PackError(err)...))
}

// None says that there is neither.
func (p *plainCalls) None(c *executor.HostedPlain) {
	defer p.n.Add(-1)
	p.send(c, plainNone, 0, nil)
}

func (p *plainCalls) send(c *executor.HostedPlain, kind int, took time.Duration, data []byte) {
	var buf [3 * binary.MaxVarintLen64]byte
	b := binary.AppendUvarint(buf[:0], uint64(c.Place))
	b = binary.AppendUvarint(b, uint64(len(data))<<plainBits|uint64(kind))
	if kind == plainTimed {
		b = binary.AppendUvarint(b, uint64(took))
	}
	if len(b)+len(data) > maxFrame { // an error, of many
		b = binary.AppendVarint(b[:0], c.ID)
		b = append(binary.AppendVarint(append(b, outcomeError), 0), data[0])
		sendFrame(p.s.wire, frameDone, b, data[1:], nil)
		return
	}
	p.s.wire.Extend(frameValues, b, data)
}
