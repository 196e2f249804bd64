package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A task over NATS is its number, and then as everywhere; its answer too. The server is
// in the client's process, as a user embeds it; client and workers reach it over TCP.

const (
	natsTasks   = "tasks"
	natsResults = "results"
	natsGroup   = "workers"
)

func startServer() (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "peers-nats-")
	if err != nil {
		return "", nil, err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
		MaxPending: 1 << 30,
	})
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	s.Start()
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}
	if !s.ReadyForConnections(10 * time.Second) {
		stop()
		return "", nil, errors.New("the NATS server was not ready within 10 s")
	}
	return s.ClientURL(), stop, nil
}

// natsAnswer is the answer to a numbered task.
func natsAnswer(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, errMessage
	}
	return doTask(append(make([]byte, 0, 16), b[:8]...), b[8:])
}

func serveNATS(args []string, ready func(string)) error {
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	sub, err := nc.QueueSubscribe(natsTasks, natsGroup, func(m *nats.Msg) {
		b, err := natsAnswer(m.Data)
		if err == nil {
			err = m.Respond(b)
		}
		if err != nil {
			failed <- err
		}
	})
	if err != nil {
		return err
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush()); err != nil {
		return err
	}
	ready(nc.ConnectedAddr())
	return <-failed
}

func serveJetStream(args []string, ready func(string)) error {
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(background, natsTasks, natsGroup)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	_, err = consumer.Consume(func(m jetstream.Msg) {
		b, err := natsAnswer(m.Data())
		if err == nil {
			err = errors.Join(nc.Publish(natsResults, b), m.Ack())
		}
		if err != nil {
			failed <- err
		}
	}, jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	ready(nc.ConnectedAddr())
	return <-failed
}

// A natsClient hands answers to the run that they belong to.
type natsClient struct {
	nc   *nats.Conn
	stop func()

	mu   sync.Mutex // guards what follows
	run  int        // the number of this run, in the upper half of its tasks' numbers
	out  []int
	left int
	done chan struct{} // closed when left is 0
}

// startNATSClient starts server, client and workers of a kind; prepare runs before the
// workers, and answers arrive on subject.
func startNATSClient(kind, subject string, prepare func(*nats.Conn) error) (*natsClient, error) {
	url, stopServer, err := startServer()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		stopServer()
		return nil, err
	}
	c := &natsClient{nc: nc, stop: func() { nc.Close(); stopServer() }}
	sub, err := nc.Subscribe(subject, c.answered)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = prepare(nc)
	}
	var stopWorkers func()
	if err == nil {
		_, stopWorkers, err = startWorkers(kind, url)
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	c.stop = func() { stopWorkers(); nc.Close(); stopServer() }
	return c, nil
}

func (c *natsClient) answered(m *nats.Msg) {
	if len(m.Data) != 16 {
		return
	}
	id := intAt(m.Data, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id>>32 != c.run {
		return // of a run that was given up
	}
	c.out[id&(1<<32-1)] = intAt(m.Data, 1)
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// inFlight publishes all items, and waits for all answers.
func (c *natsClient) inFlight(turns int, in, out []int, publish func(b []byte) error) error {
	c.mu.Lock()
	c.run++
	c.out, c.left, c.done = out, len(in), make(chan struct{})
	run, done := c.run, c.done
	c.mu.Unlock()
	for i, x := range in {
		if err := publish(appendTask(appendInt(make([]byte, 0, 24), run<<32|i), turns, x)); err != nil {
			return err
		}
	}
	select {
	case <-done:
		return nil
	case <-time.After(farLimit):
		return errors.New("answers are missing")
	}
}

func startNATS() (*far, error) {
	inbox := nats.NewInbox()
	c, err := startNATSClient("nats", inbox, func(*nats.Conn) error { return nil })
	if err != nil {
		return nil, err
	}
	w := wire{
		one: func(turns int, in, out []int) error {
			return c.inFlight(turns, in, out, func(b []byte) error { return c.nc.PublishRequest(natsTasks, inbox, b) })
		},
		call: func(x int) (int, error) {
			m, err := c.nc.Request(natsTasks, appendTask(appendInt(make([]byte, 0, 16), 0), 0, x), farLimit)
			if err != nil || len(m.Data) != 16 {
				return 0, err
			}
			return intAt(m.Data, 1), nil
		},
		close: c.stop,
	}
	return w.far(), nil
}

// startJetStream has a work queue in the server's memory. A task leaves it when its
// worker has published the result and acknowledged the task.
func startJetStream() (*far, error) {
	var js jetstream.JetStream
	c, err := startNATSClient("jetstream", natsResults, func(nc *nats.Conn) (err error) {
		js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(background, farLimit)
		defer cancel()
		s, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: natsTasks, Subjects: []string{natsTasks}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
		})
		if err != nil {
			return err
		}
		_, err = s.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: natsGroup, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	publish := func(b []byte) error {
		_, err := js.PublishAsync(natsTasks, b, jetstream.WithStallWait(farLimit))
		return err
	}
	w := wire{
		one: func(turns int, in, out []int) error { return c.inFlight(turns, in, out, publish) },
		call: func(x int) (int, error) {
			var out [1]int
			err := c.inFlight(0, []int{x}, out[:], publish)
			return out[0], err
		},
		close: c.stop,
	}
	return w.far(), nil
}
