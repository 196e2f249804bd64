package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/internal/wire"
	"github.com/nearfar/nearfar/pool"
)

// A WorkerConfig says how a worker serves.
type WorkerConfig struct {
	// Listen is where, as a URL: tcp://host:port, tls://host:port, or unix:///path.
	// Port 0 picks one.
	Listen string
	// Name is what clients call the worker. Defaults to the host's name and the process's id.
	Name string
	// Workers is how many processes serve, Threads how many tasks each runs at a time.
	// They default to 1 and to GOMAXPROCS.
	Workers, Threads int
	// Token is the secret that clients prove to have, or TokenFile the name of a file
	// that holds it.
	Token, TokenFile string
	// CertFile, KeyFile and CAFile are PEM files: the worker's certificate and key, and
	// the certificates that clients' must be signed by.
	CertFile, KeyFile, CAFile string
	// MemoryLimit is the memory limit of a process, in bytes. Defaults to none.
	MemoryLimit int64
	// MaxValueBytes is the size above which a value is refused. Defaults to 1 GiB.
	MaxValueBytes int64
	// Insecure allows to listen off loopback without TLS and a token.
	Insecure bool
	// HandshakeTimeout bounds a handshake, and DrainTimeout how long Serve waits for
	// what runs when its ctx has ended. They default to 5 s and 30 s.
	HandshakeTimeout, DrainTimeout time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A clientHello is what a client, or a peer, says first.
type clientHello struct {
	Role      string // "client" or "peer"
	Client    string // a key that only the client, and those it told, know
	Build     string
	Setup     []byte            `json:",omitempty"`
	MaxValue  int64             `json:",omitempty"`
	Slots     int               `json:",omitempty"`
	Functions map[string]string `json:",omitempty"` // fingerprints by name
}

// A workerHello is what the worker answers.
type workerHello struct {
	Name      string
	PID       int
	Threads   int
	Build     string
	Functions map[string]string
	Setup     []byte `json:",omitempty"` // why it cannot run tasks: of PackError
}

// A server is a worker process.
type server struct {
	name    string
	threads int
	pool    *pool.Pool
	log     *slog.Logger
	peers   *peers
	wire    wire.Config

	functions map[string]string         // fingerprints of what is registered here
	numbered  []*executor.PlainFunction // those, by their names: see frameCalls

	mu       sync.Mutex
	sessions map[string]*session // by the client's key
	draining bool
	all      sync.WaitGroup // sessions, of clients and peers
}

// Serve runs tasks for clients that connect, until ctx ends: then it takes no new
// tasks, waits for what runs for DrainTimeout at most, and returns. The error is that of
// a configuration that makes no sense, or of listening.
func Serve(ctx context.Context, cfg WorkerConfig) error {
	srv, l, err := newServer(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "nearfar: worker %s listening on %s\n", srv.name, listeningOn(cfg.Listen, l.Addr()))
	return srv.serve(ctx, l, cfg.DrainTimeout)
}

func newServer(cfg WorkerConfig) (*server, net.Listener, error) {
	if cfg.Workers > 1 {
		return nil, nil, fmt.Errorf("%w: WorkerConfig.Workers: %d: one listener serves one process; start one worker a process, each on a port of its own", executor.ErrConfig, cfg.Workers)
	}
	network, addr, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, nil, err
	}
	token, err := readToken(cfg.Token, cfg.TokenFile)
	if err != nil {
		return nil, nil, err
	}
	var tlsConfig *tls.Config
	if network == "tls" {
		if tlsConfig, err = serverTLS(cfg); err != nil {
			return nil, nil, err
		}
	}
	if network != "unix" && !isLoopback(addr) && !cfg.Insecure && (tlsConfig == nil || token == nil) {
		return nil, nil, fmt.Errorf("%w: WorkerConfig.Listen: %q is not loopback, and without TLS and a token anybody there could run functions here; listen on tls:// with a token, or set Insecure", executor.ErrConfig, cfg.Listen)
	}
	l, err := net.Listen(netOf(network), addr)
	if err != nil {
		return nil, nil, fmt.Errorf("remote: %w", err)
	}
	srv := &server{
		name: cfg.Name, threads: cfg.Threads, log: cfg.Logger, sessions: map[string]*session{}, functions: executor.Registered(),
		wire: wire.Config{Token: token, TLS: tlsConfig, HandshakeTimeout: cfg.HandshakeTimeout, MaxBody: cfg.MaxValueBytes, Logger: cfg.Logger},
	}
	if srv.name == "" {
		host, _ := os.Hostname()
		srv.name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if srv.threads == 0 {
		srv.threads = runtime.GOMAXPROCS(0)
	}
	if srv.log == nil {
		srv.log = slog.Default()
	}
	for _, name := range sortedNames(srv.functions) {
		f, err := executor.PlainFunctionOf(name)
		if err != nil {
			return nil, nil, err
		}
		srv.numbered = append(srv.numbered, f)
	}
	srv.pool = pool.New(pool.Config{Slots: srv.threads})
	peerWire := srv.wire
	if tlsConfig != nil {
		peerWire.TLS = &tls.Config{Certificates: tlsConfig.Certificates, RootCAs: tlsConfig.ClientCAs, InsecureSkipVerify: tlsConfig.ClientCAs == nil}
	}
	srv.peers = newPeers(peerWire)
	return srv, l, nil
}

// serve serves what comes to l until ctx ends, or a client's lifeline.
func (srv *server) serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	listener := wire.Listen(l, srv.wire, srv.hello)
	tickCtx, stop := context.WithCancel(context.Background())
	var ticking sync.WaitGroup
	ticking.Go(func() { srv.tick(tickCtx) }) // ends with stop
	accepting, stopAccepting := context.WithCancel(context.Background())
	ticking.Go(func() { // ends with stopAccepting; peers come while it drains
		for {
			w, err := listener.Accept(accepting)
			if err != nil {
				return
			}
			srv.accept(w)
		}
	})
	<-ctx.Done()
	if drain == 0 {
		drain = 30 * time.Second
	}
	srv.drain(drain)
	stopAccepting()
	err := listener.Close()
	stop()
	ticking.Wait()
	srv.peers.close()
	srv.mu.Lock()
	open := srv.sessions
	srv.mu.Unlock()
	for _, s := range open {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = s.wire.Close(closing)
		cancel()
	}
	srv.all.Wait()
	srv.pool.Close()
	return err
}

