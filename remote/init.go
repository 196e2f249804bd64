package remote

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/nearfar/nearfar/internal/child"
)

// A childSecret is what a spawned worker is told over its pipe.
type childSecret struct {
	Name        string
	Network     string
	Addr        string
	Threads     int
	Token       string
	MemoryLimit int64
	MaxValue    int64
	Handshake   time.Duration
	Heartbeat   time.Duration
}

// A childReport is what it answers when it listens.
type childReport struct{ Network, Addr string }

// Init makes this process serve, and never returns, if it was started as a worker:
// spawned by an executor on the backend proc, or with NEARFAR_WORKER in its environment,
// a URL such as tcp://127.0.0.1:8786?threads=2. Else it does nothing. It is the first
// line of main, and of TestMain.
func Init() {
	if parent, ok := child.Inherited(); ok {
		parent.IgnoreInterrupt()
		parent.ExitWhenGone(0)
		if err := serveChild(parent); err != nil {
			fmt.Fprintln(os.Stderr, "nearfar: worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	serveFromEnv()
}

func serveChild(parent *child.Parent) error {
	var secret childSecret
	if err := json.Unmarshal(parent.Secret(), &secret); err != nil {
		return err
	}
	runtime.GOMAXPROCS(secret.Threads)
	if secret.MemoryLimit > 0 {
		debug.SetMemoryLimit(secret.MemoryLimit)
	}
	srv, l, err := newServer(WorkerConfig{
		Listen: secret.Network + "://" + secret.Addr, Name: secret.Name, Threads: secret.Threads, Token: secret.Token,
		MaxValueBytes: secret.MaxValue, HandshakeTimeout: secret.Handshake,
	})
	if err != nil {
		return err
	}
	srv.wire.HeartbeatTimeout = secret.Heartbeat
	report, err := json.Marshal(childReport{secret.Network, l.Addr().String()})
	if err != nil {
		return err
	}
	if err := parent.Ready(report); err != nil {
		return err
	}
	ctx, stop := notifyTerm()
	defer stop()
	return srv.serve(ctx, l, 0)
}
