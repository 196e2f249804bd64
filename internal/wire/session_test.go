package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHellosAreExchanged(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		assert.Equal(t, "hello client", string(client.PeerHello()))
		assert.Equal(t, "client", string(server.PeerHello()))
	})
}

func TestFramesArriveInOrderAndAsSent(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		const n = 20_000
		got, idle := 0, 0
		h := newRecorder()
		h.idle = func() { idle++ }
		h.frame = func(kind byte, payload []byte) error {
			if kind != byte(got%FirstKind) || len(payload) != 8+got%300+1000*(got%97/96) || binary.LittleEndian.Uint64(payload) != uint64(got) {
				return fmt.Errorf("frame %d: kind %d, %d bytes", got, kind, len(payload))
			}
			got++
			return nil
		}
		server.Start(h)
		c := newRecorder()
		client.Start(c)
		var head [8]byte
		for i := range n {
			binary.LittleEndian.PutUint64(head[:], uint64(i))
			client.Send(byte(i%FirstKind), head[:], make([]byte, i%300+1000*(i%97/96)))
		}
		require.NoError(t, client.Close(t.Context()))
		require.NoError(t, h.wait(t))
		require.NoError(t, c.wait(t))
		assert.Equal(t, n, got)
		assert.Positive(t, idle)
		assert.Less(t, idle, n)
		require.NoError(t, server.Close(t.Context()))
		require.ErrorIs(t, client.Err(), ErrGone)
	})
}

func TestAFrameMayBeAsLargeAsTheLimit(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		sizes := make(chan int, 10)
		h := newRecorder()
		h.frame = func(_ byte, payload []byte) error {
			for i, b := range payload {
				if b != byte(i) {
					return errors.New("a wrong byte")
				}
			}
			sizes <- len(payload)
			return nil
		}
		server.Start(h)
		client.Start(newRecorder())
		body := make([]byte, 1<<20)
		for i := range body {
			body[i] = byte(i)
		}
		for _, n := range []int{0, 1 << 20, 1, blockSize - frameHeader, blockSize - frameHeader + 1, 1 << 18, 1 << 20} {
			client.Send(1, nil, body[:n])
			require.Equal(t, n, <-sizes)
		}
		client.Send(1, []byte{1}, body)
		<-client.Done()
		require.ErrorIs(t, client.Err(), ErrGone)
		require.ErrorContains(t, client.Err(), "1048577 bytes")
		require.ErrorIs(t, h.wait(t), ErrGone)
	})
}

func TestCallsGoBothWays(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, listenerFirst := range []bool{false, true} {
			t.Run(fmt.Sprint("listener first ", listenerFirst), func(t *testing.T) {
				client, server := tr.pair(t, Config{})
				client.Start(newRecorder())
				server.Start(newRecorder())
				from := []*Session{client, server}
				if listenerFirst {
					from[0], from[1] = server, client
				}
				for _, s := range from {
					for _, n := range []int{0, 1, 1000, 1 << 20, 5<<20 + 3} {
						body := bytes.Repeat([]byte{byte(n), 2, 3}, n/3+1)[:n]
						head, got, err := s.Call(t.Context(), []byte("head"), body[:n/3], body[n/3:n/2], nil, body[n/2:])
						require.NoError(t, err)
						require.Equal(t, "head", string(head))
						require.True(t, bytes.Equal(body, got))
					}
				}
				sent, received := client.Bytes()
				assert.Greater(t, sent, int64(12<<20))
				assert.Greater(t, received, int64(12<<20))
			})
		}
	})
}

func TestManyCallsShareTheStreams(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		var running, most atomic.Int32
		h := newRecorder()
		h.call = func(_ context.Context, head, body []byte) ([]byte, [][]byte, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			return head, [][]byte{body[:len(body)/2], body[len(body)/2:]}, nil
		}
		server.Start(h)
		client.Start(newRecorder())
		var wg sync.WaitGroup
		for i := range 100 {
			s := client
			if i%2 == 1 {
				s = server
			}
			wg.Go(func() {
				for j := range 5 {
					body := bytes.Repeat([]byte{byte(i), byte(j)}, 200*i)
					head, got, err := s.Call(t.Context(), []byte{byte(i)}, body)
					assert.NoError(t, err)
					assert.Equal(t, []byte{byte(i)}, head)
					assert.True(t, bytes.Equal(body, got))
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, most.Load(), int32(MaxCalls))
		assert.LessOrEqual(t, client.bulk.mux.NumStreams(), 2*MaxCalls)
	})
}

func TestAHandlersErrorReachesTheCaller(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		h := newRecorder()
		h.call = func(context.Context, []byte, []byte) ([]byte, [][]byte, error) {
			return nil, nil, errors.New("no such value")
		}
		server.Start(h)
		client.Start(newRecorder())
		for range 3 {
			_, _, err := client.Call(t.Context(), nil, make([]byte, 1000))
			var failed *CallError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "no such value", failed.Message)
		}
		require.NoError(t, client.Err())
	})
}

