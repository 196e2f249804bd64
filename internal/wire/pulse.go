package wire

import "time"

// Of a heartbeat's timeout: a beat is due after two ticks without a byte sent, and the peer is
// silent after ten without a byte received.
const (
	ticksTimeout = 10
	ticksBeat    = 2
)

// A pulse judges from byte counts whether the other side lives, and when this side has to say
// that it does. It counts ticks, not time: a process that was stopped for a minute and goes on
// sees one tick, not a minute's silence, and gets to read what waits for it.
type pulse struct {
	sent, received  int64
	quiet, deafness int
}

// tick takes the counts as they are now.
func (p *pulse) tick(sent, received int64) (beat, silent bool) {
	p.quiet++
	p.deafness++
	if sent != p.sent {
		p.sent, p.quiet = sent, 0
	}
	if received != p.received {
		p.received, p.deafness = received, 0
	}
	if p.quiet >= ticksBeat {
		p.quiet, beat = 0, true
	}
	return beat, p.deafness > ticksTimeout
}

// beat is the goroutine that ticks, until the session ends.
func (s *Session) beat() {
	t := time.NewTicker(max(s.cfg.HeartbeatTimeout/ticksTimeout, time.Millisecond))
	defer t.Stop()
	var p pulse
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
		}
		beat, silent := p.tick(s.control.wire.sent.Load(), s.control.wire.received.Load())
		if silent {
			s.end(&goneError{addr: s.RemoteAddr(), cause: silence(s.cfg.HeartbeatTimeout)})
			return
		}
		if beat && s.out.size() == 0 {
			s.send(kindPing, nil, nil)
		}
		// Whoever holds frames back, or reads for long, does not keep them for ever.
		s.out.nudge()
		s.shrink()
	}
}
