package executor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/executor"
)

func ExampleConfig_String() {
	cfg := executor.Config{Backend: "proc", Workers: 8, MaxValueBytes: 512 << 20, CloseGrace: time.Minute, Token: "hidden"}
	fmt.Println(cfg)
	fmt.Println(executor.Config{})
	// Output:
	// proc://?workers=8&max_value=512MiB&close_grace=1m0s
	// local://
}

func TestConfigDefaults(t *testing.T) {
	cpus := runtime.GOMAXPROCS(0)
	for _, test := range []struct {
		name             string
		cfg              executor.Config
		backend          string
		workers, threads int
	}{
		{"zero", executor.Config{}, "local", 1, cpus},
		{"local with threads", executor.Config{Backend: "local", Threads: 3}, "local", 1, 3},
		{"proc alone is a worker a CPU", executor.Config{Backend: "proc"}, "proc", cpus, 1},
		{"proc with workers has one thread each", executor.Config{Backend: "proc", Workers: 5}, "proc", 5, 1},
		{"proc with threads shares the CPUs out", executor.Config{Backend: "proc", Threads: 2}, "proc", max(1, cpus/2), 2},
		{"proc has a worker at least", executor.Config{Backend: "proc", Threads: cpus + 1}, "proc", 1, cpus + 1},
		{"tcp has its workers' own", executor.Config{Backend: "tcp"}, "tcp", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.cfg.WithDefaults()
			assert.Equal(t, test.backend, got.Backend)
			assert.Equal(t, test.workers, got.Workers, "workers")
			assert.Equal(t, test.threads, got.Threads, "threads")
			assert.Zero(t, got.MaxPending, "no bound")
			assert.Zero(t, got.MemoryLimit, "no limit")
			assert.EqualValues(t, 1<<30, got.MaxValueBytes)
			assert.EqualValues(t, 1<<30, got.LineageBytes)
			assert.Equal(t, 3, got.MaxLosses)
			assert.Equal(t, 5*time.Second, got.ConnectTimeout)
			assert.Equal(t, 10*time.Second, got.HeartbeatTimeout)
			assert.Equal(t, 5*time.Second, got.CloseGrace)
			assert.Equal(t, 30*time.Second, got.NoWorkersTimeout)
			assert.Same(t, slog.Default(), got.Logger)
		})
	}
}

func TestConfigDefaultsKeepWhatIsSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		got := cfg.WithDefaults()
		require.NoError(t, got.Validate(), "of a valid Config")
		require.Equal(t, got, got.WithDefaults(), "done once is enough")

		set, err := executor.ParseDSN(got.String())
		require.NoError(t, err)
		for key, value := range dsnValues(cfg.String()) {
			require.Equal(t, value, dsnValues(set.String())[key], "%s was set", key)
		}
	})
}

// dsnValues are the settings of a DSN.
func dsnValues(dsn string) map[string]string {
	values := map[string]string{}
	_, query, _ := strings.Cut(dsn, "?")
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	return values
}

