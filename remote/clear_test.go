package remote_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

// connectTimeout is what New has in these tests, and leeway what a busy machine may add.
const (
	connectTimeout = time.Second
	leeway         = 4 * time.Second
)

func impatient(c *executor.Config) { c.ConnectTimeout = connectTimeout }

// requireQuick runs f, which must not take longer than ConnectTimeout.
func requireQuick(t *testing.T, f func()) {
	t.Helper()
	began := time.Now()
	f()
	took := time.Since(began)
	t.Logf("it took %v", took)
	require.Less(t, took, connectTimeout+leeway)
}

// other is registered with another argument type, or not at all, by a worker that this
// test binary becomes when REMOTE_TEST_SOURCES is set: as if built from other sources.
func init() {
	switch os.Getenv("REMOTE_TEST_SOURCES") {
	case "missing":
	case "changed":
		executor.Register(changed, executor.WithName("other"))
	default:
		executor.Register(other, executor.WithName("other"))
	}
}

func changed(context.Context, string) (int, error) { return 0, nil }

func other(_ context.Context, x int) (int, error) { return x, nil }

func TestWorkerFromOtherSources(t *testing.T) {
	for sources, says := range map[string]string{"missing": "no such function", "changed": "argument"} {
		t.Run(sources, func(t *testing.T) {
			ctx := watch(t)
			w := startWorker(t, "tcp://127.0.0.1:0?threads=1", "REMOTE_TEST_SOURCES="+sources)
			ex := open(t, w.addr, impatient)
			requireQuick(t, func() {
				_, err := executor.Submit(ctx, ex, other, 1).Result(ctx)
				require.ErrorIs(t, err, executor.ErrNotRegistered)
				assert.ErrorContains(t, err, says)
				assert.ErrorContains(t, err, w.name)
				_, err = executor.Map(ctx, ex, other, []int{1, 2}).Results(ctx)
				require.ErrorIs(t, err, executor.ErrNotRegistered)
			})
			v, err := executor.Submit(ctx, ex, squared, 4).Result(ctx)
			require.NoError(t, err, "what both have runs")
			assert.Equal(t, 16, v)
			right := startWorker(t, "tcp://127.0.0.1:0?threads=1")
			both := open(t, w.addr+","+strings.TrimPrefix(right.addr, "tcp://"))
			for i := range 20 {
				v, err := executor.Submit(ctx, both, other, i).Result(ctx)
				require.NoError(t, err, "a worker that has it runs it")
				assert.Equal(t, i, v)
			}
		})
	}
}

func unregistered(_ context.Context, x int) (int, error) { return x, nil }

func TestUnregisteredFunction(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=1")
	_, err := executor.Submit(ctx, ex, unregistered, 1).Result(ctx)
	require.ErrorIs(t, err, executor.ErrNotRegistered)
	assert.ErrorContains(t, err, "unregistered")
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	requireQuick(t, func() {
		_, err := tryOpen(t, "tcp://"+addr, impatient)
		require.ErrorIs(t, err, remote.ErrHandshake)
		assert.ErrorContains(t, err, "refused")
		assert.ErrorContains(t, err, addr)
	})
	requireQuick(t, func() {
		_, err := tryOpen(t, "unix:///tmp/nearfar-nobody.sock", impatient)
		require.ErrorIs(t, err, remote.ErrHandshake)
	})
}

func TestSomethingElseListens(t *testing.T) {
	t.Run("HTTP", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		requireQuick(t, func() {
			_, err := tryOpen(t, "tcp://"+srv.Listener.Addr().String(), impatient)
			require.ErrorIs(t, err, remote.ErrHandshake)
			assert.ErrorContains(t, err, "HTTP")
		})
	})
	t.Run("silence", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		requireQuick(t, func() {
			_, err := tryOpen(t, "tcp://"+l.Addr().String(), impatient)
			require.ErrorIs(t, err, remote.ErrHandshake)
			assert.ErrorContains(t, err, "said nothing")
		})
	})
	t.Run("closes", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() { // ends with l
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
		requireQuick(t, func() {
			_, err := tryOpen(t, "tcp://"+l.Addr().String(), impatient)
			require.ErrorIs(t, err, remote.ErrHandshake)
		})
	})
	t.Run("TLS", func(t *testing.T) {
		srv := httptest.NewTLSServer(http.NotFoundHandler())
		defer srv.Close()
		requireQuick(t, func() {
			_, err := tryOpen(t, "tcp://"+srv.Listener.Addr().String(), impatient)
			require.ErrorIs(t, err, remote.ErrHandshake)
		})
	})
}

