package executor

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// New opens an executor on the backend that cfg names. A cfg that is not valid, and a
// backend that is not part of the program, give ErrConfig; other errors are the
// backend's. ctx bounds opening only: the executor lives until it is closed.
func New(ctx context.Context, cfg Config) (Executor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b, _ := lookupBackend(cfg.Backend)
	if b.open == nil {
		return nil, fault(fmt.Sprintf("executor: backend %q is not part of this program: add import _ %q", b.name, "github.com/nearfar/nearfar/"+b.home))
	}
	return b.open(ctx, cfg.WithDefaults())
}

// Open is New with what ParseDSN makes of dsn; "" is "local://". It does not read the
// environment: a token comes from the file that token_file names.
func Open(ctx context.Context, dsn string) (Executor, error) {
	cfg, err := ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return New(ctx, cfg)
}

// FromEnv is New with what ConfigFromEnv gives: the way for a program to leave the
// choice to those who start it.
func FromEnv(ctx context.Context) (Executor, error) {
	cfg, err := ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	return New(ctx, cfg)
}

// RegisterBackend makes a backend known under a name, the scheme of its DSN. It is
// called at package init, and may run together with all else here.
//
// New calls open with a Config that is valid and has its defaults, and hands back what
// it returns; open may be called many times, together. keys are DSN keys of the
// backend's own, which reach it in Params, one value each, for it to check. They are
// shown by Config.String, so none may hold a secret: name a file that does.
//
// RegisterBackend panics on a name that was registered before, on a name or key that is
// not lower-case letters, digits and - . + (in a key: _) after a letter, on a key that
// every backend has or that sounds secret, on a key given twice, and on a nil open.
func RegisterBackend(name string, open func(context.Context, Config) (Executor, error), keys ...string) {
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("executor: RegisterBackend(%q): ", name) + fmt.Sprintf(format, args...))
	}
	switch {
	case name == "":
		fail("no name: give the scheme of the DSN, as \"tcp\"")
	case !isName(name, "-.+"):
		fail("want lower-case letters, digits and - . + after a letter")
	case open == nil:
		fail("open is nil")
	}
	for i, key := range keys {
		switch _, common := settingOf(key); {
		case !isName(key, "_"):
			fail("key %q: want lower-case letters, digits and _ after a letter", key)
		case common:
			fail("key %q: every backend has it already, it reaches open in a field of Config", key)
		case isSecret(key):
			fail("key %q: a DSN is shown and must not hold a secret: take the name of a file, as %s_file", key, key)
		case slices.Contains(keys[:i], key):
			fail("key %q: it is given twice", key)
		}
	}
	at := "an unknown place"
	if _, file, line, ok := runtime.Caller(1); ok {
		at = fmt.Sprintf("%s:%d", file, line)
	}

	backends.mu.Lock()
	defer backends.mu.Unlock()
	b, known := backends.byName[name]
	if !known {
		b = backendEntry{name: name, refuses: map[string]string{"Strict": onlyLocal}}
	}
	if b.open != nil {
		fail("the name is taken: it was registered at %s, and now again at %s", b.at, at)
	}
	b.open, b.at = open, at
	b.keys = slices.Compact(slices.Sorted(slices.Values(slices.Concat(b.keys, keys))))
	backends.byName[name] = b
}

// A backendEntry is what there is to know about a backend before it is opened. It is copied out of
// the registry, and what it points to never changes.
type backendEntry struct {
	name    string
	home    string // the package of this module that registers it, if it has one
	addrs   addrKind
	refuses map[string]string // fields of Config that it refuses, and what to do instead
	keys    []string          // of the DSN, its own, sorted
	open    func(context.Context, Config) (Executor, error)
	at      string // where it was registered
}

const (
	onlyLocal = "leave it out: it rehearses on local what is done far anyway"
	listening = "leave it out, and set it where the workers start, as in NEARFAR_WORKER='tcp://127.0.0.1:8786?workers=8&threads=1'"
	noTLS     = "leave it out, or use tls: nothing would be encrypted"
	noNetwork = "leave it out, or use tls: nothing leaves this machine, and nothing is encrypted"
)

// backends holds the backends by name. Those that come with the library are known from
// the start, so that a DSN means the same whatever a program imports.
var backends = struct {
	mu     sync.RWMutex // guards byName
	byName map[string]backendEntry
}{byName: map[string]backendEntry{
	localName: {name: localName, home: "executor", addrs: noAddrs, refuses: refusing(noNetwork)},
	"proc": {name: "proc", home: "remote", addrs: noAddrs, keys: []string{"transport"},
		refuses: refusing(noNetwork, "Strict", onlyLocal)},
	"tcp": {name: "tcp", home: "remote", addrs: hostPorts,
		refuses: refusing(noTLS, "Strict", onlyLocal, "Workers", listening, "Threads", listening)},
	"tls": {name: "tls", home: "remote", addrs: hostPorts,
		refuses: refusing("", "Strict", onlyLocal, "Workers", listening, "Threads", listening)},
	"unix": {name: "unix", home: "remote", addrs: socketPaths,
		refuses: refusing(noNetwork, "Strict", onlyLocal, "Workers", listening, "Threads", listening)},
}}

// refusing makes the refuses of a backend of pairs of field and reason. certs is why it
// refuses certificates, "" if it takes them.
func refusing(certs string, pairs ...string) map[string]string {
	refuses := map[string]string{}
	if certs != "" {
		pairs = append(pairs, "CertFile", certs, "KeyFile", certs, "CAFile", certs)
	}
	for pair := range slices.Chunk(pairs, 2) {
		refuses[pair[0]] = pair[1]
	}
	return refuses
}

// lookupBackend is the backend of that name; "" is local.
func lookupBackend(name string) (backendEntry, bool) {
	orElse(&name, localName)
	backends.mu.RLock()
	defer backends.mu.RUnlock()
	b, ok := backends.byName[name]
	return b, ok
}

// backendNames are the names that are known, sorted.
func backendNames() []string {
	backends.mu.RLock()
	defer backends.mu.RUnlock()
	return slices.Sorted(maps.Keys(backends.byName))
}

// takers are the backends that have the key as one of their own.
func takers(key string) []string {
	backends.mu.RLock()
	defer backends.mu.RUnlock()
	var names []string
	for name, b := range backends.byName {
		if slices.Contains(b.keys, key) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// dsnKeys are the keys that mean something to b, sorted.
func (b backendEntry) dsnKeys() []string {
	keys := slices.Clone(b.keys)
	for _, s := range settings {
		if _, refused := b.refuses[s.field]; !refused {
			keys = append(keys, s.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// isName reports whether s is lower-case letters and digits, and after the first letter
// characters of more.
func isName(s, more string) bool {
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z':
		case i > 0 && ('0' <= r && r <= '9' || strings.ContainsRune(more, r)):
		default:
			return false
		}
	}
	return s != ""
}
