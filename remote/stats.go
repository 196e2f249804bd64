package remote

import (
	"encoding/binary"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/codec"
)

// Slots is how many tasks run at a time: as configured on proc, else as connected.
func (ex *Executor) Slots() int {
	if ex.cfg.Backend == "proc" {
		return ex.cfg.Workers * ex.cfg.Threads
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	n := 0
	for _, w := range ex.workers {
		n += w.threads
	}
	return n
}

// tellSlots tells the workers how many slots there are, if that can change. mu is held.
func (ex *Executor) tellSlots() {
	if ex.cfg.Backend == "proc" {
		return
	}
	n := 0
	for _, w := range ex.workers {
		n += w.threads
	}
	for _, w := range ex.workers {
		w.wire.Send(frameSlots, binary.AppendUvarint(nil, uint64(n)), nil)
	}
}

// Stats is the client's own account.
func (ex *Executor) Stats() executor.Stats {
	var calls []*executor.Call
	var lots []*lot
	ex.mu.Lock()
	var waiting int64
	var rows []executor.WorkerStats
	now := time.Now()
	for _, w := range ex.workers {
		row := executor.WorkerStats{
			Name: w.name, Addr: w.addr, PID: w.pid, Threads: w.threads, Stored: w.stored, StoredBytes: w.storedBytes,
			Finished: w.finished, LastSeen: now,
		}
		for _, e := range w.out {
			switch {
			case e.waiting:
				waiting++
			case e.begun && e.lot != nil:
				row.Running++
				lots = append(lots, e.lot)
			case e.call == nil:
			case e.begun:
				row.Running++
				calls = append(calls, e.call)
			}
		}
		rows = append(rows, row)
	}
	s := ex.base.Account()
	s.BytesSent, s.BytesReceived, s.BytesMoved = ex.sent, ex.received, ex.bytesMoved
	s.Retried += ex.retried
	s.Lost += ex.lost
	ex.mu.Unlock()
	s.Workers = rows
	for _, c := range calls {
		if !c.Over() {
			s.Running++
		}
	}
	for _, l := range lots {
		if !l.items.Over() {
			s.Running++
		}
	}
	s.Waiting = waiting
	s.Pending = max(0, s.Submitted-s.Running-s.Waiting-s.Finished-s.Failed-s.Cancelled)
	return s
}

// statsData is Stats, encoded.
func (ex *Executor) statsData() ([]byte, error) {
	s := ex.Stats()
	return codec.Append(nil, &s)
}
