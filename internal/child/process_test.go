//go:build unix

package child_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/child"
)

func TestWorkerGetsWhatItsParentHas(t *testing.T) {
	tidy(t)
	t.Setenv("NEARFAR_TOKEN", "t0ken")
	t.Setenv("OTHER", "too")
	t.Setenv(roleVar, "teller")
	for _, size := range []int{0, 1, 64 << 10, 1 << 19} {
		secret := bytes.Repeat([]byte("s3cret!"), size)[:size]
		p := start(t, child.Config{Secret: secret})
		var got told
		require.NoError(t, json.Unmarshal(p.Ready(), &got))
		assert.Equal(t, p.PID(), got.PID)
		assert.True(t, bytes.Equal(secret, got.Secret))
		assert.Equal(t, os.Args, got.Args)
		dir, _ := os.Getwd()
		assert.Equal(t, dir, got.Dir)
		assert.Contains(t, got.Env, "OTHER=too")
		for _, s := range slices.Concat(got.Args, got.Env) {
			assert.NotContains(t, s, "NEARFAR")
			assert.NotContains(t, s, "s3cret")
		}
		assert.Nil(t, p.Exit())
		p.Stop(time.Minute)
		assert.Equal(t, 0, p.Exit().Code)
	}
}

func TestWorkerGetsWhatItsConfigSays(t *testing.T) {
	tidy(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	cfg := as("teller", "NEARFAR_TOKEN_FILE=f", "NEARFAR_CHILD=of somebody else")
	cfg.Path, cfg.Args, cfg.Dir = program, []string{"teller", "-x"}, dir
	p := start(t, cfg)
	var got told
	require.NoError(t, json.Unmarshal(p.Ready(), &got))
	assert.Equal(t, cfg.Args, got.Args)
	assert.Equal(t, dir, got.Dir)
	assert.Contains(t, got.Env, "NEARFAR_TOKEN_FILE=f", "who gives an environment means it")
}

func TestStartSaysWhyItFailed(t *testing.T) {
	for role, test := range map[string]struct {
		timeout time.Duration
		code    int
		signal  string
		says    []string
	}{
		"exits":      {code: 0, says: []string{"ended before it was ready", "before it called remote.Init()", "exited with code 0, and nothing on stderr"}},
		"exits 5":    {code: 5, says: []string{"before it called remote.Init()", "exited with code 5"}},
		"panics":     {code: 2, says: []string{"ended before it was ready: process", "exited with code 2", "\tpanic: no disk", "goroutine 1"}},
		"killed":     {code: -1, signal: "killed", says: []string{"ended by a signal: killed"}},
		"no role":    {code: 3, says: []string{"\tno role"}},
		"recursive":  {code: 3, says: []string{child.ErrWorker.Error() + " but never called remote.Init()"}},
		"babbler":    {code: -1, signal: "killed", says: []string{"what it reported makes no sense", "not of this parent"}},
		"hangs":      {timeout: 200 * time.Millisecond, code: -1, signal: "killed", says: []string{"not ready after 200ms, and was killed"}},
		"forgetful":  {timeout: 200 * time.Millisecond, code: -1, signal: "killed", says: []string{"not ready after 200ms", "before it called remote.Init()"}},
		"mute":       {timeout: 200 * time.Millisecond, code: -1, signal: "killed", says: []string{"not ready after 200ms"}},
		"stray":      {code: 3, says: []string{"it takes itself for a worker"}},
		"grandchild": {timeout: 500 * time.Millisecond, code: -1, signal: "killed", says: []string{"before it called remote.Init()"}},
	} {
		t.Run(role, func(t *testing.T) {
			tidy(t)
			cfg := as(role)
			if test.timeout > 0 {
				cfg.StartTimeout = test.timeout
			}
			cfg.Secret = make([]byte, 1<<20) // more than a pipe holds
			p, err := child.Start(t.Context(), cfg)
			require.Error(t, err)
			assert.Nil(t, p)
			assert.Contains(t, err.Error(), "child: start of ")
			for _, s := range test.says {
				assert.Contains(t, err.Error(), s)
			}
			if role == "hangs" || role == "panics" {
				assert.NotContains(t, err.Error(), "remote.Init()", "it did call it")
			}
			var exit *child.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, test.code, exit.Code)
			assert.Equal(t, test.signal, exit.Signal)
			assert.Positive(t, exit.PID)
		})
	}
}

