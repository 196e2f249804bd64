package examples_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ready begins the line that a worker prints when it listens.
const ready = "nearfar: worker "

// startWorker starts a program as a worker, and returns the DSN of a client. The
// worker ends with the test, when it is asked to.
func startWorker(t *testing.T, program, listen string) (dsn string) {
	t.Helper()
	return start(t, program, []string{"NEARFAR_WORKER=" + listen})
}

func start(t *testing.T, program string, env []string, args ...string) (dsn string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "NEARFAR_") }), env...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, all := make(chan string, 1), make(chan string, 1)
	go func() { // ends with the worker
		var text strings.Builder
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			text.WriteString(lines.Text() + "\n")
			if _, addr, ok := strings.Cut(lines.Text(), " listening on "); ok && strings.HasPrefix(lines.Text(), ready) {
				said <- addr
			}
		}
		all <- text.String()
	}()
	t.Cleanup(func() {
		stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer stuck.Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended, of which Wait tells
		text := <-all
		assert.NoError(t, cmd.Wait(), text)
	})
	select {
	case dsn = <-said:
	case text := <-all:
		all <- text
		require.Fail(t, "the worker has ended", text)
	case <-time.After(time.Minute):
		require.Fail(t, "the worker does not listen")
	}
	return dsn
}

// A program is worker and client, as the README shows it in two terminals.
func twoTerminals(t *testing.T, dir string) {
	if !far {
		t.Skip("no workers here")
	}
	program := filepath.Join(dir, "tcpworkers")
	first := start(t, program, nil, "-serve", "tcp://127.0.0.1:0", "-threads", "2")
	second := start(t, program, nil, "-serve", "tcp://127.0.0.1:0")
	at := first + "," + strings.TrimPrefix(second, "tcp://")
	out, errs, err := run(t, at, program, "-height", "8")
	require.NoError(t, err, errs)
	want, _, err := run(t, "", program, "-height", "8")
	require.NoError(t, err)
	assert.Equal(t, want, out)
	assert.Equal(t, 2, strings.Count(errs, ": process "), errs)

	matrix := filepath.Join(dir, "matrix")
	_, errs, err = run(t, at, matrix)
	require.Error(t, err, "workers that are other programs")
	assert.Contains(t, errs, "no such function", "says what they lack")
}
