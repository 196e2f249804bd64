package remote_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// A client that is killed: this program again, with REMOTE_TEST_CLIENT in its environment,
// which its workers inherit. TestMain has it call clientMain.
const clientVar = "REMOTE_TEST_CLIENT"

// clientMain keeps its workers busy until it is killed.
func clientMain() {
	ctx := context.Background()
	cfg, err := executor.ParseDSN("proc://?workers=2&threads=2")
	exitIf(err)
	cfg.Logger = slog.New(slog.DiscardHandler)
	ex, err := executor.New(ctx, cfg)
	exitIf(err)
	began := os.Getenv("REMOTE_TEST_BEGAN")
	for range 2 {
		executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: began + "-never"}) // waits
		executor.Submit(ctx, ex, busy, began)                                           // does not heed its ctx
	}
	select {}
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func init() { executor.Register(busy) }

// busy never returns, and takes a CPU.
func busy(_ context.Context, began string) (int, error) {
	if err := appendLine(began, fmt.Sprint(os.Getpid())); err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if n < 0 {
			return n, nil
		}
	}
}

func TestWorkersDieWithTheirClient(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only /proc tells who is there")
	}
	runs := 50
	if testing.Short() {
		runs = 5
	}
	var longest time.Duration
	for range runs {
		longest = max(longest, killClient(t))
	}
	t.Logf("%d runs of 2 workers: the last was gone %v after its client at most", runs, longest)
	assert.Less(t, longest, 2*time.Second)
}

func killClient(t *testing.T) time.Duration {
	t.Helper()
	token := rand.Text()
	began := tempFile(t, token)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(plainEnv(), clientVar+"="+token, "REMOTE_TEST_BEGAN="+began)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	eventually(t, "the workers are busy", func() bool { return lines(began) == 4 })
	require.Len(t, processesWith(clientVar+"="+token), 3, "a client and 2 workers: %s", &stderr)
	require.NoError(t, cmd.Process.Kill())
	at := time.Now()
	eventually(t, "no worker is left", func() bool { return len(processesWith(clientVar+"="+token)) == 0 })
	return time.Since(at)
}

// processesWith are the processes whose environment has a variable.
func processesWith(variable string) (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, _ := os.ReadFile(d + "/environ") // empty of one that has ended and waits for its parent
		if bytes.Contains(env, []byte(variable)) {
			found = append(found, d)
		}
	}
	return found
}

// children are the processes whose parent is this one.
func children(t *testing.T) (found []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, s := range stats {
		data, _ := os.ReadFile(s)
		_, rest, _ := strings.Cut(string(data), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == fmt.Sprint(os.Getpid()) {
			found = append(found, string(data))
		}
	}
	return found
}

func descriptors(t *testing.T) (found []string) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range dir {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			found = append(found, to)
		}
	}
	return found
}

// After Close nothing is left, whatever was under way.
func TestCloseLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only /proc tells what is there")
	}
	for _, dsn := range []string{"proc://?workers=2&threads=2", "proc://?workers=2&threads=1&transport=unix", "tcp"} {
		t.Run(dsn, func(t *testing.T) {
			ctx := watch(t)
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			at := dsn
			if dsn == "tcp" {
				at = listeners(t, "tcp", 2, 1)
			}
			began := filepath.Join(t.TempDir(), "began")
			procs, files, routines := children(t), descriptors(t), runtime.NumGoroutine()
			cfg, err := executor.ParseDSN(at)
			require.NoError(t, err)
			cfg.CloseGrace, cfg.Logger = 50*time.Millisecond, slog.New(slog.DiscardHandler)
			ex, err := executor.New(ctx, cfg)
			require.NoError(t, err)
			kept := executor.Submit(ctx, ex, vector, megabyte8/8)
			require.NoError(t, kept.Wait(ctx))
			executor.Map(ctx, ex, spin, make([]int, 10_000))
			executor.Submit(ctx, ex, passGate, Gate{Began: began, Until: began + "-never"}, executor.WithPriority(1))
			executor.Submit(ctx, ex, die, "kill", executor.WithPriority(1))
			eventually(t, "start", func() bool { return lines(began) > 0 })
			require.NoError(t, ex.Close())
			if dsn != "tcp" { // where a listening worker has been killed by die
				assert.Equal(t, len(procs), len(children(t)), "processes: %q", children(t))
			}
			eventually(t, "goroutines", func() bool { return runtime.NumGoroutine() <= routines })
			assert.LessOrEqual(t, len(descriptors(t)), len(files), "descriptors: before %q, after %q", files, descriptors(t))
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, f := range left {
				assert.False(t, strings.HasPrefix(f.Name(), "nf") && dsn != "tcp", "the directory %s", f.Name())
			}
		})
	}
}