func TestStartOfWhatIsNoProgram(t *testing.T) {
	tidy(t)
	_, err := child.Start(t.Context(), child.Config{Path: "/no/such/program"})
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = child.Start(t.Context(), child.Config{Dir: "/no/such/directory"})
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestStartEndsWithItsCtx(t *testing.T) {
	tidy(t)
	stop := errors.New("no time")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(stop) })
	_, err := child.Start(ctx, as("hangs"))
	assert.ErrorIs(t, err, stop)
	_, err = child.Start(ctx, as("hangs"))
	assert.ErrorIs(t, err, stop)

	ctx, cancel = context.WithCancelCause(t.Context())
	p, err := child.Start(ctx, as("worker"))
	require.NoError(t, err)
	cancel(stop)
	p.Terminate()
	<-p.Done()
	assert.Equal(t, "terminated", p.Exit().Signal, "and not killed")
}

// It reported and ended at once: Start returns it, however the two race.
func TestReadyCountsAlsoOfOneThatHasEnded(t *testing.T) {
	tidy(t)
	for range 10 {
		p := start(t, as("ready once"))
		<-p.Done()
		assert.Equal(t, 6, p.Exit().Code)
	}
}

func TestLines(t *testing.T) {
	tidy(t)
	var inside atomic.Int32
	got := map[string][]string{}
	cfg := as("printer")
	cfg.Line = func(stream, line string) {
		if inside.Add(1) != 1 {
			t.Error("two at a time")
		}
		got[stream] = append(got[stream], line)
		inside.Add(-1)
	}
	p := start(t, cfg)
	<-p.Done()
	out := got["stdout"]
	require.Len(t, out, 6+10_000+1)
	assert.Equal(t, []string{"one", "two", "", "four"}, out[:4])
	assert.True(t, out[4] == strings.Repeat("x", 64<<10), "a line of 64 KiB is whole")
	assert.True(t, strings.HasPrefix(out[5], strings.Repeat("y", 64<<10)+" ... (cut"), "a longer one is not")
	assert.Less(t, len(out[5]), 65<<10)
	assert.Equal(t, "the end", out[len(out)-1])
	assert.Len(t, got["stderr"], 10_000)
	assert.Equal(t, strings.TrimSpace(strings.Repeat("err\n", 20)), p.Exit().Stderr)
}

func TestStop(t *testing.T) {
	for name, test := range map[string]struct {
		role   string
		grace  time.Duration
		stop   bool
		code   int
		signal string
	}{
		"one that listens":      {role: "worker", grace: time.Minute, code: 7},
		"one that is busy":      {role: "busy", grace: time.Minute, code: 7},
		"one that sleeps":       {role: "sleeper", grace: time.Minute, code: 7},
		"one that is very busy": {role: "crowd", grace: time.Minute, code: 7},
		"one that doesn't care": {role: "stubborn", grace: 20 * time.Millisecond, code: -1, signal: "killed"},
		"one that is stopped":   {role: "worker", grace: 20 * time.Millisecond, stop: true, code: -1, signal: "killed"},
		"without grace":         {role: "stubborn", code: -1, signal: "killed"},
	} {
		t.Run(name, func(t *testing.T) {
			tidy(t)
			p := start(t, as(test.role, "GOMAXPROCS=1"))
			if test.stop {
				halt(t, p)
			}
			p.Stop(test.grace)
			require.NotNil(t, p.Exit())
			assert.Equal(t, test.code, p.Exit().Code, p.Exit())
			assert.Equal(t, test.signal, p.Exit().Signal)
			p.Stop(time.Hour)
			p.Kill()
			p.Terminate()
		})
	}
}