func TestTokens(t *testing.T) {
	w := startWorker(t, "tcp://127.0.0.1:0?threads=1", "NEARFAR_TOKEN=right")
	for name, token := range map[string]string{"wrong": "wrong", "none": ""} {
		t.Run(name, func(t *testing.T) {
			requireQuick(t, func() {
				_, err := tryOpen(t, w.addr, impatient, func(c *executor.Config) { c.Token = token })
				require.ErrorIs(t, err, remote.ErrAuth)
				assert.NotContains(t, err.Error(), "right")
			})
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		open := startWorker(t, "tcp://127.0.0.1:0?threads=1")
		_, err := tryOpen(t, open.addr, impatient, func(c *executor.Config) { c.Token = "right" })
		require.ErrorIs(t, err, remote.ErrAuth)
	})
	t.Run("right", func(t *testing.T) {
		ctx := watch(t)
		ex := open(t, w.addr, impatient, func(c *executor.Config) { c.Token = "right" })
		v, err := executor.Submit(ctx, ex, environment, "NEARFAR_TOKEN").Result(ctx)
		require.NoError(t, err)
		assert.Empty(t, v, "Init unsets it")
	})
}

func init() { executor.Register(environment) }

func environment(_ context.Context, name string) (string, error) { return os.Getenv(name), nil }

// A certificate of an authority that the client does not know, or a client without one.
func TestWrongCertificates(t *testing.T) {
	files, others := certificates(t), certificates(t)
	w := startWorker(t, "tls://127.0.0.1:0?threads=1", "NEARFAR_TLS_CERT="+files.cert, "NEARFAR_TLS_KEY="+files.key, "NEARFAR_TLS_CA="+files.ca)
	for name, query := range map[string]string{
		"another authority": "?ca=" + others.ca + "&cert=" + files.cert + "&key=" + files.key,
		"no certificate":    "?ca=" + files.ca,
		"a stranger's":      "?ca=" + files.ca + "&cert=" + others.cert + "&key=" + others.key,
	} {
		t.Run(name, func(t *testing.T) {
			requireQuick(t, func() {
				_, err := tryOpen(t, w.addr+query, impatient)
				require.ErrorIs(t, err, remote.ErrAuth)
			})
		})
	}
}

func TestWorkersThatRefuseToStart(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		env  []string
		says string
	}{
		"off loopback":               {"tcp://0.0.0.0:0", nil, "loopback"},
		"off loopback with token":    {"tcp://0.0.0.0:0", []string{"NEARFAR_TOKEN=x"}, "loopback"},
		"all interfaces":             {"tcp://:0", nil, "loopback"},
		"tls without a certificate":  {"tls://127.0.0.1:0", nil, "CertFile"},
		"no scheme":                  {"127.0.0.1:0", nil, "tcp://host:port"},
		"unknown scheme":             {"udp://127.0.0.1:0", nil, "tcp://host:port"},
		"no port":                    {"tcp://127.0.0.1", nil, "port"},
		"unknown key":                {"tcp://127.0.0.1:0?treads=2", nil, "threads"},
		"no number":                  {"tcp://127.0.0.1:0?threads=many", nil, "number"},
		"given twice":                {"tcp://127.0.0.1:0?threads=1&threads=2", nil, "2 times"},
		"token file that is missing": {"tcp://127.0.0.1:0", []string{"NEARFAR_TOKEN_FILE=/nonexistent"}, "TokenFile"},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t)
			w := launchWorker(t, c.spec, c.env...)
			select {
			case <-w.ended:
			case <-w.line:
				t.Fatalf("it listens: %s", w.said())
			case <-time.After(patience):
				t.Fatal("it does neither listen nor end")
			}
			assert.Equal(t, 1, w.ProcessState.ExitCode())
			assert.Contains(t, w.said(), c.says)
			assert.NotContains(t, w.said(), "goroutine")
		})
	}
	t.Run("insecure", func(t *testing.T) { startWorker(t, "tcp://0.0.0.0:0?insecure=true") })
}

// A port that is taken.
func TestPortIsTaken(t *testing.T) {
	w := startWorker(t, "tcp://127.0.0.1:0")
	second := launchWorker(t, w.addr)
	select {
	case <-second.ended:
	case <-time.After(patience):
		t.Fatal("it has not ended")
	}
	assert.Contains(t, second.said(), "in use")
}

// Programs that never call remote.Init: one whose main opens an executor, and one whose
// main, run as a worker, does something else.
func TestProgramsWithoutInit(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "forgot")
	out, err := exec.Command("go", "build", "-o", program, "./testdata/forgot").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, mode := range []string{"opens", "waits", "ends"} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, program)
			cmd.Env = append(plainEnv(), "FORGOT="+mode)
			requireQuick(t, func() {
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				require.True(t, errors.As(err, &exit), "%v: %s", err, out)
				assert.Equal(t, 2, exit.ExitCode(), "%s", out)
				assert.Contains(t, string(out), "remote.Init()")
			})
		})
	}
}
