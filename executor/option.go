package executor

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// An Option is a wish for one submit. An option that does not belong to the
// function it is given to, or has a value that makes no sense, fails the future
// with ErrConfig.
type Option func(*options)

// options are the wishes, put together.
type options struct {
	name, key        string
	priority         int
	retries          int
	timeout, backoff time.Duration
	killAfter        time.Duration
	workers          []string
	chunk            int
	inFlight         int
	fanIn            int
	given            given
	faults           []error
}

// given is a set of options.
type given uint32

const (
	givenName given = 1 << iota
	givenKey
	givenPriority
	givenRetries
	givenTimeout
	givenWorkers
	givenChunkSize
	givenKeepGoing
	givenInFlight
	givenUnordered
	givenAtMostOnce
	givenBroadcast
	givenFanIn
	givenBackoff
	givenNoWait
	givenKillAfter
)

// What each function of the package takes.
const (
	forAny       = givenName | givenPriority | givenRetries | givenTimeout | givenWorkers | givenAtMostOnce | givenBackoff | givenNoWait | givenKillAfter
	forSubmit    = forAny | givenKey
	forMap       = forAny | givenChunkSize | givenKeepGoing
	forMapSeq    = forAny | givenInFlight | givenUnordered | givenKeepGoing
	forReduce    = forAny | givenFanIn
	forScatter   = givenName | givenKey | givenWorkers | givenBroadcast
	forRegister  = givenName
	needsAttempt = givenRetries | givenTimeout | givenBackoff | givenKillAfter
)

var optionNames = [...]string{
	"WithName", "WithKey", "WithPriority", "WithRetries", "WithTimeout", "WithWorkers", "WithChunkSize",
	"WithKeepGoing", "WithInFlight", "WithUnordered", "WithAtMostOnce", "WithBroadcast", "WithFanIn",
	"WithBackoff", "WithNoWait", "WithKillAfter",
}

func (g given) String() string {
	var names []string
	for i, name := range optionNames {
		if g&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func (o *options) has(g given) bool { return o.given&g != 0 }

func (o *options) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
}

// gather puts options together for what, which takes those in allowed.
func gather(opts []Option, what string, allowed given) (*options, error) {
	if len(opts) == 0 {
		return &noOptions, nil
	}
	o := &options{}
	for _, opt := range opts {
		if opt == nil {
			o.fault("a nil Option")
			continue
		}
		opt(o)
	}
	if wrong := o.given &^ allowed; wrong != 0 {
		o.fault("%s does not take %v; it takes %v", what, wrong, allowed)
	}
	if o.has(givenBackoff) && !o.has(givenRetries) {
		o.fault("WithBackoff says how long retries wait, and there are none; add WithRetries")
	}
	return o, errors.Join(o.faults...)
}

// WithName names the task, for traces, profiles, observers and errors; or, in
// Register, the function, for everybody who calls it.
func WithName(name string) Option {
	return func(o *options) {
		o.given |= givenName
		if o.name = name; name == "" {
			o.fault("WithName of an empty name")
		}
	}
}

// WithKey makes submits of one key share one run: each gets a future of its own, and
// cancels only that; the last of them cancels the run. A key that failed or was
// cancelled is forgotten, one that finished lasts until its futures are released or
// collected. The function must be the same, else the future fails with
// ErrKeyConflict; the argument of the first submit is the one that counts.
func WithKey(key string) Option {
	return func(o *options) {
		o.given |= givenKey
		if o.key = key; key == "" {
			o.fault("WithKey of an empty key")
		}
	}
}

// WithPriority makes the task start before those of a lower priority. The default
// is 0; it may be negative.
func WithPriority(p int) Option {
	return func(o *options) { o.given |= givenPriority; o.priority = p }
}

// WithRetries has a task that failed run again, up to n times more. Panics and
// attempts that took too long count as failures; a cancellation and a Permanent
// error end it.
func WithRetries(n int) Option {
	return func(o *options) {
		o.given |= givenRetries
		if o.retries = n; n < 0 {
			o.fault("WithRetries(%d): must not be negative", n)
		}
	}
}

// WithTimeout limits one attempt, from its start: its ctx ends, and it counts as
// failed with context.DeadlineExceeded, whatever the function returns after that.
func WithTimeout(d time.Duration) Option {
	return func(o *options) {
		o.given |= givenTimeout
		if o.timeout = d; d <= 0 {
			o.fault("WithTimeout(%v): must be positive", d)
		}
	}
}

// WithWorkers restricts the task to workers of these names. Near there is but one
// worker, and the option is ignored.
func WithWorkers(names ...string) Option {
	return func(o *options) {
		o.given |= givenWorkers
		if o.workers = names; len(names) == 0 {
			o.fault("WithWorkers of no worker")
		}
	}
}

// WithChunkSize has Map hand out its items n at a time, instead of finding out what
// is best. Such chunks are neither cut nor taken back.
func WithChunkSize(n int) Option {
	return func(o *options) {
		o.given |= givenChunkSize
		if o.chunk = n; n < 1 {
			o.fault("WithChunkSize(%d): must be at least 1", n)
		}
	}
}

// WithKeepGoing has Map and MapSeq run all items, whatever fails.
func WithKeepGoing() Option { return func(o *options) { o.given |= givenKeepGoing } }

// WithInFlight bounds the items that MapSeq has taken from its input and not
// yielded. The default is a small multiple of the slots.
func WithInFlight(n int) Option {
	return func(o *options) {
		o.given |= givenInFlight
		if o.inFlight = n; n < 1 {
			o.fault("WithInFlight(%d): must be at least 1", n)
		}
	}
}

// WithUnordered has MapSeq yield results as they come.
func WithUnordered() Option { return func(o *options) { o.given |= givenUnordered } }

// WithAtMostOnce keeps a task that may have started from being run again when its
// worker is lost. Near nothing is lost, and the option is ignored.
func WithAtMostOnce() Option { return func(o *options) { o.given |= givenAtMostOnce } }

// WithBroadcast has Scatter put a copy on every worker.
func WithBroadcast() Option { return func(o *options) { o.given |= givenBroadcast } }

// WithFanIn is how many values a call of Reduce's function gets. The default is 16.
func WithFanIn(n int) Option {
	return func(o *options) {
		o.given |= givenFanIn
		if o.fanIn = n; n < 2 {
			o.fault("WithFanIn(%d): must be at least 2", n)
		}
	}
}

// WithBackoff has retries wait: a random time up to d before the first, up to 2 d
// before the second, and so on, doubling (full jitter; without it, they follow at
// once). The task holds no slot meanwhile.
func WithBackoff(d time.Duration) Option {
	return func(o *options) {
		o.given |= givenBackoff
		if o.backoff = d; d <= 0 {
			o.fault("WithBackoff(%v): must be positive", d)
		}
	}
}

// WithNoWait has a submit to an executor that is full fail with ErrFull instead of
// blocking.
func WithNoWait() Option { return func(o *options) { o.given |= givenNoWait } }

// WithKillAfter has the process killed, and replaced, in which a cancelled task still
// runs after d. Near there is no such process, and the option is ignored.
func WithKillAfter(d time.Duration) Option {
	return func(o *options) {
		o.given |= givenKillAfter
		if o.killAfter = d; d <= 0 {
			o.fault("WithKillAfter(%v): must be positive", d)
		}
	}
}

// Permanent marks an error that no retry would mend. The task fails with err itself.
// It is nil if err is.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// plainError is err without the mark of Permanent, which is nobody else's concern.
func plainError(err error) error {
	if p, ok := err.(*permanentError); ok {
		return p.err
	}
	return err
}
