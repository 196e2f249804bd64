package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/nearfar/nearfar/executor"
)

// splitListen takes the URL of a listener apart.
func splitListen(listen string) (network, addr string, err error) {
	network, addr, ok := strings.Cut(listen, "://")
	if !ok || addr == "" || network != "tcp" && network != "tls" && network != "unix" {
		return "", "", fmt.Errorf("%w: WorkerConfig.Listen: %q; give tcp://host:port, tls://host:port, or unix:///path", executor.ErrConfig, listen)
	}
	if network == "unix" {
		return network, addr, nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return "", "", fmt.Errorf("%w: WorkerConfig.Listen: %w", executor.ErrConfig, err)
	}
	return network, addr, nil
}

// netOf is the network below a backend.
func netOf(backend string) string {
	if backend == "unix" {
		return "unix"
	}
	return "tcp"
}

func listeningOn(listen string, addr net.Addr) string {
	network, _, _ := strings.Cut(listen, "://")
	return network + "://" + addr.String()
}

// isLoopback reports whether only this machine can reach addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func readToken(token, file string) ([]byte, error) {
	switch {
	case token != "" && file != "":
		return nil, fmt.Errorf("%w: both a token and a token file; give one", executor.ErrConfig)
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w: TokenFile: %w", executor.ErrConfig, err)
		}
		token = strings.TrimSpace(string(data))
		if token == "" {
			return nil, fmt.Errorf("%w: TokenFile: %s is empty", executor.ErrConfig, file)
		}
	}
	if token == "" {
		return nil, nil
	}
	return []byte(token), nil
}

func readCA(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: CAFile: %w", executor.ErrConfig, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%w: CAFile: %s has no certificates in PEM", executor.ErrConfig, file)
	}
	return pool, nil
}

func readCertificate(cert, key string) ([]tls.Certificate, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%w: CertFile and KeyFile: %w", executor.ErrConfig, err)
	}
	return []tls.Certificate{c}, nil
}

func serverTLS(cfg WorkerConfig) (*tls.Config, error) {
	certs, err := readCertificate(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	if certs == nil {
		return nil, fmt.Errorf("%w: WorkerConfig.CertFile and KeyFile: a worker on tls:// has to have them", executor.ErrConfig)
	}
	ca, err := readCA(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{Certificates: certs, ClientCAs: ca, MinVersion: tls.VersionTLS13}
	if ca != nil {
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

func clientTLS(cfg executor.Config) (*tls.Config, error) {
	certs, err := readCertificate(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	ca, err := readCA(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: certs, RootCAs: ca, MinVersion: tls.VersionTLS13}, nil
}

// build says which program this is, for the log.
var build = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Path + "@" + s.Value
		}
	}
	return info.Path
})

func notifyTerm() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// serveFromEnv serves as NEARFAR_WORKER says, if it is set.
func serveFromEnv() {
	spec := os.Getenv("NEARFAR_WORKER")
	if spec == "" {
		return
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "nearfar: worker:", err)
		os.Exit(1)
	}
	cfg, err := workerFromURL(spec)
	if err != nil {
		fail(err)
	}
	cfg.Token, cfg.TokenFile = os.Getenv("NEARFAR_TOKEN"), os.Getenv("NEARFAR_TOKEN_FILE")
	cfg.CertFile, cfg.KeyFile, cfg.CAFile = os.Getenv("NEARFAR_TLS_CERT"), os.Getenv("NEARFAR_TLS_KEY"), os.Getenv("NEARFAR_TLS_CA")
	for _, name := range []string{"NEARFAR_WORKER", "NEARFAR_TOKEN"} {
		if err := os.Unsetenv(name); err != nil {
			fail(err)
		}
	}
	if cfg.Threads > 0 {
		runtime.GOMAXPROCS(cfg.Threads)
	}
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(cfg.MemoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := Serve(ctx, cfg); err != nil {
		fail(err)
	}
	os.Exit(0)
}

// workerFromURL reads NEARFAR_WORKER.
func workerFromURL(spec string) (cfg WorkerConfig, err error) {
	base, query, _ := strings.Cut(spec, "?")
	cfg.Listen = base
	wrong := func(format string, args ...any) (WorkerConfig, error) {
		return cfg, fmt.Errorf("%w: NEARFAR_WORKER: "+format, append([]any{executor.ErrConfig}, args...)...)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return wrong("%w", err)
	}
	for key, list := range values {
		if len(list) != 1 {
			return wrong("%s is given %d times", key, len(list))
		}
		number := func(into *int) error {
			n, err := strconv.Atoi(list[0])
			if err != nil || n < 1 {
				return fmt.Errorf("%w: NEARFAR_WORKER: %s: %q is no number above 0", executor.ErrConfig, key, list[0])
			}
			*into = n
			return nil
		}
		switch key {
		case "workers":
			err = number(&cfg.Workers)
		case "threads":
			err = number(&cfg.Threads)
		case "name":
			cfg.Name = list[0]
		case "insecure":
			if cfg.Insecure, err = strconv.ParseBool(list[0]); err != nil {
				return wrong("insecure: %q is neither true nor false", list[0])
			}
		default:
			return wrong("unknown key %q; there are workers, threads, name and insecure", key)
		}
		if err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}