func TestACallEndsWithItsContextAndTellsTheHandler(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		stop := errors.New("stop")
		entered, left := make(chan struct{}), make(chan error, 1)
		h := newRecorder()
		h.call = func(ctx context.Context, head, body []byte) ([]byte, [][]byte, error) {
			if len(head) == 0 {
				return nil, nil, nil
			}
			close(entered)
			<-ctx.Done()
			left <- context.Cause(ctx)
			return nil, nil, nil
		}
		server.Start(h)
		client.Start(newRecorder())
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-entered
			cancel(stop)
		}()
		_, _, err := client.Call(ctx, []byte("wait"))
		require.ErrorIs(t, err, stop)
		require.ErrorIs(t, <-left, errGivenUp)
		// The session goes on.
		_, _, err = client.Call(t.Context(), nil, make([]byte, 1<<20))
		require.NoError(t, err)
		_, _, err = client.Call(ctx, nil)
		require.ErrorIs(t, err, stop)
	})
}

func TestAKilledSessionIsGoneOnBothSides(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		reason := errors.New("a reason")
		c, s := newRecorder(), newRecorder()
		entered := make(chan struct{})
		s.call = func(ctx context.Context, _, _ []byte) ([]byte, [][]byte, error) {
			close(entered)
			<-ctx.Done()
			return nil, nil, context.Cause(ctx)
		}
		client.Start(c)
		server.Start(s)
		go func() {
			<-entered
			client.Kill(reason)
		}()
		_, _, err := client.Call(t.Context(), nil)
		require.ErrorIs(t, err, ErrGone)
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, c.wait(t), reason)
		require.ErrorIs(t, c.wait(t), ErrGone)
		require.ErrorIs(t, s.wait(t), ErrGone)
		queued := client.Queued()
		client.Send(1, nil, nil)
		require.LessOrEqual(t, client.Queued(), queued)
		_, _, err = server.Call(t.Context(), nil)
		require.ErrorIs(t, err, ErrGone)
		require.ErrorIs(t, client.Close(t.Context()), reason)
	})
}

func TestAHandlersFrameErrorEndsTheSession(t *testing.T) {
	watch(t)
	client, server := transports()[0].pair(t, Config{})
	reason := errors.New("a reason")
	c, s := newRecorder(), newRecorder()
	s.frame = func(byte, []byte) error { return reason }
	client.Start(c)
	server.Start(s)
	client.Send(1, nil, nil)
	require.ErrorIs(t, s.wait(t), reason)
	require.ErrorIs(t, c.wait(t), ErrGone)
}

func TestBothMayCloseAtOnce(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for range 10 {
			client, server := tr.pair(t, Config{})
			c, s := newRecorder(), newRecorder()
			var got [2]int
			c.frame = func(byte, []byte) error { got[0]++; return nil }
			s.frame = func(byte, []byte) error { got[1]++; return nil }
			client.Start(c)
			server.Start(s)
			var wg sync.WaitGroup
			for _, x := range []*Session{client, server} {
				wg.Go(func() {
					for range 1000 {
						x.Send(3, nil, make([]byte, 200))
					}
					assert.NoError(t, x.Close(t.Context()))
					assert.NoError(t, x.Close(t.Context()))
				})
			}
			wg.Wait()
			require.NoError(t, c.wait(t))
			require.NoError(t, s.wait(t))
			// Who heard the goodbye first sends no more; all that was sent by the other has arrived.
			require.Equal(t, 1000, max(got[0], got[1]))
		}
	})
}

func TestCloseEndsWithItsContext(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{})
		c := newRecorder()
		client.Start(c) // the server is not: nobody answers the goodbye
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, client.Close(ctx), context.DeadlineExceeded)
		require.NoError(t, c.wait(t))
		s := newRecorder()
		server.Start(s)
		require.NoError(t, s.wait(t)) // it did say goodbye
	})
}

func TestAPeerThatIsSilentIsGone(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		client, server := tr.pair(t, Config{HeartbeatTimeout: 300 * time.Millisecond})
		c, s := newRecorder(), newRecorder()
		client.Start(c)
		server.Start(s)
		// Beats keep it alive.
		time.Sleep(time.Second)
		require.NoError(t, client.Err())
		require.NoError(t, server.Err())
		// The server stops writing: its token is taken.
		server.out.mu.Lock()
		server.out.writing = true
		server.out.mu.Unlock()
		require.ErrorIs(t, c.wait(t), ErrPeerSilent)
		require.ErrorIs(t, c.wait(t), ErrGone)
		require.ErrorIs(t, s.wait(t), ErrGone)
	})
}
