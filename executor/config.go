package executor

import (
	"log/slog"
	"net/url"
	"runtime"
	"strconv"
	"time"
)

// A Config says where tasks run and within which limits. The zero value runs them in
// this process on GOMAXPROCS threads, with no bound on what waits. In every field zero
// means the default, as WithDefaults gives it.
//
// A setting that a backend has no use for is accepted, so that one program runs near
// and far unchanged. It is refused where it would be believed and be wrong: see
// Validate.
//
// New and what it opens keep the slices and maps of a Config, and must not see them
// change.
type Config struct {
	// Backend is what runs the tasks: "local", this process; "proc", worker processes
	// that it spawns; "tcp", "tls" and "unix", workers that already listen; or a name
	// given to RegisterBackend. Defaults to "local".
	Backend string

	// Addrs is where workers listen, each address once: host:port for tcp and tls, with
	// an IPv6 address in brackets, and for unix a path that begins with /, ./ or ../.
	// These three need it, local and proc refuse it. Defaults to none.
	Addrs []string

	// Workers is the number of processes that proc spawns, at most 65536. On local it is
	// 0 or 1, and on tcp, tls and unix it is refused: workers that listen are counted
	// where they are started. Defaults on proc to GOMAXPROCS divided by Threads, at
	// least 1, so to a worker a CPU; on local to 1.
	Workers int

	// Threads is the number of tasks that a worker runs at a time, at most 65536. On tcp,
	// tls and unix it is refused, as Workers is. Defaults to GOMAXPROCS on local, to 1 on
	// proc.
	Threads int

	// MaxPending is the number of tasks that may wait to be started, those that wait for
	// their inputs included. One more blocks, or fails with ErrFull under WithNoWait.
	// Defaults to no bound.
	MaxPending int

	// Strict makes local send every call through the registry and the codec, so that what
	// could not travel fails here. Only local takes it. Defaults to false.
	Strict bool

	// MemoryLimit is the memory limit in bytes of a worker process that proc spawns.
	// Workers that listen have one of their own. Defaults to no limit.
	MemoryLimit int64

	// MaxValueBytes is the size in bytes, encoded, above which an argument or a result is
	// refused with ErrTooLarge. Local encodes only when it is strict. Defaults to 1 GiB.
	MaxValueBytes int64

	// LineageBytes is how many bytes of arguments are kept to compute lost values again;
	// past it the oldest are dropped. No effect on local. Defaults to 1 GiB.
	LineageBytes int64

	// MaxLosses is the number of lost workers that one task may be blamed for; with the
	// last of them it fails. No effect on local. Defaults to 3.
	MaxLosses int

	// Token is the secret that this process and workers that listen prove to each other.
	// It is never sent, and not shown by String. At most one of Token and TokenFile is
	// set. Local needs none, and proc makes one for its workers. Defaults to none.
	Token string `json:"-"`

	// TokenFile is the name of a file that holds the token. Defaults to none.
	TokenFile string

	// CertFile is the name of a PEM file with the certificate that this process shows to
	// workers. It goes with KeyFile. Only tls takes it. Defaults to none.
	CertFile string

	// KeyFile is the name of a PEM file with the key of CertFile. Only tls takes it.
	// Defaults to none.
	KeyFile string

	// CAFile is the name of a PEM file with the certificates that both sides' must be
	// signed by. Only tls takes it. Defaults to none.
	CAFile string

	// Insecure allows what is refused otherwise: to leave loopback without TLS or without
	// a token. Defaults to false.
	Insecure bool

	// ConnectTimeout is how long a handshake may take, and how long New tries the
	// addresses before it fails for want of an answer. No effect on local. Defaults to 5 s.
	ConnectTimeout time.Duration

	// HeartbeatTimeout is how long a worker may be silent until it counts as lost. It is
	// asked for a sign of life every fifth of that. No effect on local. Defaults to 10 s.
	HeartbeatTimeout time.Duration

	// CloseGrace is how long functions that still run after their task was cancelled by
	// Close or Shutdown have to return, before processes are killed and connections
	// dropped. Close of local waits for them however long it takes. Defaults to 5 s.
	CloseGrace time.Duration

	// NoWorkersTimeout is how long tasks wait when no worker is left, until they fail. No
	// effect on local. Defaults to 30 s.
	NoWorkersTimeout time.Duration

	// SetupData is what the functions of RegisterSetup are called with in each process.
	// It is not part of the DSN. Defaults to none.
	SetupData []byte

	// Params are settings of the backend's own by DSN key, one value each. On proc
	// "transport" is "tcp" or "unix". Defaults to none.
	Params url.Values

	// Observer is told what happens to tasks and workers. It is not part of the DSN.
	// Defaults to none.
	Observer *Observer

	// Logger gets what is worth a line, and line by line what spawned workers print. It is
	// not part of the DSN. Defaults to slog.Default().
	Logger *slog.Logger
}

// The defaults that do not depend on the machine.
const (
	localName               = "local"
	defaultMaxValueBytes    = 1 << 30
	defaultLineageBytes     = 1 << 30
	defaultMaxLosses        = 3
	defaultConnectTimeout   = 5 * time.Second
	defaultHeartbeatTimeout = 10 * time.Second
	defaultCloseGrace       = 5 * time.Second
	defaultNoWorkersTimeout = 30 * time.Second
)

// WithDefaults is c with its defaults filled in; what is still zero then has none, as
// MaxPending, or is not this side's to choose, as the Workers of tcp. It changes
// nothing in a Config that it returned, and New has called it before a backend sees
// one. A backend that is also opened directly calls it itself, after Validate.
func (c Config) WithDefaults() Config {
	orElse(&c.Backend, localName)
	switch c.Backend {
	case localName:
		orElse(&c.Workers, 1)
		orElse(&c.Threads, runtime.GOMAXPROCS(0))
	case "proc":
		orElse(&c.Threads, 1)
		orElse(&c.Workers, max(1, runtime.GOMAXPROCS(0)/max(1, c.Threads)))
	}
	orElse(&c.MaxValueBytes, defaultMaxValueBytes)
	orElse(&c.LineageBytes, defaultLineageBytes)
	orElse(&c.MaxLosses, defaultMaxLosses)
	orElse(&c.ConnectTimeout, defaultConnectTimeout)
	orElse(&c.HeartbeatTimeout, defaultHeartbeatTimeout)
	orElse(&c.CloseGrace, defaultCloseGrace)
	orElse(&c.NoWorkersTimeout, defaultNoWorkersTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// String is the DSN of c: ParseDSN makes of it a Config that is equal but for Token,
// SetupData, Observer and Logger, which a DSN does not hold, and for an empty Backend,
// which is written out. Settings that have their zero value are left out. What a DSN
// must not hold, as credentials in an address, is masked.
func (c Config) String() string { return formatDSN(c) }

// GoString keeps the secrets of c out of %#v.
func (c Config) GoString() string { return "executor.Config(" + strconv.Quote(formatDSN(c)) + ")" }

// LogValue is the DSN, so that no handler of slog takes c apart and shows its secrets.
func (c Config) LogValue() slog.Value { return slog.StringValue(formatDSN(c)) }