// drain tells clients that the worker goes, and waits until nothing runs here.
func (srv *server) drain(limit time.Duration) {
	deadline := time.Now().Add(limit)
	srv.mu.Lock()
	srv.draining = true
	for _, s := range srv.sessions {
		s.wire.Send(frameDraining, nil, nil)
	}
	srv.mu.Unlock()
	for time.Now().Before(deadline) {
		busy := false
		srv.mu.Lock()
		for _, s := range srv.sessions {
			s.mu.Lock()
			busy = busy || len(s.runs) > 0 || s.calls.n.Load() > 0 || len(s.values) > 0 || !s.emptied
			s.mu.Unlock()
		}
		srv.mu.Unlock()
		if !busy {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hello answers a client, or a peer.
func (srv *server) hello(data []byte) ([]byte, error) {
	var h clientHello
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, fmt.Errorf("a hello that cannot be read: %w", err)
	}
	reply := workerHello{Name: srv.name, PID: os.Getpid(), Threads: srv.threads, Build: build(), Functions: srv.functions}
	switch h.Role {
	case "peer":
		srv.mu.Lock()
		known := srv.sessions[h.Client] != nil
		srv.mu.Unlock()
		if !known {
			return nil, errors.New("a peer for a client that is not here")
		}
		reply.Functions = nil
	case "client":
		if err := executor.SetUp(context.Background(), srv.name, h.Setup); err != nil {
			var setup *executor.SetupError
			if errors.As(err, &setup) {
				err = setup.Err
			}
			reply.Setup = executor.PackError(err)
		}
	default:
		return nil, fmt.Errorf("a hello of role %q", h.Role)
	}
	return json.Marshal(reply)
}

// accept starts a session.
func (srv *server) accept(w *wire.Session) {
	var h clientHello
	if json.Unmarshal(w.PeerHello(), &h) != nil {
		w.Kill(errMalformed)
		return
	}
	srv.all.Add(1)
	if h.Role == "peer" {
		w.Start(&peerSession{srv: srv, key: h.Client})
		return
	}
	s := newSession(srv, w, &h)
	srv.mu.Lock()
	old := srv.sessions[h.Client]
	srv.sessions[h.Client] = s
	draining := srv.draining
	srv.mu.Unlock()
	if old != nil { // the same client, which has lost the connection without our knowing (R5)
		old.wire.Kill(errors.New("remote: replaced by a new session of the same client"))
		<-old.done
	}
	w.Start(s)
	if draining {
		w.Send(frameDraining, nil, nil)
	}
}

func (srv *server) left(s *session) {
	srv.mu.Lock()
	if srv.sessions[s.key] == s {
		delete(srv.sessions, s.key)
	}
	srv.mu.Unlock()
	srv.all.Done()
}

// tick has sessions tell which calls have begun.
func (srv *server) tick(ctx context.Context) {
	t := time.NewTicker(tellAfter)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			srv.mu.Lock()
			open := make([]*session, 0, len(srv.sessions))
			for _, s := range srv.sessions {
				open = append(open, s)
			}
			srv.mu.Unlock()
			for _, s := range open {
				s.tick(now)
			}
		case <-ctx.Done():
			return
		}
	}
}
