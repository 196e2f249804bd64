package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/nearfar/nearfar/internal/wire"
)

// A peerSession is another worker's, which fetches a client's values.
type peerSession struct {
	srv *server
	key string
}

func (p *peerSession) Frame(byte, []byte) error { return errMalformed }
func (p *peerSession) Idle()                    {}
func (p *peerSession) Closed(error)             { p.srv.all.Done() }

func (p *peerSession) Call(_ context.Context, head, _ []byte) ([]byte, [][]byte, error) {
	d := &dec{b: head}
	if d.byte() != callFetch {
		return nil, nil, errMalformed
	}
	p.srv.mu.Lock()
	s := p.srv.sessions[p.key]
	p.srv.mu.Unlock()
	if s == nil {
		return nil, nil, errors.New("the client is not here")
	}
	data, err := s.fetchLocal(d.int())
	return nil, [][]byte{data}, err
}

// peers are the sessions to other workers, made when they are first needed.
type peers struct {
	wire   wire.Config
	flight singleflight.Group

	mu     sync.Mutex
	open   map[string]*wire.Session
	closed bool
}

func newPeers(cfg wire.Config) *peers { return &peers{wire: cfg, open: map[string]*wire.Session{}} }

// get is the session to a holder, for a client.
func (p *peers) get(ctx context.Context, h holder, client string) (*wire.Session, error) {
	key := client + "\x00" + h.network + "\x00" + h.addr
	p.mu.Lock()
	w := p.open[key]
	p.mu.Unlock()
	if w != nil {
		return w, nil
	}
	v, err, _ := p.flight.Do(key, func() (any, error) {
		cfg := p.wire
		cfg.Hello, _ = json.Marshal(clientHello{Role: "peer", Client: client, Build: build()})
		if h.network != "tls" {
			cfg.TLS = nil
		} else if cfg.TLS != nil {
			cfg.TLS = cfg.TLS.Clone()
			cfg.TLS.ServerName, _, _ = net.SplitHostPort(h.addr)
		}
		w, err := wire.Dial(ctx, netOf(h.network), h.addr, cfg)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			w.Kill(errors.New("remote: the worker is closing"))
			return nil, errors.New("remote: the worker is closing")
		}
		p.open[key] = w
		p.mu.Unlock()
		w.Start(&peerClient{peers: p, key: key})
		return w, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*wire.Session), nil
}

func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	open := p.open
	p.open = map[string]*wire.Session{}
	p.mu.Unlock()
	for _, w := range open {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = w.Close(ctx)
		cancel()
	}
}

// A peerClient is this side of a session to a peer.
type peerClient struct {
	peers *peers
	key   string
}

func (c *peerClient) Frame(byte, []byte) error { return errMalformed }
func (c *peerClient) Idle()                    {}
func (c *peerClient) Call(context.Context, []byte, []byte) ([]byte, [][]byte, error) {
	return nil, nil, errMalformed
}

func (c *peerClient) Closed(error) {
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	delete(c.peers.open, c.key)
}
