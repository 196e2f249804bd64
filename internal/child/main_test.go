//go:build unix

package child_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/internal/child"
)

// roleVar says which of the roles a process that a test started plays.
const roleVar = "CHILD_TEST"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		play, ok := roles[role]
		if !ok {
			fail("no role %q", role)
		}
		play()
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")) // else an exit takes a second
	goleak.VerifyTestMain(m)
}

// fail ends a process that plays a role.
func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(3)
}

// as is a Config of this test binary in a role.
func as(role string, env ...string) child.Config {
	return child.Config{
		Env:          append(append(os.Environ(), roleVar+"="+role), env...),
		StartTimeout: time.Minute,
	}
}

// start starts a process that a test needs; it is killed at the test's end.
func start(t *testing.T, cfg child.Config) *child.Process {
	t.Helper()
	p, err := child.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	return p
}

// halt stops a process, and returns when it has stopped.
func halt(t *testing.T, p *child.Process) {
	t.Helper()
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.PID(), &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
}

// watch ends the test binary with all stacks if the test hangs.
func watch(t testing.TB) {
	t.Helper()
	name := t.Name()
	timer := time.AfterFunc(3*time.Minute, func() {
		debug.SetTraceback("all")
		panic(name + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}

// tidy is watch, and checks at the test's end that no descriptor and no process is left.
func tidy(t *testing.T) {
	t.Helper()
	watch(t)
	before := descriptors()
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return len(children()) == 0 }, 10*time.Second, time.Millisecond, "processes are left")
		assert.Eventually(t, func() bool { return len(descriptors()) <= len(before) }, 10*time.Second, time.Millisecond)
		if left := descriptors(); len(left) > len(before) {
			t.Errorf("descriptors before: %q, and after: %q", before, left)
		}
	})
}

// descriptors are the open ones, where /proc tells, without those of the runtime.
func descriptors() (open []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		to, err := os.Readlink(l)
		if err == nil && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "/proc/") {
			open = append(open, to)
		}
	}
	return open
}

// children are the processes that this one has not waited for, where /proc tells.
func children() (pids []string) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}
