package remote

import (
	"context"
	"encoding/binary"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/wire"
)

// Calls that a worker's tasks submit, and what else those ask of the client.

// spawn submits a call for a task of the worker. The payload is its to keep.
func (w *worker) spawn(payload []byte) error {
	d := &dec{b: payload}
	child := d.uint()
	function := d.string()
	r := d.request(w.in)
	if err := d.end(); err != nil {
		return err
	}
	r.Function = function
	ex := w.ex
	ex.mu.Lock()
	if w.kids == nil {
		ex.mu.Unlock()
		return nil
	}
	w.kids[child], w.lastKid = nil, max(w.lastKid, child)
	ex.mu.Unlock()
	begun := func(f *executor.Foreign) {
		w.wire.Send(frameChildBegun, appendString(binary.AppendUvarint(nil, child), f.Worker()), nil)
	}
	f := ex.base.SubmitForeign(context.Background(), ex, r, begun, func(f *executor.Foreign) { w.childDone(child, f) })
	ex.mu.Lock()
	if _, ok := w.kids[child]; ok {
		w.kids[child] = f
	}
	ex.mu.Unlock()
	return nil
}

// childDone tells the worker what became of it.
func (w *worker) childDone(child uint64, f *executor.Foreign) {
	ex := w.ex
	b := binary.AppendUvarint(make([]byte, 0, 64), child)
	data, refs, value, err := f.Result()
	worker := f.Worker()
	var body []byte
	switch {
	case err != nil && f.Call().Cancelled():
		b, body = appendString(append(b, outcomeNone), worker), executor.PackError(err)
	case err != nil:
		b, body = append(appendString(append(b, outcomeError), worker), 1), executor.PackError(err)
	case value != nil:
		b = appendString(append(b, outcomeStored), worker)
		ex.mu.Lock()
		b = ex.appendStored(b, value)
		ex.mu.Unlock()
	default:
		ex.mu.Lock()
		b = appendSources(appendString(append(b, outcomeValue), worker), refs, w.refs)
		ex.mu.Unlock()
		body = data
	}
	sendFrame(w.wire, frameChild, b, body, nil)
	w.toldOf(child, f, value != nil || f.Key() != "")
}

// Call answers a request of the worker.
func (w *worker) Call(ctx context.Context, head, body []byte) ([]byte, [][]byte, error) {
	d := &dec{b: head}
	switch d.byte() {
	case callFrame:
		kind := d.byte()
		if kind == frameValues {
			return nil, nil, errMalformed
		}
		err := w.Frame(kind, body)
		wire.Recycle(body)
		w.Idle()
		return nil, nil, err
	case callSource:
		data, err := w.ex.Fetch(ctx, w.ex.valueOf(d.int()))
		w.ex.mu.Lock()
		w.ex.sent += int64(len(data))
		w.ex.mu.Unlock()
		return nil, [][]byte{data}, err
	case callStats:
		data, err := w.ex.statsData()
		return nil, [][]byte{data}, err
	case callAll:
		all, err := w.ex.callAll(ctx, d.string(), body, w)
		if err != nil {
			return nil, nil, err
		}
		return nil, [][]byte{appendCalled(all)}, nil
	case callScatter:
		all := d.byte() != 0
		var workers []string
		for range d.count() {
			workers = append(workers, d.string())
		}
		v, err := w.ex.Scatter(ctx, body, workers, all)
		if err != nil {
			return nil, nil, err
		}
		w.ex.mu.Lock()
		b := w.ex.appendStored(binary.AppendUvarint(nil, 0), v)
		w.ex.mu.Unlock()
		return b, nil, nil
	}
	return nil, nil, errMalformed
}
