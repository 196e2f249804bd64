package examples_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each program, how it is run, and what must be in its output, in this order.
var programs = map[string]struct {
	args []string
	want []string
}{
	"quickstart": {want: []string{
		"125.66 <nil>\n", "1000 3135312.61 <nil>\n", "1045627278.47 <nil>\n",
		"area of -1: a radius must not be negative true\n", "futures: cancelled: lunch cancelled\n",
	}},
	"fib":      {args: []string{"-n", "12"}, want: []string{"fib(12) = 144\n"}},
	"pipeline": {args: []string{"-above", "1000000", "-count", "3"}, want: []string{"1000003\n1000033\n1000037\n"}},
	"errgroup": {want: []string{"near\nand\nfar\nfirst group: <nil>\n", "second group: a panic: out of cheese\n"}},
	"gosource": {args: []string{sources}, want: []string{
		"package", "used most\n", "apples ", " core (3) ", " n int seed\n", "pears ", "all 2 packages ", " core (3) ",
	}},
	"matrix": {want: []string{
		"asked where it is: 1000 x 1000\n", "asked at home:     1000 x 1000\n", "the sums agree:    true\n",
	}},
	"tcpworkers": {args: []string{"-height", "8"}, want: []string{".......:::::-", "@@@@@@@@@@", ".......:::::-"}},
}

// sources stands for a folder of Go files.
const sources = "SOURCES"

var goFiles = map[string]string{
	"apples/apple.go":  "package apples\n\nfunc seed(n int) int { return n }\n\nfunc core(n int) int {\n\treturn seed(n) + seed(n)\n}\n",
	"apples/apple2.go": "package apples\n\nvar n = core(seed(1))\n",
	"pears/pear.go":    "package pears\n\ntype pear struct{}\n",
	".hidden/no.go":    "package hidden\n\nthis is not Go\n",
}

// Where programs run: near, and in processes, of which tcp are started by the test.
var (
	near = []string{"local://", "local://?threads=1", "local://?strict=true"}
	proc = []string{"proc://?workers=2", "proc://?workers=1&threads=2&transport=unix"}
)

// far is false where there are no worker processes (R15).
const far = runtime.GOOS != "windows"

func TestPrograms(t *testing.T) {
	dir := build(t)
	t.Run("SameEverywhere", func(t *testing.T) { sameEverywhere(t, dir) })
	t.Run("ReadTheEnvironment", func(t *testing.T) { readTheEnvironment(t, dir) })
	t.Run("TwoTerminals", func(t *testing.T) { twoTerminals(t, dir) })
	t.Run("SayWhatIsWrong", func(t *testing.T) { sayWhatIsWrong(t, dir) })
}

// build builds all programs, and returns the folder where they are.
func build(t *testing.T) (dir string) {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go tool is not installed: ", err)
	}
	// What the go tool reads is unknown to the test cache; what is walked here is not.
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return filepath.SkipDir
		}
		return err
	}))
	dir = t.TempDir()
	out, err := exec.Command(tool, "build", "-o", dir, "./...").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// A program says the same, byte for byte, wherever it runs.
func sameEverywhere(t *testing.T, dir string) {
	folder := t.TempDir()
	for name, text := range goFiles {
		path := filepath.Join(folder, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	}
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			args := slices.Clone(p.args)
			if i := slices.Index(args, sources); i >= 0 {
				args[i] = folder
			}
			program := filepath.Join(dir, name)
			dsns := near
			if far {
				dsns = slices.Concat(near, proc, []string{startWorker(t, program, "tcp://127.0.0.1:0?threads=2")})
			}
			first := ""
			for i, dsn := range dsns {
				out, errs, err := run(t, "", program, append([]string{"-executor", dsn}, args...)...)
				require.NoError(t, err, "%s\n%s", dsn, errs)
				if i == 0 {
					first = out
				}
				assert.Equal(t, first, out, "%s differs from %s", dsn, dsns[0])
			}
			rest := first
			for _, want := range p.want {
				var found bool
				_, rest, found = strings.Cut(rest, want)
				require.True(t, found, "%q is not where it should be in\n%s", want, first)
			}
		})
	}
}

// Without the flag, a program runs where the environment says.
func readTheEnvironment(t *testing.T, dir string) {
	fib := filepath.Join(dir, "fib")
	_, errs, err := run(t, "local://?threads=3", fib, "-n", "2")
	require.NoError(t, err, errs)
	assert.Contains(t, errs, "on 3 slots")
	_, errs, err = run(t, "", fib, "-n", "2")
	require.NoError(t, err, errs)
	assert.Contains(t, errs, "on 1 slots", "the default of fib")
	if far {
		_, errs, err = run(t, "proc://?workers=3", fib, "-n", "2")
		require.NoError(t, err, errs)
		assert.Contains(t, errs, "on 3 slots")
	}
}

func sayWhatIsWrong(t *testing.T, dir string) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		assert.Contains(t, programs, e.Name(), "a program without a test")
		out, errs, err := run(t, "", filepath.Join(dir, e.Name()), "-executor", "local://?treads=4")
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 1, exit.ExitCode())
		assert.Empty(t, out)
		assert.Contains(t, errs, "treads")
		assert.Contains(t, errs, "threads", "what was meant")
	}
}

// run runs a program, with NEARFAR_EXECUTOR set to env, and ends it if it hangs.
func run(t *testing.T, env, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("it hangs"))
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "NEARFAR_EXECUTOR="+env)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out.String(), errs.String(), err
}