func TestInterruptIsTheParentsToMind(t *testing.T) {
	tidy(t)
	var lines []string
	cfg := as("drainer")
	cfg.Line = func(_, line string) { lines = append(lines, line) }
	p := start(t, cfg)
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGINT))
	<-p.Done()
	assert.Equal(t, "interrupt", p.Exit().Signal)

	cfg.Env = append(cfg.Env, "CHILD_TEST_DEAF=1")
	p = start(t, cfg)
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGINT))
	p.Terminate()
	<-p.Done()
	assert.Equal(t, 9, p.Exit().Code, p.Exit())
	assert.Equal(t, []string{" signal: interrupt", " signal: interrupt"}, lines, "what a worker starts is not deaf")
}

func TestWhatAWorkerStartsHoldsNothing(t *testing.T) {
	tidy(t)
	cfg := as("breeder")
	lines := make(chan string, 10)
	cfg.Line = func(_, line string) { lines <- line }
	p := start(t, cfg)
	pid, err := strconv.Atoi(string(p.Ready()))
	require.NoError(t, err)
	defer syscall.Kill(pid, syscall.SIGKILL)
	assert.Equal(t, "grandchild false []", <-lines, "no mark, no pipe")
	p.Stop(time.Minute) // it sees the end of its lifeline, and Done does not wait for the other
	assert.Equal(t, 7, p.Exit().Code)
	assert.NoError(t, syscall.Kill(pid, 0), "the grandchild lives")
}

func TestStrayVariable(t *testing.T) {
	for name, value := range map[string]string{
		"no mark":        "1",
		"another's mark": "NONCE 1:2 3:4",
		"empty":          "",
	} {
		t.Run(name, func(t *testing.T) {
			tidy(t)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			_, err = w.WriteString("NONCE\x00\x00\x00\x00mine")
			require.NoError(t, err)
			w.Close()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVar+"=stray", "NEARFAR_CHILD="+value)
			cmd.ExtraFiles = []*os.File{r, os.Stderr}
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			r.Close()
			assert.NoError(t, err)
			assert.Contains(t, string(out), "NEARFAR_CHILD")
			assert.Contains(t, string(out), "left: NONCE\x00\x00\x00\x00mine <nil>")
		})
	}
}

func TestWrappers(t *testing.T) {
	tidy(t)
	for script, works := range map[string]bool{
		`exec "$@"`:                  true,
		`"$@"; exit $?`:              true,
		`exec "$@" 3<&- 4>&-`:        false,
		`exec "$@" 3</dev/null 4>&-`: false,
	} {
		cfg := as("worker")
		if !works {
			cfg = as("recursive wrapped")
		}
		cfg.Path, cfg.Args = "/bin/sh", []string{"sh", "-c", script, "sh", os.Args[0]}
		p, err := child.Start(t.Context(), cfg)
		if !works {
			assert.ErrorContains(t, err, "its pipes to the parent are gone", script)
			continue
		}
		require.NoError(t, err, script)
		p.Stop(time.Minute)
		assert.Equal(t, 7, p.Exit().Code, script)
	}
}

// Whoever else reaps a process takes the news of its end with him, but not the end.
func TestEndThatSomebodyElseSaw(t *testing.T) {
	tidy(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"=negligent")
	out, err := cmd.CombinedOutput()
	assert.NoError(t, err)
	assert.Regexp(t, `^process \d+ ended, and how is not known: .*no child process`, string(out))
}

func TestManyTogether(t *testing.T) {
	tidy(t)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			cfg := as("teller")
			cfg.Secret = fmt.Append(nil, "secret ", i)
			p, err := child.Start(t.Context(), cfg)
			if !assert.NoError(t, err) {
				return
			}
			var got told
			assert.NoError(t, json.Unmarshal(p.Ready(), &got))
			assert.Equal(t, string(cfg.Secret), string(got.Secret))
			p.Stop(time.Minute) // the others hold no end of its lifeline
			assert.Equal(t, 0, p.Exit().Code)
		})
	}
	all.Wait()
}
