package remote

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/cell"
)

// Kinds of frames. PROTOCOL.md says what is in them.
const (
	// From client to worker.
	frameTask       = 1 + iota // a call to run
	frameCancel                // a call that was cancelled
	frameTake                  // calls that are wanted back, if they have not begun
	frameDrop                  // values that nobody needs
	frameChild                 // what became of a call that a task here submitted
	frameLease                 // items of a Map to run
	frameCut                   // a lease that is to end
	frameChildBegun            // such a call has begun

	// From worker to client.
	frameDone        // a call has returned, or will not begin
	frameBegun       // calls have begun
	frameLate        // a call takes longer than its timeout
	frameLent        // a call waits with its slot lent
	frameResumed     // and goes on
	frameSpawn       // a task has submitted a call
	frameCancelChild // and cancelled it
	frameDropChild   // and needs its value no more
	frameDraining    // the worker takes no more calls

	// Both ways.
	frameFuture       // what became of a future that was sent without an outcome
	frameFutureCancel // it is to be cancelled

	// From client to worker, too.
	frameSlots // how many slots the client has, all in all
	frameMark  // a number, which a later request waits for

	// Of plain calls: see lane.go.
	frameCalls  // from client to worker: calls of one function
	frameValues // from worker to client: what became of some
)

// Outcomes in frameDone and frameChild.
const (
	outcomeValue  = iota // the value follows
	outcomeStored        // it stays at the worker
	outcomeError         // the error follows
	outcomeNone          // it was withdrawn, or cancelled
	outcomeLease         // of a lease: what has run
)

// Requests of a session's Call, by the first byte of the head.
const (
	callFetch   = 'f' // a value, by its number
	callPut     = 'p' // a value to keep
	callFrame   = 'k' // a frame that is too large for one
	callRun     = 'r' // a function to be called at once
	callStats   = 's' // the client's Stats
	callScatter = 'x' // Scatter, by a task
	callAll     = 'a' // RunOnAll, by a task
	callSource  = 'o' // a value by its source, which the client is to fetch
)

const (
	maxInline = 64 << 10  // larger values stay where they are (G18)
	maxFrame  = 192 << 10 // larger frames travel as calls
)

var errMalformed = errors.New("remote: malformed message")

// A dec decodes a message. After the first thing that is not there, everything is zero
// and bad is true.
type dec struct {
	b    []byte
	bad  bool
	lent bool // b is a buffer that will be used again: what is kept of it is copied
}

func (d *dec) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *dec) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *dec) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// bytes is not a copy.
func (d *dec) bytes() []byte {
	return d.next(d.uint())
}

// next is the next n bytes, and not a copy.
func (d *dec) next(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// keep is bytes that may be kept.
func (d *dec) keep() []byte {
	if d.lent {
		return append([]byte{}, d.bytes()...)
	}
	return d.bytes()
}

func (d *dec) string() string { return string(d.bytes()) }

// count is the length of a list whose elements have a byte at least.
func (d *dec) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *dec) fail() { d.b, d.bad = nil, true }

// end is an error if the message was not what it should be.
func (d *dec) end() error {
	if d.bad || len(d.b) != 0 {
		return errMalformed
	}
	return nil
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Flags of a request.
const (
	flagName = 1 << iota
	flagKey
	flagTimeout
	flagPriority
	flagHome
	flagRefs
	flagWorkers
	flagOnce
	flagKill
	flagAttempt
)

// An outward appends what a source refers to: values that are stored, and futures that
// have no outcome; an inward reads it.
type outward struct {
	stored func(b []byte, v any) []byte
	live   func(b []byte, v any) []byte
}

type inward struct {
	stored func(d *dec) any
	live   func(d *dec) any
}

// appendRequest appends a request.
func appendRequest(b []byte, r *executor.Request, out outward) []byte {
	var flags uint64
	set := func(flag uint64, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagName, r.Name != "")
	set(flagKey, r.Key != "")
	set(flagTimeout, r.Timeout != 0)
	set(flagPriority, r.Priority != 0)
	set(flagHome, r.Home)
	set(flagRefs, len(r.Refs) > 0)
	set(flagWorkers, len(r.Workers) > 0)
	set(flagOnce, r.Once)
	set(flagKill, r.Kill != 0)
	set(flagAttempt, r.Attempt != 1)
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendVarint(b, r.ID)
	if flags&flagName != 0 {
		b = appendString(b, r.Name)
	}
	if flags&flagKey != 0 {
		b = appendString(b, r.Key)
	}
	if flags&flagTimeout != 0 {
		b = binary.AppendVarint(b, int64(r.Timeout))
	}
	if flags&flagPriority != 0 {
		b = binary.AppendVarint(b, int64(r.Priority))
	}
	if flags&flagKill != 0 {
		b = binary.AppendVarint(b, int64(r.Kill))
	}
	if flags&flagAttempt != 0 {
		b = binary.AppendUvarint(b, uint64(r.Attempt))
	}
	if flags&flagWorkers != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Workers)))
		for _, w := range r.Workers {
			b = appendString(b, w)
		}
	}
	if flags&flagRefs != 0 {
		b = appendSources(b, r.Refs, out)
	}
	return appendSource(b, &r.Arg, out)
}

