package executor_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What takes the place of golang.org/x/sync/errgroup in a program.
const errgroupSwap = `package errgroup

import (
	"context"

	"github.com/nearfar/nearfar/executor"
)

type Group = executor.Group

func WithContext(ctx context.Context) (*Group, context.Context) {
	return executor.NewGroup(ctx, executor.Default())
}
`

// The tests of golang.org/x/sync/errgroup pass with Group in its place. They are taken
// from the module cache, and run in a module of their own, where nothing but the import
// path of errgroup is changed.
//
// None is left out. Two examples, ExampleGroup_justErrors, which needs the network, and
// ExampleGroup_pipeline, say no output: go test compiles those, and does not run them.
// That a panic crashes the program, which is where Group differs, none of them checks.
func TestErrgroupsOwnTests(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go tool is not installed: ", err)
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	goTool := func(dir, flags string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS="+flags, "GOWORK=off", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	read := func(path ...string) []byte {
		data, err := os.ReadFile(filepath.Join(path...))
		require.NoError(t, err)
		return data
	}
	dir := t.TempDir()
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, data, 0o666))
	}

	requires := regexp.MustCompile(`(?m)^module .*$`).ReplaceAll(read(root, "go.mod"), []byte("module swap"))
	write("go.mod", append(requires, "\nrequire github.com/nearfar/nearfar v0.0.0\n\nreplace github.com/nearfar/nearfar => "+strconv.Quote(root)+"\n"...))
	write("go.sum", read(root, "go.sum"))
	write("errgroup/errgroup.go", []byte(errgroupSwap))
	sync := goTool(root, "", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sync")
	files, err := filepath.Glob(filepath.Join(sync, "errgroup", "*_test.go"))
	require.NoError(t, err)
	var tests []string
	for _, file := range files {
		text := bytes.ReplaceAll(read(file), []byte(`"golang.org/x/sync/errgroup"`), []byte(`"swap/errgroup"`))
		write(filepath.Join("errgroup", filepath.Base(file)), text)
		for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			tests = append(tests, string(found[1]))
		}
	}
	require.NotEmpty(t, tests)

	out := goTool(dir, "-mod=mod", "test", "-v", "-timeout", "1m", "./errgroup")
	for _, name := range append(tests, "ExampleGroup_parallel") {
		assert.Contains(t, out, "--- PASS: "+name+" ")
	}
}
