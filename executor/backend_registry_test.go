package executor_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// openedConfig is an executor that knows only what it was opened with.
type openedConfig struct {
	executor.Executor
	cfg executor.Config
}

func openConfig(_ context.Context, cfg executor.Config) (executor.Executor, error) {
	return &openedConfig{cfg: cfg}, nil
}

var errBackendDown = errors.New("down")

func init() {
	executor.RegisterBackend("test-opens", openConfig, "queue", "creds")
	executor.RegisterBackend("test-fails", func(context.Context, executor.Config) (executor.Executor, error) { return nil, errBackendDown })
}

func TestOpenRegisteredBackend(t *testing.T) {
	ex, err := executor.Open(t.Context(), "test-opens://any-where:4222,other?queue=q%201&max_losses=2")
	require.NoError(t, err)
	got := ex.(*openedConfig).cfg
	assert.Equal(t, "test-opens", got.Backend)
	assert.Equal(t, []string{"any-where:4222", "other"}, got.Addrs)
	assert.Equal(t, url.Values{"queue": {"q 1"}}, got.Params)
	assert.Equal(t, 2, got.MaxLosses)
	assert.Equal(t, got, got.WithDefaults(), "defaults are in place")

	setExecutorEnv(t, map[string]string{"EXECUTOR": "test-opens://?workers=3", "TOKEN": "t", "TLS_CA": "a"})
	ex, err = executor.FromEnv(t.Context())
	require.NoError(t, err)
	got = ex.(*openedConfig).cfg
	assert.Equal(t, 3, got.Workers)
	assert.Equal(t, "t", got.Token)
	assert.Equal(t, "a", got.CAFile)
}

func TestOpenLocal(t *testing.T) {
	for _, dsn := range []string{"", "local://", "local://?threads=2"} {
		ex, err := executor.Open(t.Context(), dsn)
		require.NoError(t, err)
		assert.Positive(t, ex.Slots())
		assert.NoError(t, ex.Close())
	}
}

func TestOpenPassesOnTheBackendsError(t *testing.T) {
	ex, err := executor.Open(t.Context(), "test-fails://")
	require.Nil(t, ex)
	require.ErrorIs(t, err, errBackendDown)
	require.NotErrorIs(t, err, executor.ErrConfig)
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  executor.Config
		want []string
	}{
		{"a wrong Config", executor.Config{Threads: -1}, []string{"Config.Threads"}},
		{"what was not imported", executor.Config{Backend: "proc"},
			[]string{`backend "proc" is not part of this program`, `import _ "github.com/nearfar/nearfar/remote"`}},
		{"a wrong Config first", executor.Config{Backend: "tcp"}, []string{"Config.Addrs"}},
		{"an unknown backend", executor.Config{Backend: "test-open"}, []string{`did you mean "test-opens"?`, "once the package"}},
		{"another backend's key", executor.Config{Backend: "test-fails", Params: url.Values{"queue": {"q"}}}, []string{"it is one of test-opens"}},
		{"strict far", executor.Config{Backend: "test-opens", Strict: true}, []string{"Config.Strict"}},
		{"credentials", executor.Config{Backend: "test-opens", Addrs: []string{"u:p@h"}}, []string{"it has credentials"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ex, err := executor.New(t.Context(), test.cfg)
			require.Nil(t, ex)
			requireConfigError(t, err, test.want...)
		})
	}
}

func TestRegisterBackendPanics(t *testing.T) {
	for _, test := range []struct {
		name    string
		backend string
		open    func(context.Context, executor.Config) (executor.Executor, error)
		keys    []string
		want    string
	}{
		{"no name", "", openConfig, nil, "no name"},
		{"capitals", "Test", openConfig, nil, "lower-case letters"},
		{"digit first", "9p", openConfig, nil, "lower-case letters"},
		{"slash", "a/b", openConfig, nil, "lower-case letters"},
		{"no open", "test-nil", nil, nil, "open is nil"},
		{"twice", "test-opens", openConfig, nil, "the name is taken"},
		{"twice says where", "test-opens", openConfig, nil, "backend_registry_test.go:"},
		{"common key", "test-a", openConfig, []string{"workers"}, `key "workers": every backend has it already`},
		{"bad key", "test-a", openConfig, []string{"A-b"}, `key "A-b": want lower-case`},
		{"empty key", "test-a", openConfig, []string{""}, `key "": want`},
		{"key twice", "test-a", openConfig, []string{"q", "q"}, `key "q": it is given twice`},
		{"token", "test-a", openConfig, []string{"token"}, `key "token": a DSN is shown`},
		{"password", "test-a", openConfig, []string{"db_password"}, "db_password_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer func() {
				text := fmt.Sprint(recover())
				assert.Contains(t, text, fmt.Sprintf("executor: RegisterBackend(%q): ", test.backend))
				assert.Contains(t, text, test.want)
			}()
			executor.RegisterBackend(test.backend, test.open, test.keys...)
		})
	}
	_, err := executor.ParseDSN("test-a://")
	requireConfigError(t, err, "unknown backend") // what panicked registered nothing
}

// backendSerial makes the names of TestRegisterBackendDuringNew new in every run of -count.
var backendSerial int

func TestRegisterBackendDuringNew(t *testing.T) {
	backendSerial++
	var all sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("test-n%d-%d", backendSerial, i)
		all.Go(func() { executor.RegisterBackend(name, openConfig, "key_of_"+string(rune('a'+i))) })
		all.Go(func() {
			_, err := executor.Open(t.Context(), name+"://")
			if err != nil { // not yet registered
				assert.ErrorIs(t, err, executor.ErrConfig)
			}
		})
		all.Go(func() {
			_, err := executor.Open(t.Context(), "test-opens://?nothing=1")
			assert.ErrorIs(t, err, executor.ErrConfig)
		})
	}
	all.Wait()
	for i := range 8 {
		_, err := executor.Open(t.Context(), fmt.Sprintf("test-n%d-%d://?key_of_%c=1", backendSerial, i, 'a'+i))
		assert.NoError(t, err)
	}
}