// request decodes a request, but for its function. Data is not a copy.
func (d *dec) request(in inward) *executor.Request {
	r := &executor.Request{Attempt: 1}
	flags := d.uint()
	r.ID = d.int()
	r.Home, r.Once = flags&flagHome != 0, flags&flagOnce != 0
	if flags&flagName != 0 {
		r.Name = d.string()
	}
	if flags&flagKey != 0 {
		r.Key = d.string()
	}
	if flags&flagTimeout != 0 {
		r.Timeout = time.Duration(d.int())
	}
	if flags&flagPriority != 0 {
		r.Priority = int(d.int())
	}
	if flags&flagKill != 0 {
		r.Kill = time.Duration(d.int())
	}
	if flags&flagAttempt != 0 {
		r.Attempt = int(d.uint())
	}
	if flags&flagWorkers != 0 {
		for range d.count() {
			r.Workers = append(r.Workers, d.string())
		}
	}
	if flags&flagRefs != 0 {
		r.Refs = d.sources(in, maxSourceDepth)
	}
	r.Arg = d.source(in, maxSourceDepth)
	return r
}

const maxSourceDepth = 100

// Forms of a source.
const (
	sourceData      = iota
	sourceStored               // in somebody's keeping
	sourceMade                 // of parts: and how, added
	sourceWith      = 8 + iota // data, and the futures in it
	sourceLive                 // a future without an outcome
	sourceFailed               // a future that has failed
	sourceCancelled            // or was cancelled
)

func appendSources(b []byte, list []executor.Source, out outward) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = appendSource(b, &list[i], out)
	}
	return b
}

func appendSource(b []byte, s *executor.Source, out outward) []byte {
	switch {
	case s.Stored != nil:
		return out.stored(append(b, sourceStored), s.Stored)
	case s.Made != cell.Whole:
		return appendSources(append(b, sourceMade+byte(s.Made)), s.Parts, out)
	case s.Live != nil:
		return out.live(append(b, sourceLive), s.Live)
	case s.Err != nil && s.Cancelled:
		return appendBytes(append(b, sourceCancelled), s.Err)
	case s.Err != nil:
		return appendBytes(append(b, sourceFailed), s.Err)
	case s.Refs != nil:
		return appendBytes(appendSources(append(b, sourceWith), s.Refs, out), s.Data)
	}
	return appendBytes(append(b, sourceData), s.Data)
}

func (d *dec) sources(in inward, depth int) []executor.Source {
	n := d.count()
	list := make([]executor.Source, 0, min(n, 1024))
	for range n {
		if d.bad {
			return nil
		}
		list = append(list, d.source(in, depth))
	}
	return list
}

func (d *dec) source(in inward, depth int) (s executor.Source) {
	form := d.byte()
	switch {
	case depth == 0:
		d.fail()
	case form == sourceData:
		s.Data = d.keep()
	case form == sourceStored:
		s.Stored = in.stored(d)
	case form == sourceWith:
		s.Refs = d.sources(in, depth-1)
		s.Data = d.keep()
	case form == sourceLive:
		s.Live = in.live(d)
	case form == sourceFailed, form == sourceCancelled:
		s.Err, s.Cancelled = d.keep(), form == sourceCancelled
	case form <= sourceMade || form > sourceMade+byte(cell.Concat):
		d.fail()
	default:
		s.Made = cell.Made(form - sourceMade)
		s.Parts = d.sources(in, depth-1)
	}
	return s
}

// storedIn visits what is stored in sources.
func storedIn(list []executor.Source, visit func(v any)) {
	for i := range list {
		if list[i].Stored != nil {
			visit(list[i].Stored)
		}
		storedIn(list[i].Parts, visit)
		storedIn(list[i].Refs, visit)
	}
}
