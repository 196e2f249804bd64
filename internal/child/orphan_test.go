//go:build unix

package child_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var orphanRuns = flag.Int("orphans", 5, "how often each way of ending a parent is tried")

// A parent dies; its workers, one that waits, one in a loop on its only thread, and one in the
// kernel, must be gone within 2 s. Each holds a connection, whose end says that it is gone.
func TestWorkersNeverOutliveTheirParent(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, parent *exec.Cmd, say func(string)){
		"SIGKILL": func(t *testing.T, parent *exec.Cmd, _ func(string)) { require.NoError(t, parent.Process.Kill()) },
		"exit":    func(_ *testing.T, _ *exec.Cmd, say func(string)) { say("x") },
		"panic":   func(_ *testing.T, _ *exec.Cmd, say func(string)) { say("p") },
	} {
		t.Run(name, func(t *testing.T) {
			tidy(t)
			var longest time.Duration
			for range *orphanRuns {
				longest = max(longest, orphan(t, end))
			}
			t.Logf("%d runs of 3 workers: the last was gone %v after its parent at most", *orphanRuns, longest)
			assert.Less(t, longest, 2*time.Second)
		})
	}
}

// orphan has a parent start 3 workers and end, and returns how long the last one lived.
func orphan(t *testing.T, end func(t *testing.T, parent *exec.Cmd, say func(string))) time.Duration {
	dir, err := os.MkdirTemp("", "nf")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer l.Close()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), roleVar+"=parent", "CHILD_TEST_SOCKET="+l.Addr().String())
	stdin, err := parent.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	defer parent.Wait()
	defer parent.Process.Kill()
	require.NoError(t, l.(*net.UnixListener).SetDeadline(time.Now().Add(time.Minute)))
	var workers []net.Conn
	for range 3 {
		c, err := l.Accept()
		require.NoError(t, err)
		defer c.Close()
		_, err = bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		workers = append(workers, c)
	}
	began := time.Now()
	end(t, parent, func(s string) { stdin.Write([]byte(s)) })
	for _, c := range workers {
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		n, err := c.Read(make([]byte, 1))
		require.Zero(t, n)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	return time.Since(began)
}

// A parent may die at any moment: while it forks, before the secret is written, between the
// greeting and the report.
func TestParentsKilledAtAnyMoment(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only /proc tells who is there")
	}
	tidy(t)
	for range 4 * *orphanRuns {
		token := "CHILD_TEST_TOKEN=" + rand.Text()
		parent := exec.Command(os.Args[0])
		parent.Env = append(os.Environ(), roleVar+"=hasty", token)
		require.NoError(t, parent.Start())
		moment := time.Duration(mathrand.Int64N(int64(100 * time.Millisecond)))
		time.Sleep(moment)
		require.NoError(t, parent.Process.Kill())
		parent.Wait()
		assert.Eventually(t, func() bool { return len(with(token)) == 0 }, 10*time.Second, time.Millisecond, "killed after %v", moment)
		for _, p := range with(token) {
			t.Error(p)
		}
	}
}

// with finds the processes whose environment has a variable.
func with(variable string) (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, _ := os.ReadFile(d + "/environ") // empty of one that has ended and waits for its parent
		if bytes.Contains(env, []byte(variable)) {
			state, _ := os.ReadFile(d + "/stat")
			found = append(found, fmt.Sprint(d, " ", strings.TrimSpace(string(state))))
		}
	}
	return found
}

// A program that never asks whether it is a worker starts one process, and that one none.
func TestNoForkBomb(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only /proc tells who is there")
	}
	tidy(t)
	token := "CHILD_TEST_TOKEN=" + rand.Text()
	count := filepath.Join(t.TempDir(), "starts")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"=careless", token, "CHILD_TEST_COUNT="+count)
	out, err := cmd.CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(out), "but never called remote.Init()")
	assert.Empty(t, with(token))
	starts, err := os.ReadFile(count)
	require.NoError(t, err)
	assert.Equal(t, "..", string(starts), "the program, and one worker")
}
