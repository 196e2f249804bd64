package main

import (
	"encoding/binary"
	"errors"
	"time"
)

// A wire is a peer's client in Go, to two workers. What a peer cannot do is nil. turns
// is how long an item is spun.
type wire struct {
	// one sends each item as a task, all in flight; out[i] is the result of in[i].
	one func(turns int, in, out []int) error
	// call sends one task and waits for it.
	call func(x int) (int, error)
	// many sends chunks of size items.
	many func(turns, size int, in, out []int) error
	// send sends b to one worker, which receives it into fresh memory and says its length.
	send  func(b []byte) (int, error)
	close func()
}

// far makes a wire measurable.
func (w *wire) far() *far {
	f := &far{close: w.close, loop: func(n int, item time.Duration) (time.Duration, error) {
		in, out, turns := inputs(n), make([]int, n), turnsFor(item)
		start := time.Now()
		for i, x := range in {
			out[i] = spun(turns, x)
		}
		return time.Since(start), nil
	}}
	timed := func(n int, do func(in, out []int) error) (time.Duration, error) {
		in := inputs(n)
		start := time.Now()
		out := make([]int, n)
		err := do(in, out)
		d := time.Since(start)
		if err == nil {
			check(out, n)
		}
		return d, err
	}
	if w.one != nil {
		f.submit = func(n int, item time.Duration) (time.Duration, error) {
			return timed(n, func(in, out []int) error { return w.one(turnsFor(item), in, out) })
		}
	}
	if w.call != nil {
		f.trips = func(n int) ([]time.Duration, error) { return trips(n, w.call) }
	}
	f.mapped = func(n int, item time.Duration, chunk int) (time.Duration, error) {
		if chunk == 1 {
			return f.submit(n, item)
		}
		return timed(n, func(in, out []int) error { return w.many(turnsFor(item), chunk, in, out) })
	}
	if w.send != nil {
		f.send = func(n int) (time.Duration, error) { return sendTimed(n, w.send) }
	}
	return f
}

// trips calls n times, one after the other.
func trips(n int, call func(x int) (int, error)) ([]time.Duration, error) {
	ds := make([]time.Duration, n)
	for i := range ds {
		start := time.Now()
		v, err := call(i)
		ds[i] = time.Since(start)
		if err != nil {
			return nil, err
		}
		if v != i*i {
			return nil, errors.New("a wrong result")
		}
	}
	return ds, nil
}

func sendTimed(n int, send func([]byte) (int, error)) (time.Duration, error) {
	b := bulk(n)
	start := time.Now()
	got, err := send(b)
	d := time.Since(start)
	if err == nil && got != n {
		err = errors.New("not all bytes arrived")
	}
	return d, err
}

var bulkBytes []byte

// bulk is n bytes that do not compress, made once.
func bulk(n int) []byte {
	if len(bulkBytes) < n {
		bulkBytes = make([]byte, n+8)
		x := uint64(88172645463325252)
		for i := 0; i < n; i += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(bulkBytes[i:], x)
		}
	}
	return bulkBytes[:n]
}

// turnsFor is how long to spin for an item of a given cost; 0 is the trivial task.
func turnsFor(item time.Duration) int { return int(float64(item) / spinCost()) }

// spun is the task everywhere.
func spun(turns, x int) int {
	if turns > 0 {
		spin(turns)
	}
	return x * x
}

// Where a peer carries bytes, a task is its item, and then how long to spin, unless that
// is 0; a chunk is how long to spin, and then its items. Both answer with results alone.

func appendInt(b []byte, x int) []byte { return binary.LittleEndian.AppendUint64(b, uint64(x)) }

func intAt(b []byte, i int) int { return int(binary.LittleEndian.Uint64(b[8*i:])) }

func appendTask(b []byte, turns, x int) []byte {
	b = appendInt(b, x)
	if turns > 0 {
		b = appendInt(b, turns)
	}
	return b
}

var errMessage = errors.New("a message of a wrong length")

// doTask appends to b the answer to a task.
func doTask(b, task []byte) ([]byte, error) {
	switch len(task) {
	case 8:
		return appendInt(b, spun(0, intAt(task, 0))), nil
	case 16:
		return appendInt(b, spun(intAt(task, 1), intAt(task, 0))), nil
	}
	return nil, errMessage
}

func chunkOf(turns int, in []int) []byte {
	b := appendInt(make([]byte, 0, 8+8*len(in)), turns)
	for _, x := range in {
		b = appendInt(b, x)
	}
	return b
}

func doChunk(chunk []byte) ([]byte, error) {
	if len(chunk) < 8 || len(chunk)%8 != 0 {
		return nil, errMessage
	}
	turns, n := intAt(chunk, 0), len(chunk)/8-1
	b := make([]byte, 0, 8*n)
	for i := range n {
		b = appendInt(b, spun(turns, intAt(chunk, 1+i)))
	}
	return b, nil
}

// results reads the answers to a task or a chunk.
func results(out []int, answer []byte) error {
	if len(answer) != 8*len(out) {
		return errMessage
	}
	for i := range out {
		out[i] = intAt(answer, i)
	}
	return nil
}
