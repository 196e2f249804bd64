package nearfar_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/nearfar/nearfar"

// A pkg is what `go list` says of a package of this module.
type pkg struct {
	ImportPath                         string
	Deps                               []string // of what is built, direct or not
	Imports, TestImports, XTestImports []string
}

// name is the import path within the module.
func (p pkg) name() string { return within(p.ImportPath) }

// within is an import path within the module, or "" if it is outside.
func within(path string) string {
	name, _ := strings.CutPrefix(path, module+"/")
	if name == path {
		return ""
	}
	return name
}

// goTool runs the go tool in the root of the module, whatever the user's settings are.
func goTool(t *testing.T, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go tool is not installed: ", err)
	}
	cmd := exec.Command(tool, args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, failed.Stderr)
	}
	require.NoError(t, err)
	return string(out)
}

// packages are those of the module, without what stands alone in a nested one.
func packages(t *testing.T) (pkgs []pkg) {
	t.Helper()
	// What the go tool reads is unknown to the test cache; what is walked here is not.
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	}))
	in := json.NewDecoder(strings.NewReader(goTool(t, "list", "-buildvcs=false", "-json=ImportPath,Deps,Imports,TestImports,XTestImports", "./...")))
	for {
		var p pkg
		err := in.Decode(&p)
		if err == io.EOF {
			return pkgs
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
}

// in reports whether a package is root or below it.
func in(name, root string) bool { return name == root || strings.HasPrefix(name, root+"/") }

// Each layer of the module, and those that it must not know, by way of others either.
var unknownTo = map[string][]string{
	"internal/cell":         {"internal", "futures", "pool", "executor", "remote", "bench", "examples"},
	"internal/codec":        {"internal/cell", "futures", "pool", "executor", "remote", "bench", "examples"},
	"internal/wire":         {"internal/cell", "internal/codec", "futures", "pool", "executor", "remote", "bench", "examples"},
	"internal/child":        {"internal/cell", "internal/codec", "futures", "pool", "executor", "remote", "bench", "examples"},
	"futures":               {"pool", "executor", "remote", "bench", "examples"},
	"pool":                  {"futures", "executor", "remote", "bench", "examples"},
	"executor":              {"remote", "bench", "examples", "executor/executortest"},
	"executor/executortest": {"remote", "bench", "examples"},
	"remote":                {"bench", "examples", "executor/executortest"},
}

func TestImportsGoOneWay(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		seen[p.name()] = true
		for layer, unknown := range unknownTo {
			if !in(p.name(), layer) || layer == "executor" && in(p.name(), "executor/executortest") {
				continue
			}
			for _, dep := range p.Deps {
				for _, u := range unknown {
					if in(within(dep), u) && within(dep) != p.name() {
						assert.Fail(t, "the wrong way", "%s imports %s, maybe through others", p.name(), within(dep))
					}
				}
			}
		}
	}
	for _, name := range []string{"internal/cell", "internal/child", "futures", "pool", "executor", "executor/executortest"} {
		assert.True(t, seen[name], "no package %s: was it renamed?", name)
	}
}

// Programs, and the bench, are at the top: nobody builds on them, nor do tests.
func TestNothingImportsTheTop(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, top := range []string{"bench", "examples"} {
				assert.False(t, in(within(path), top) && !in(p.name(), top), "%s imports %s", p.name(), path)
			}
		}
	}
}

// What only tests need is built into tests only, and into the suite that is one.
func TestTestLibrariesStayInTests(t *testing.T) {
	for _, p := range packages(t) {
		if in(p.name(), "executor/executortest") {
			continue
		}
		for _, dep := range p.Deps {
			for _, lib := range []string{"testing", "github.com/stretchr/testify", "go.uber.org/goleak", "pgregory.net/rapid", module + "/executor/executortest"} {
				assert.False(t, in(dep, lib), "%s needs %s", p.ImportPath, dep)
			}
		}
	}
}

// What needs more than these lives in a nested module.
func TestRequirements(t *testing.T) {
	var mod struct {
		Module  struct{ Path string }
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	require.NoError(t, json.Unmarshal([]byte(goTool(t, "mod", "edit", "-json")), &mod))
	assert.Equal(t, module, mod.Module.Path)
	assert.Empty(t, mod.Replace, "users of the module would not see them")
	allowed := []string{
		"golang.org/x/sync", "github.com/panjf2000/ants/v2", "github.com/hashicorp/yamux", "github.com/fxamacker/cbor/v2",
		"github.com/stretchr/testify", "go.uber.org/goleak", "pgregory.net/rapid",
	}
	for _, r := range mod.Require {
		if !r.Indirect {
			assert.Contains(t, allowed, r.Path)
		}
	}
}
