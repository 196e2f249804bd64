package main

import (
	"net"
	"net/rpc"
)

// An Item is a task of net/rpc's, which sends what gob can.
type Item struct{ X, Turns int }

// A Chunk is many.
type Chunk struct {
	Turns int
	Items []int
}

// RPC is what a worker of net/rpc's serves.
type RPC struct{}

// One runs a task.
func (RPC) One(it Item, out *int) error {
	*out = spun(it.Turns, it.X)
	return nil
}

// Many runs a chunk.
func (RPC) Many(c Chunk, out *[]int) error {
	*out = make([]int, len(c.Items))
	for i, x := range c.Items {
		(*out)[i] = spun(c.Turns, x)
	}
	return nil
}

// Length says how many bytes came.
func (RPC) Length(b []byte, out *int) error {
	*out = len(b)
	return nil
}

func serveRPC(_ []string, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := rpc.NewServer()
	if err := s.Register(RPC{}); err != nil {
		return err
	}
	ready(l.Addr().String())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go s.ServeConn(c)
	}
}

// startRPC makes a connection a worker, and keeps all calls in flight on it.
func startRPC() (*far, error) {
	addrs, stop, err := startWorkers("rpc")
	if err != nil {
		return nil, err
	}
	var clients []*rpc.Client
	closeAll := func() {
		for _, c := range clients {
			c.Close()
		}
		stop()
	}
	for _, addr := range addrs {
		c, err := rpc.Dial("tcp", addr)
		if err != nil {
			closeAll()
			return nil, err
		}
		clients = append(clients, c)
	}
	// inFlight makes n calls, by turns to the workers, and waits for all.
	inFlight := func(n int, call func(c *rpc.Client, i int, done chan *rpc.Call)) error {
		done := make(chan *rpc.Call, n)
		for i := range n {
			call(clients[i%len(clients)], i, done)
		}
		for range n {
			if c := <-done; c.Error != nil {
				return c.Error
			}
		}
		return nil
	}
	w := wire{
		one: func(turns int, in, out []int) error {
			return inFlight(len(in), func(c *rpc.Client, i int, done chan *rpc.Call) {
				c.Go("RPC.One", Item{in[i], turns}, &out[i], done)
			})
		},
		call: func(x int) (out int, err error) {
			err = clients[0].Call("RPC.One", Item{X: x}, &out)
			return out, err
		},
		many: func(turns, size int, in, out []int) error {
			chunks := cut(len(in), size)
			outs := make([][]int, len(chunks))
			err := inFlight(len(chunks), func(c *rpc.Client, i int, done chan *rpc.Call) {
				c.Go("RPC.Many", Chunk{turns, in[chunks[i].lo:chunks[i].hi]}, &outs[i], done)
			})
			for i, o := range outs {
				copy(out[chunks[i].lo:chunks[i].hi], o)
			}
			return err
		},
		send: func(b []byte) (n int, err error) {
			err = clients[0].Call("RPC.Length", b, &n)
			return n, err
		},
		close: closeAll,
	}
	return w.far(), nil
}

type span struct{ lo, hi int }

// cut cuts n items into chunks of size.
func cut(n, size int) []span {
	var spans []span
	for lo := 0; lo < n; lo += size {
		spans = append(spans, span{lo, min(lo+size, n)})
	}
	return spans
}