func TestConfigValidate(t *testing.T) {
	tcp := func(addrs ...string) executor.Config { return executor.Config{Backend: "tcp", Addrs: addrs} }
	unix := func(addrs ...string) executor.Config { return executor.Config{Backend: "unix", Addrs: addrs} }
	for _, test := range []struct {
		name string
		cfg  executor.Config
		want []string // each in the error's text; none if there is no error
	}{
		{name: "zero", cfg: executor.Config{}},
		{name: "unknown backend", cfg: executor.Config{Backend: "tpc"},
			want: []string{"Config.Backend", `"tpc"`, `did you mean "tcp"?`, "known are local, proc, tcp, ", "tls and unix"}},
		{name: "negative numbers", cfg: executor.Config{Workers: -1, Threads: -2, MaxPending: -3, MemoryLimit: -4,
			MaxValueBytes: -5, LineageBytes: -6, MaxLosses: -7, ConnectTimeout: -8, HeartbeatTimeout: -9, CloseGrace: -10,
			NoWorkersTimeout: -11},
			want: []string{"Config.Workers: -1 is negative", "Config.Threads: -2", "Config.MaxPending: -3", "Config.MemoryLimit: -4",
				"Config.MaxValueBytes: -5", "Config.LineageBytes: -6", "Config.MaxLosses: -7", "Config.ConnectTimeout: -8ns",
				"Config.HeartbeatTimeout: -9ns", "Config.CloseGrace: -10ns", "Config.NoWorkersTimeout: -11ns"}},
		{name: "too many slots", cfg: executor.Config{Backend: "proc", Workers: 65537, Threads: 65537},
			want: []string{"Config.Workers: 65537 is more than 65536", "Config.Threads: 65537 is more than 65536"}},
		{name: "as many slots as may be", cfg: executor.Config{Backend: "proc", Workers: 65536, Threads: 65536}},
		{name: "local is one worker", cfg: executor.Config{Workers: 1}},
		{name: "local is not two workers", cfg: executor.Config{Workers: 2}, want: []string{"Config.Workers: 2 on local", "set Threads instead"}},
		{name: "strict on local", cfg: executor.Config{Strict: true}},
		{name: "strict on proc", cfg: executor.Config{Backend: "proc", Strict: true}, want: []string{"Config.Strict", "proc does not take it"}},
		{name: "workers on tcp", cfg: executor.Config{Backend: "tcp", Addrs: []string{"h:1"}, Workers: 4, Threads: 2},
			want: []string{`Config.Workers: "4": tcp`, "NEARFAR_WORKER=", `Config.Threads: "2": tcp`}},
		{name: "address on local", cfg: executor.Config{Addrs: []string{"h:1"}}, want: []string{`Config.Addrs: "h:1": local takes no address`}},
		{name: "address on proc", cfg: executor.Config{Backend: "proc", Addrs: []string{"h:1"}}, want: []string{"proc takes no address"}},
		{name: "no address on tcp", cfg: tcp(), want: []string{"Config.Addrs: tcp needs the addresses", "tcp://host:8786"}},
		{name: "no address on tls", cfg: executor.Config{Backend: "tls"}, want: []string{"tls needs", "tls://host:8786"}},
		{name: "no path on unix", cfg: unix(), want: []string{"unix needs", "unix:///run/"}},
		{name: "hosts", cfg: tcp("h:1", "H2.example:65535", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "my_host-1:80")},
		{name: "empty address", cfg: tcp("h:1", ""), want: []string{"Config.Addrs: number 2 of 2 is empty"}},
		{name: "no port", cfg: tcp("h"), want: []string{`"h": no port`, "h:8786"}},
		{name: "empty port", cfg: tcp("h:"), want: []string{"1 to 65535"}},
		{name: "port 0", cfg: tcp("h:0"), want: []string{`"h:0"`, "1 to 65535"}},
		{name: "port out of range", cfg: tcp("h:65536"), want: []string{"1 to 65535"}},
		{name: "port with sign", cfg: tcp("h:+80"), want: []string{"1 to 65535"}},
		{name: "port with zeros", cfg: tcp("h:080"), want: []string{"1 to 65535"}},
		{name: "port by name", cfg: tcp("h:http"), want: []string{"1 to 65535"}},
		{name: "no host", cfg: tcp(":80"), want: []string{"no host", "127.0.0.1:80"}},
		{name: "IPv6 without brackets", cfg: tcp("fe80::1"), want: []string{"IPv6 address without a port", "[fe80::1]:8786"}},
		{name: "IPv6 without port", cfg: tcp("[::1]"), want: []string{"[::1]:8786"}},
		{name: "too many colons", cfg: tcp("a:b:c"), want: []string{"brackets"}},
		{name: "name in brackets", cfg: tcp("[h]:80"), want: []string{"not an IPv6 address"}},
		{name: "strange zone", cfg: tcp("[fe80::1%a b]:80"), want: []string{"not an IPv6 address"}},
		{name: "IPv4 out of range", cfg: tcp("1.2.3.400:80"), want: []string{"not an IPv4 address"}},
		{name: "bad character in host", cfg: tcp("a b:80"), want: []string{"has a character"}},
		{name: "path on tcp", cfg: tcp("h:80/x"), want: []string{"it has a path"}},
		{name: "setting on tcp", cfg: tcp("h:80&threads=1"), want: []string{"it has a setting"}},
		{name: "scheme in address", cfg: tcp("h:1", "tcp://h:2"), want: []string{"it has a scheme"}},
		{name: "address twice", cfg: tcp("h:80", "h:80"), want: []string{`"h:80": it is there twice`}},
		{name: "address twice, spelled otherwise", cfg: tcp("h:80", "H:80", "[::1]:5", "[0::01]:5"),
			want: []string{`"H:80": it is there twice`, `"[0::01]:5": it is there twice`}},
		{name: "paths", cfg: unix("/a", "./b", "../c@d=e,f?g")},
		{name: "path without slash", cfg: unix("run/x.sock"), want: []string{`"run/x.sock"`, "three slashes"}},
		{name: "path twice", cfg: unix("/a/b", "/a/./b"), want: []string{`"/a/./b": it is there twice`}},
		{name: "path too long", cfg: unix("/" + strings.Repeat("x", 107)), want: []string{"108 bytes", "107"}},
		{name: "path with zero byte", cfg: unix("/a\x00b"), want: []string{"zero byte"}},
		{name: "file with zero byte", cfg: executor.Config{TokenFile: "a\x00b"}, want: []string{"Config.TokenFile", "zero byte"}},
		{name: "token and file", cfg: executor.Config{Backend: "tcp", Addrs: []string{"h:1"}, Token: "t", TokenFile: "f"},
			want: []string{"Config.Token: set together with TokenFile"}},
		{name: "certificate and key", cfg: executor.Config{Backend: "tls", Addrs: []string{"h:1"}, CertFile: "c", KeyFile: "k", CAFile: "a"}},
		{name: "certificate without key", cfg: executor.Config{Backend: "tls", Addrs: []string{"h:1"}, CertFile: "c"},
			want: []string{"Config.CertFile: set without KeyFile"}},
		{name: "key without certificate", cfg: executor.Config{Backend: "tls", Addrs: []string{"h:1"}, KeyFile: "k"},
			want: []string{"Config.KeyFile: set without CertFile"}},
		{name: "certificates on tcp", cfg: executor.Config{Backend: "tcp", Addrs: []string{"h:1"}, CAFile: "ca.pem"},
			want: []string{`Config.CAFile: "ca.pem": tcp does not take it`, "use tls"}},
		{name: "certificates on local", cfg: executor.Config{CertFile: "c", KeyFile: "k"}, want: []string{"Config.CertFile", "Config.KeyFile", "local"}},
		{name: "what local has no use for", cfg: executor.Config{HeartbeatTimeout: 1, MaxLosses: 1, Token: "t", MemoryLimit: 1}},
		{name: "transport", cfg: executor.Config{Backend: "proc", Params: url.Values{"transport": {"unix"}}}},
		{name: "unknown transport", cfg: executor.Config{Backend: "proc", Params: url.Values{"transport": {"udp"}}},
			want: []string{`Config.Params["transport"]: "udp"`, "tcp or unix"}},
		{name: "params twice", cfg: executor.Config{Backend: "proc", Params: url.Values{"transport": {"tcp", "unix"}}},
			want: []string{"2 values"}},
		{name: "empty param", cfg: executor.Config{Backend: "proc", Params: url.Values{"transport": {""}}}, want: []string{"it is empty"}},
		{name: "param of another backend", cfg: executor.Config{Params: url.Values{"transport": {"tcp"}}},
			want: []string{`Config.Params["transport"]`, "for local", "it is one of proc", "none are known"}},
		{name: "misspelled param", cfg: executor.Config{Backend: "proc", Params: url.Values{"transprot": {"tcp"}}},
			want: []string{`did you mean "transport"?`}},
		{name: "param that is a field", cfg: executor.Config{Backend: "proc", Params: url.Values{"workers": {"2"}}},
			want: []string{"set Config.Workers instead"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.cfg.Validate()
			if len(test.want) == 0 {
				require.NoError(t, err)
				return
			}
			requireConfigError(t, err, test.want...)
		})
	}
}

