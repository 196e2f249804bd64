package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Raw TCP is what the machine's loopback can do: the limit of the others.

func serveTCP(_ []string, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		return err
	}
	var head [8]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(head[:])
		if n > 1<<30 {
			return fmt.Errorf("%d bytes are too many", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		if _, err := c.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b)))); err != nil {
			return err
		}
	}
}

func startTCP() (*far, error) {
	addrs, stop, err := startWorkers("tcp")
	if err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", addrs[0])
	if err != nil {
		stop()
		return nil, err
	}
	w := wire{
		send: func(b []byte) (int, error) {
			if _, err := c.Write(appendInt(nil, len(b))); err != nil {
				return 0, err
			}
			if _, err := c.Write(b); err != nil {
				return 0, err
			}
			var n [8]byte
			_, err := io.ReadFull(c, n[:])
			return intAt(n[:], 0), err
		},
		close: func() {
			c.Close()
			stop()
		},
	}
	return w.far(), nil
}
