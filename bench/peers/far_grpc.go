package main

import (
	"context"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
)

// rawCodec carries bytes as they are: gRPC without protobuf, so without what protobuf
// costs, and without generated code.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = b
	return nil
}

func init() { encoding.RegisterCodec(rawCodec{}) }

const grpcMost = 1 << 28 // bytes of a message; gRPC's own limit is 4 MiB

var grpcService = grpc.ServiceDesc{
	ServiceName: "peers.Worker",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Task", Handler: grpcUnary(grpcTask)},
		{MethodName: "Length", Handler: grpcUnary(func(b []byte) ([]byte, error) { return appendInt(nil, len(b)), nil })},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Tasks", Handler: grpcStream(grpcTask), ServerStreams: true, ClientStreams: true},
		{StreamName: "Chunks", Handler: grpcStream(doChunk), ServerStreams: true, ClientStreams: true},
	},
}

func grpcTask(b []byte) ([]byte, error) { return doTask(nil, b) }

func grpcUnary(do func([]byte) ([]byte, error)) grpc.MethodHandler {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in []byte
		if err := decode(&in); err != nil {
			return nil, err
		}
		out, err := do(in)
		return &out, err
	}
}

// grpcStream answers in the order of the messages.
func grpcStream(do func([]byte) ([]byte, error)) grpc.StreamHandler {
	return func(_ any, s grpc.ServerStream) error {
		for {
			var in []byte
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			out, err := do(in)
			if err != nil {
				return err
			}
			if err := s.SendMsg(&out); err != nil {
				return err
			}
		}
	}
}

func serveGRPC(_ []string, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(grpcMost))
	s.RegisterService(&grpcService, nil)
	ready(l.Addr().String())
	return s.Serve(l)
}

// A grpcClient has a connection a worker.
type grpcClient struct {
	conns []*grpc.ClientConn
	close func()
}

func dialGRPC() (*grpcClient, error) {
	addrs, stop, err := startWorkers("grpc")
	if err != nil {
		return nil, err
	}
	c := &grpcClient{}
	c.close = func() {
		for _, conn := range c.conns {
			conn.Close()
		}
		stop()
	}
	for _, addr := range addrs {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.CallContentSubtype("raw"), grpc.MaxCallSendMsgSize(grpcMost)))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *grpcClient) call(conn int, method string, in []byte) ([]byte, error) {
	var out []byte
	err := c.conns[conn].Invoke(background, "/peers.Worker/"+method, &in, &out)
	return out, err
}

// startGRPC keeps 64 unary calls in flight, from as many goroutines.
func startGRPC() (*far, error) {
	c, err := dialGRPC()
	if err != nil {
		return nil, err
	}
	w := wire{
		one: func(turns int, in, out []int) error {
			var g errgroup.Group
			var next atomic.Int64
			for range 64 {
				g.Go(func() error {
					for {
						i := int(next.Add(1)) - 1
						if i >= len(in) {
							return nil
						}
						answer, err := c.call(i%len(c.conns), "Task", appendTask(nil, turns, in[i]))
						if err != nil {
							return err
						}
						if err := results(out[i:i+1], answer); err != nil {
							return err
						}
					}
				})
			}
			return g.Wait()
		},
		call: func(x int) (int, error) {
			answer, err := c.call(0, "Task", appendTask(nil, 0, x))
			if err != nil || len(answer) != 8 {
				return 0, err
			}
			return intAt(answer, 0), nil
		},
		send: func(b []byte) (int, error) {
			answer, err := c.call(0, "Length", b)
			if err != nil || len(answer) != 8 {
				return 0, err
			}
			return intAt(answer, 0), nil
		},
		close: c.close,
	}
	return w.far(), nil
}

// startGRPCStream keeps a stream a worker, on which answers come in order.
func startGRPCStream() (*far, error) {
	c, err := dialGRPC()
	if err != nil {
		return nil, err
	}
	var tasks, chunks []grpc.ClientStream
	for _, conn := range c.conns {
		for i, s := range []*[]grpc.ClientStream{&tasks, &chunks} {
			desc := &grpcService.Streams[i]
			stream, err := conn.NewStream(background, desc, "/peers.Worker/"+desc.StreamName)
			if err != nil {
				c.close()
				return nil, err
			}
			*s = append(*s, stream)
		}
	}
	w := wire{
		one: func(turns int, in, out []int) error {
			return grpcInFlight(tasks, len(in), func(i int) []byte { return appendTask(nil, turns, in[i]) },
				func(i int, answer []byte) error { return results(out[i:i+1], answer) })
		},
		call: func(x int) (int, error) {
			in := appendTask(nil, 0, x)
			if err := tasks[0].SendMsg(&in); err != nil {
				return 0, err
			}
			var answer []byte
			if err := tasks[0].RecvMsg(&answer); err != nil || len(answer) != 8 {
				return 0, err
			}
			return intAt(answer, 0), nil
		},
		many: func(turns, size int, in, out []int) error {
			spans := cut(len(in), size)
			return grpcInFlight(chunks, len(spans), func(i int) []byte { return chunkOf(turns, in[spans[i].lo:spans[i].hi]) },
				func(i int, answer []byte) error { return results(out[spans[i].lo:spans[i].hi], answer) })
		},
		close: c.close,
	}
	return w.far(), nil
}

// grpcInFlight sends n messages, by turns on the streams, while it reads the answers.
func grpcInFlight(streams []grpc.ClientStream, n int, message func(i int) []byte, answered func(i int, answer []byte) error) error {
	var g errgroup.Group
	for s, stream := range streams {
		g.Go(func() error {
			for i := s; i < n; i += len(streams) {
				b := message(i)
				if err := stream.SendMsg(&b); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for i := s; i < n; i += len(streams) {
				var answer []byte
				if err := stream.RecvMsg(&answer); err != nil {
					return err
				}
				if err := answered(i, answer); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
