package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dialTo dials a listener that has another configuration.
func dialTo(t *testing.T, listening, dialling Config) error {
	l := Listen(transports()[0].listen(t), listening, func(hello []byte) ([]byte, error) {
		if string(hello) == "no" {
			return nil, errors.New("not today")
		}
		return nil, nil
	})
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	s, err := Dial(t.Context(), "tcp", l.Addr().String(), dialling)
	if s != nil {
		s.Kill(nil)
		_ = s.Close(t.Context())
	}
	return err
}

func TestWhoIsLetIn(t *testing.T) {
	server, client := certificates()
	stranger := &tls.Config{RootCAs: client.RootCAs, ServerName: "localhost"}
	distrustful := &tls.Config{Certificates: client.Certificates, ServerName: "localhost"}
	for _, c := range []struct {
		name                string
		listening, dialling Config
		want                error
	}{
		{"the same token", Config{Token: secret}, Config{Token: secret}, nil},
		{"no token on both sides", Config{}, Config{}, nil},
		{"another token", Config{Token: secret}, Config{Token: []byte("guess")}, ErrAuth},
		{"no token where one is asked for", Config{Token: secret}, Config{}, ErrAuth},
		{"a token where none is known", Config{}, Config{Token: secret}, ErrAuth},
		{"an empty token is one", Config{Token: []byte{}}, Config{}, ErrAuth},
		{"TLS", Config{Token: secret, TLS: server}, Config{Token: secret, TLS: client}, nil},
		{"TLS and another token", Config{Token: secret, TLS: server}, Config{Token: []byte("guess"), TLS: client}, ErrAuth},
		{"TLS without a certificate", Config{TLS: server}, Config{TLS: stranger}, ErrAuth},
		{"TLS with a certificate that is not trusted", Config{TLS: server}, Config{TLS: distrustful}, ErrAuth},
		{"TLS to a listener without", Config{}, Config{TLS: client, HandshakeTimeout: time.Second}, ErrHandshake},
		{"no TLS to a listener with it", Config{TLS: server}, Config{}, ErrHandshake},
	} {
		t.Run(c.name, func(t *testing.T) {
			watch(t)
			err := dialTo(t, c.listening, c.dialling)
			require.ErrorIs(t, err, c.want)
			if c.want != nil {
				assert.NotContains(t, err.Error(), string(secret))
			}
		})
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	watch(t)
	err := dialTo(t, Config{}, Config{Hello: []byte("no")})
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "not today", refused.Message)
}

// something listens and does what it does with each connection.
func something(t *testing.T, do func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err == nil {
			do(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestSomethingElseAnswers(t *testing.T) {
	web := func(c net.Conn) {
		l := &oneConn{conn: c, closed: make(chan struct{})}
		s := &http.Server{ReadTimeout: 5 * time.Second}
		go func() { <-time.After(300 * time.Millisecond); _ = s.Close(); _ = l.Close() }()
		_ = s.Serve(l)
	}
	for _, c := range []struct {
		name string
		do   func(net.Conn)
		says string
	}{
		{"a web server", web, `"HTTP/1.1 400 Bad Request\r\n`},
		{"ssh", func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n")); _, _ = io.Copy(io.Discard, c) }, `said "SSH-2.0-OpenSSH_9.9\r\n"`},
		{"much", func(c net.Conn) {
			_, _ = c.Write([]byte(strings.Repeat("0123456789", 10)))
			_, _ = io.Copy(io.Discard, c)
		}, `said "` + strings.Repeat("0123456789", 4) + `"`},
		{"silence", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "it had said nothing"},
		{"a close", func(c net.Conn) {}, "it had said nothing"},
		{"half a greeting", func(c net.Conn) { _, _ = c.Write([]byte(magic + "1")); time.Sleep(20 * time.Millisecond) }, `it had said "nearfar\n1"`},
		{"an echo", func(c net.Conn) { _, _ = io.Copy(c, c) }, "none of a listener and who dials it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			watch(t)
			addr := something(t, c.do)
			_, err := Dial(t.Context(), "tcp", addr, Config{HandshakeTimeout: 500 * time.Millisecond})
			require.ErrorIs(t, err, ErrHandshake)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, addr)
		})
	}
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestAnotherVersion(t *testing.T) {
	watch(t)
	later := newGreeting(listener, forControl, nil)
	later[8], later[10] = 7, 9
	addr := something(t, func(c net.Conn) { _, _ = c.Write(later[:]); _, _ = io.Copy(io.Discard, c) })
	_, err := Dial(t.Context(), "tcp", addr, Config{})
	require.ErrorIs(t, err, ErrVersion)
	require.ErrorContains(t, err, "7 to 9 there")
}

func TestDialEndsWithItsContext(t *testing.T) {
	watch(t)
	addr := something(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("a reason")
	time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
	_, err := Dial(ctx, "tcp", addr, Config{HandshakeTimeout: time.Minute})
	require.ErrorIs(t, err, reason)
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	_, err = Dial(short, "tcp", addr, Config{HandshakeTimeout: time.Minute})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Strangers that connect and say nothing keep nobody out: the oldest of them is dropped.
func TestHalfOpenConnectionsAreBounded(t *testing.T) {
	watch(t)
	l := Listen(transports()[0].listen(t), Config{HandshakeTimeout: time.Hour}, nil)
	var strangers []net.Conn
	for range 2 * maxHalfOpen {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		strangers = append(strangers, c)
	}
	// Those that were first are closed.
	_, err := strangers[0].Read(make([]byte, 1))
	require.Error(t, err)
	s, err := Dial(t.Context(), "tcp", l.Addr().String(), Config{})
	require.NoError(t, err)
	s.Kill(nil)
	_ = s.Close(t.Context())
	require.NoError(t, l.Close())
	for _, c := range strangers {
		_ = c.Close()
	}
}

// Without the token there is nothing to be had from a listener, and a ticket is good once.
func TestATicketIsGoodOnce(t *testing.T) {
	watch(t)
	client, server, l := transports()[0].pairVia(t, Config{}, nil)
	client.Start(newRecorder())
	server.Start(newRecorder())
	_, _, err := client.Call(t.Context(), nil)
	require.NoError(t, err)
	_, err = client.dialBulk(t.Context())
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(t, l.tickets)
}

// A first call needs the listener; when there is none any more, it is an error and no more.
func TestACallWithoutAListenerFails(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server, l := tr.pairVia(t, Config{}, nil)
		client.Start(newRecorder())
		server.Start(newRecorder())
		require.NoError(t, l.Close())
		for _, s := range []*Session{client, server, server, client} {
			_, _, err := s.Call(t.Context(), nil)
			require.ErrorIs(t, err, errNoBulk)
		}
		require.NoError(t, client.Err())
	})
}

func TestAcceptEnds(t *testing.T) {
	watch(t)
	l := Listen(transports()[0].listen(t), Config{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Accept(ctx)
	require.ErrorIs(t, err, context.Canceled)
	// A session that nobody accepts is gone with the listener.
	s, err := Dial(t.Context(), "tcp", l.Addr().String(), Config{})
	require.NoError(t, err)
	c := newRecorder()
	s.Start(c)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err = l.Accept(t.Context())
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, c.wait(t), ErrGone)
	_ = s.Close(t.Context())
}
