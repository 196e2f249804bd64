package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch ends the test binary with all stacks if the test hangs.
func watch(t testing.TB) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		fmt.Fprintln(os.Stderr, name, "hangs")
		panic(name + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}

// A recorder is a handler whose functions may be nil.
type recorder struct {
	frame  func(kind byte, payload []byte) error
	idle   func()
	call   func(ctx context.Context, head, body []byte) ([]byte, [][]byte, error)
	mu     sync.Mutex
	closed int
	err    error
	over   chan struct{}
}

func newRecorder() *recorder { return &recorder{over: make(chan struct{})} }

func (r *recorder) Frame(kind byte, payload []byte) error {
	if r.frame == nil {
		return nil
	}
	return r.frame(kind, payload)
}

func (r *recorder) Idle() {
	if r.idle != nil {
		r.idle()
	}
}

func (r *recorder) Call(ctx context.Context, head, body []byte) ([]byte, [][]byte, error) {
	if r.call == nil {
		return head, [][]byte{body}, nil
	}
	return r.call(ctx, head, body)
}

func (r *recorder) Closed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
	r.err = err
	if r.closed == 1 {
		close(r.over)
	}
}

// wait waits for the session's end and gives what Closed got, which is called once.
func (r *recorder) wait(t testing.TB) error {
	t.Helper()
	<-r.over
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, 1, r.closed)
	return r.err
}

// certificates makes the two sides' configurations: each has a certificate and asks for the other's.
var certificates = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nearfar test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: "localhost"}
	return server, client
})

// A transport is a way to connect the two sides.
type transport struct {
	name, network  string
	server, client *tls.Config
}

func transports() []transport {
	server, client := certificates()
	return []transport{{name: "tcp", network: "tcp"}, {name: "unix", network: "unix"}, {name: "tls", network: "tcp", server: server, client: client}}
}

// each runs a test on all transports.
func each(t *testing.T, test func(t *testing.T, tr transport)) {
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			watch(t)
			test(t, tr)
		})
	}
}

func (tr transport) listen(t testing.TB) net.Listener {
	addr := "127.0.0.1:0"
	if tr.network == "unix" {
		dir, err := os.MkdirTemp("", "wire")
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	l, err := net.Listen(tr.network, addr)
	require.NoError(t, err)
	return l
}

var secret = []byte("a secret of the tests")

// pair makes a session and gives both its ends, not started. They are gone after the test.
func (tr transport) pair(t testing.TB, cfg Config) (client, server *Session) {
	t.Helper()
	client, server, _ = tr.pairVia(t, cfg, nil)
	return client, server
}

// pairVia is pair, where the client dials what via makes of the listener's address.
func (tr transport) pairVia(t testing.TB, cfg Config, via func(addr string) string) (client, server *Session, l *Listener) {
	t.Helper()
	if cfg.Token == nil {
		cfg.Token = secret
	}
	serverConfig := cfg
	serverConfig.TLS = tr.server
	l = Listen(tr.listen(t), serverConfig, func(hello []byte) ([]byte, error) {
		return append([]byte("hello "), hello...), nil
	})
	cfg.TLS = tr.client
	cfg.Hello = []byte("client")
	addr := l.Addr().String()
	if via != nil {
		addr = via(addr)
	}
	t.Cleanup(func() {
		for _, s := range []*Session{client, server} {
			if s != nil {
				s.Kill(errors.New("the test is over"))
				_ = s.Close(context.Background())
			}
		}
		require.NoError(t, l.Close())
	})
	var err error
	client, err = Dial(t.Context(), tr.network, addr, cfg)
	require.NoError(t, err)
	server, err = l.Accept(t.Context())
	require.NoError(t, err)
	return client, server, l
}
