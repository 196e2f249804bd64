package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkFrames is what a frame costs that is sent and delivered, one way, as fast as it goes
// with a bounded queue.
func BenchmarkFrames(b *testing.B) {
	for _, tr := range transports() {
		for _, size := range []int{20, 200} {
			b.Run(fmt.Sprintf("%s/%d", tr.name, size), func(b *testing.B) {
				client, server := tr.pair(b, Config{})
				h := newRecorder()
				var got atomic.Int64
				n := 0
				all := make(chan struct{}, 1)
				h.frame = func(byte, []byte) error { n++; return nil }
				h.idle = func() {
					got.Store(int64(n))
					select {
					case all <- struct{}{}:
					default:
					}
				}
				server.Start(h)
				client.Start(newRecorder())
				payload := make([]byte, size)
				sent := int64(0)
				b.ReportAllocs()
				for b.Loop() {
					client.Send(1, payload, nil)
					if sent++; sent%64 == 0 {
						for sent-got.Load() > 10_000 {
							<-all
						}
					}
				}
				for got.Load() < sent {
					<-all
				}
			})
		}
	}
}

// BenchmarkRoundTrip is one small frame there and one back, beside net/rpc.
func BenchmarkRoundTrip(b *testing.B) {
	for _, tr := range transports() {
		b.Run(tr.name, func(b *testing.B) {
			client, server := tr.pair(b, Config{})
			s, c := newRecorder(), newRecorder()
			s.frame = func(kind byte, payload []byte) error { server.Send(kind, payload, nil); return nil }
			back := make(chan struct{}, 1)
			c.frame = func(byte, []byte) error { back <- struct{}{}; return nil }
			server.Start(s)
			client.Start(c)
			payload := make([]byte, 20)
			b.ReportAllocs()
			for b.Loop() {
				client.Send(1, payload, nil)
				<-back
			}
		})
	}
	b.Run("netrpc", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer l.Close()
		server := rpc.NewServer()
		require.NoError(b, server.RegisterName("Echo", new(Echo)))
		go func() {
			conn, err := l.Accept()
			if err == nil {
				server.ServeConn(conn)
			}
		}()
		client, err := rpc.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		defer client.Close()
		arg := make([]byte, 20)
		var reply []byte
		b.ReportAllocs()
		for b.Loop() {
			if err := client.Call("Echo.Echo", arg, &reply); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type Echo struct{}

func (*Echo) Echo(arg []byte, reply *[]byte) error { *reply = arg; return nil }

// BenchmarkBulk is a body of 64 MiB one way, into fresh memory, beside raw TCP.
func BenchmarkBulk(b *testing.B) {
	const size = 64 << 20
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i)
	}
	for _, tr := range transports() {
		b.Run(tr.name, func(b *testing.B) {
			client, server := tr.pair(b, Config{})
			s := newRecorder()
			s.call = func(context.Context, []byte, []byte) ([]byte, [][]byte, error) { return nil, nil, nil }
			server.Start(s)
			client.Start(newRecorder())
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := client.Call(context.Background(), nil, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("raw", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				if _, err := io.ReadFull(conn, make([]byte, size)); err != nil {
					return
				}
				if _, err := conn.Write([]byte{1}); err != nil {
					return
				}
			}
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		defer conn.Close()
		b.SetBytes(size)
		for b.Loop() {
			if _, err := conn.Write(body); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