func TestConfigValidateTellsEveryFaultAtOnce(t *testing.T) {
	err := executor.Config{Backend: "unix", Threads: -1, Strict: true, CAFile: "x", Token: "t", TokenFile: "f",
		Params: url.Values{"a": {"b"}}}.Validate()
	requireConfigError(t, err, "Threads", "Strict", "CAFile", "Token", "Addrs", "Params")
	assert.Len(t, strings.Split(err.Error(), "\n"), 6)
}

// requireConfigError checks what holds for every error of a configuration, and that each
// of want is in its text.
func requireConfigError(t require.TestingT, err error, want ...string) {
	require.ErrorIs(t, err, executor.ErrConfig)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		require.True(t, strings.HasPrefix(line, "executor: "), "prefix of %q", line)
	}
	for _, text := range want {
		require.ErrorContains(t, err, text)
	}
}

func TestConfigShowsNoSecret(t *testing.T) {
	const secret = "open-sesame"
	for name, cfg := range map[string]executor.Config{
		"token":                  {Backend: "tcp", Addrs: []string{"h:1"}, Token: secret},
		"token and file":         {Token: secret, TokenFile: "f"},
		"setup data":             {SetupData: []byte(secret)},
		"credentials":            {Backend: "tcp", Addrs: []string{"user:" + secret + "@h:1"}},
		"credentials after path": {Backend: "tcp", Addrs: []string{"/user:" + secret + "@h:1"}},
		"credentials on unix":    {Backend: "unix", Addrs: []string{"user:" + secret + "@/run/x"}},
		"credentials on local":   {Addrs: []string{"user:" + secret + "@h:1"}},
		"token as param":         {Backend: "proc", Params: url.Values{"token": {secret}}},
		"password as param":      {Backend: "nowhere", Params: url.Values{"db-password": {secret, secret}}},
		"two at signs":           {Backend: "tls", Addrs: []string{"u:" + secret + "@" + secret + "@h:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			slog.New(slog.NewTextHandler(&logs, nil)).Info("opening", "config", cfg)
			slog.New(slog.NewJSONHandler(&logs, nil)).Info("opening", "config", cfg, "more", []any{&cfg})
			assert.Contains(t, logs.String(), "://")
			//lint:ignore SA1026 that Token is not shown is what is tested
			encoded, err := json.Marshal(executor.Config{Token: cfg.Token})
			require.NoError(t, err)
			shown := []string{cfg.String(), fmt.Sprintf("%v %+v %#v %s", cfg, &cfg, cfg, &cfg), string(encoded)}
			if len(cfg.Addrs) == 0 && cfg.Params == nil && cfg.SetupData == nil {
				shown = append(shown, logs.String()) // encoding/json takes a pointer in a slice apart
			}
			if err := cfg.Validate(); err != nil {
				shown = append(shown, err.Error())
			}
			for _, text := range shown {
				assert.NotContains(t, text, secret)
			}
		})
	}
}
