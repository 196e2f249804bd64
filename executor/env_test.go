package executor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// setExecutorEnv sets the variables of ConfigFromEnv, and clears those that are not given.
func setExecutorEnv(t *testing.T, env map[string]string) {
	for _, name := range []string{"EXECUTOR", "TOKEN", "TOKEN_FILE", "TLS_CERT", "TLS_KEY", "TLS_CA"} {
		t.Setenv("NEARFAR_"+name, env[name])
	}
}

func TestConfigFromEnv(t *testing.T) {
	everything := func(dsn string) map[string]string {
		return map[string]string{"EXECUTOR": dsn, "TOKEN": "t", "TOKEN_FILE": "f", "TLS_CERT": "c", "TLS_CA": "a"}
	}
	for _, test := range []struct {
		name string
		env  map[string]string
		want executor.Config
	}{
		{"nothing", nil, executor.Config{Backend: "local"}},
		{"a DSN", map[string]string{"EXECUTOR": "proc://?workers=2"}, executor.Config{Backend: "proc", Workers: 2}},
		{"a token", map[string]string{"EXECUTOR": "tcp://h:1", "TOKEN": "t"},
			executor.Config{Backend: "tcp", Addrs: []string{"h:1"}, Token: "t"}},
		{"a token on unix", map[string]string{"EXECUTOR": "unix:///x", "TOKEN": "t", "TLS_CA": "a"},
			executor.Config{Backend: "unix", Addrs: []string{"/x"}, Token: "t"}},
		{"all of TLS", map[string]string{"EXECUTOR": "tls://h:1", "TOKEN_FILE": "f", "TLS_CERT": "c", "TLS_KEY": "k", "TLS_CA": "a"},
			executor.Config{Backend: "tls", Addrs: []string{"h:1"}, TokenFile: "f", CertFile: "c", KeyFile: "k", CAFile: "a"}},
		{"the DSN goes first", map[string]string{"EXECUTOR": "tls://h:1?token_file=F&cert=C&key=K&ca=A",
			"TOKEN": "t", "TOKEN_FILE": "f", "TLS_CERT": "c", "TLS_KEY": "k", "TLS_CA": "a"},
			executor.Config{Backend: "tls", Addrs: []string{"h:1"}, TokenFile: "F", CertFile: "C", KeyFile: "K", CAFile: "A"}},
		{"others' on local", everything("local://"), executor.Config{Backend: "local"}},
		{"others' without a DSN", everything(""), executor.Config{Backend: "local"}},
		{"others' on proc", everything("proc://"), executor.Config{Backend: "proc"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setExecutorEnv(t, test.env)
			got, err := executor.ConfigFromEnv()
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestConfigFromEnvRefuses(t *testing.T) {
	const secret = "open-sesame"
	for _, test := range []struct {
		name string
		env  map[string]string
		want []string
	}{
		{"a bad DSN", map[string]string{"EXECUTOR": "tcp://h", "TOKEN": secret},
			[]string{`executor: NEARFAR_EXECUTOR: address: "h": no port`}},
		{"an unknown key", map[string]string{"EXECUTOR": "local://?thread=1"}, []string{"executor: NEARFAR_EXECUTOR: unknown key"}},
		{"both tokens", map[string]string{"EXECUTOR": "tcp://h:1", "TOKEN": secret, "TOKEN_FILE": "f"},
			[]string{"executor: NEARFAR_TOKEN: set together with NEARFAR_TOKEN_FILE"}},
		{"a token in the DSN", map[string]string{"EXECUTOR": "tcp://h:1?token=" + secret}, []string{"executor: NEARFAR_EXECUTOR: token: "}},
		{"a certificate without its key", map[string]string{"EXECUTOR": "tls://h:1", "TLS_CERT": "c"},
			[]string{"executor: NEARFAR_TLS_CERT: set without NEARFAR_TLS_KEY"}},
		{"a key in the DSN and no certificate", map[string]string{"EXECUTOR": "tls://h:1?key=k", "TLS_CERT": "c"},
			[]string{"executor: NEARFAR_EXECUTOR: key: set without cert"}},
		{"certificates on tcp", map[string]string{"EXECUTOR": "tcp://h:1", "TLS_CA": "a"},
			[]string{`executor: NEARFAR_TLS_CA: "a": tcp does not take it`, "use tls"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setExecutorEnv(t, test.env)
			cfg, err := executor.ConfigFromEnv()
			requireConfigError(t, err, test.want...)
			require.NotContains(t, err.Error(), secret)
			require.Zero(t, cfg)
			_, err = executor.FromEnv(t.Context())
			requireConfigError(t, err, test.want...)
		})
	}
}
