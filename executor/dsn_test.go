package executor_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nearfar/nearfar/executor"
)

func ExampleParseDSN() {
	cfg, err := executor.ParseDSN("tls://a.example:8786,b.example:8786?ca=ca.pem&heartbeat_timeout=2m")
	fmt.Println(cfg.Backend, cfg.Addrs, cfg.CAFile, cfg.HeartbeatTimeout, err)
	_, err = executor.ParseDSN("local://?theads=4")
	fmt.Println(strings.Split(err.Error(), ": known")[0])
	// Output:
	// tls [a.example:8786 b.example:8786] ca.pem 2m0s <nil>
	// executor: DSN: unknown key "theads" for local (did you mean "threads"?)
}

func TestParseDSN(t *testing.T) {
	for dsn, want := range map[string]executor.Config{
		"":                       {Backend: "local"},
		"local://":               {Backend: "local"},
		"local://?":              {Backend: "local"},
		"local://?threads=0":     {Backend: "local"},
		"local://?strict=false":  {Backend: "local"},
		"local://?strict=1":      {Backend: "local", Strict: true},
		"local://?close_grace=0": {Backend: "local"},
		"local://?threads=4&max_pending=1000&strict=true": {Backend: "local", Threads: 4, MaxPending: 1000, Strict: true},
		"proc://?workers=8&transport=unix":                {Backend: "proc", Workers: 8, Params: url.Values{"transport": {"unix"}}},
		"tcp://h:1,[::1]:2,10.0.0.1:3":                    {Backend: "tcp", Addrs: []string{"h:1", "[::1]:2", "10.0.0.1:3"}},
		"tcp://[fe80::1%25eth0]:8786":                     {Backend: "tcp", Addrs: []string{"[fe80::1%eth0]:8786"}},
		"unix:///run/a.sock,./b%2Cc":                      {Backend: "unix", Addrs: []string{"/run/a.sock", "./b,c"}},
		"unix:///run/me@here/a?close_grace=1s":            {Backend: "unix", Addrs: []string{"/run/me@here/a"}, CloseGrace: time.Second},
		"tls://h:1?cert=c&key=k&ca=a%20b&token_file=/t+u": {Backend: "tls", Addrs: []string{"h:1"}, CertFile: "c", KeyFile: "k", CAFile: "a b", TokenFile: "/t+u"},
		"tls://h:1?ca=/home/jörg/me@host=1":               {Backend: "tls", Addrs: []string{"h:1"}, CAFile: "/home/jörg/me@host=1"},
		"tcp://h:1?insecure=true":                         {Backend: "tcp", Addrs: []string{"h:1"}, Insecure: true},
		"proc://?memory_limit=512MiB&max_value=1gib&max_lineage=4096&max_losses=5": {Backend: "proc", MemoryLimit: 512 << 20,
			MaxValueBytes: 1 << 30, LineageBytes: 4096, MaxLosses: 5},
		"proc://?max_value=7B&max_lineage=2KiB&memory_limit=1TiB": {Backend: "proc", MaxValueBytes: 7, LineageBytes: 2048, MemoryLimit: 1 << 40},
		"proc://?max_value=9223372036854775807":                   {Backend: "proc", MaxValueBytes: 1<<63 - 1},
		"proc://?connect_timeout=1m30s&heartbeat_timeout=500ms&close_grace=2h&no_workers_timeout=0.5s": {Backend: "proc",
			ConnectTimeout: 90 * time.Second, HeartbeatTimeout: 500 * time.Millisecond, CloseGrace: 2 * time.Hour, NoWorkersTimeout: 500 * time.Millisecond},
	} {
		t.Run(dsn, func(t *testing.T) {
			got, err := executor.ParseDSN(dsn)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestParseDSNRefuses(t *testing.T) {
	for _, test := range []struct {
		name, dsn string
		want      []string
	}{
		{"no scheme", "local", []string{`"local" is not BACKEND://`, "known are local, proc, tcp, ", "tls and unix"}},
		{"address alone", "localhost:8786", []string{`"localhost:8786" is not BACKEND://`, "tcp://host:8786"}},
		{"empty scheme", "://h:1", []string{"is not BACKEND://"}},
		{"unknown scheme", "ptoc://", []string{`unknown backend "ptoc" (did you mean "proc"?)`, "known are local, proc, tcp, ", "tls and unix"}},
		{"scheme in capitals", "TCP://h:1", []string{`did you mean "tcp"?`}},
		{"unlike any scheme", "https://h:1", []string{`unknown backend "https": known`}},
		{"space", "tcp://h:1 ", []string{"space or control character at byte 9", "%20"}},
		{"newline", "local://\n", []string{"at byte 8"}},
		{"fragment", "tcp://h:1#x", []string{"fragment from the # at byte 9", "%23"}},
		{"credentials", "tcp://user:password@h:1", []string{"credentials before an @", "NEARFAR_TOKEN"}},
		{"user", "tcp://user@h:1", []string{"credentials before an @"}},
		{"address on local", "local://h:1", []string{`address: "h:1": local takes no address`}},
		{"path on local", "local:///", []string{"no path"}},
		{"forgotten question mark", "local://threads=4", []string{"local://?threads=4"}},
		{"path on tcp", "tcp://h:1/", []string{`"h:1/": it has a path`}},
		{"no address", "tcp://?max_losses=1", []string{"address: tcp needs the addresses"}},
		{"empty address", "tcp://h:1,,h:2", []string{"number 2 of 3 is empty"}},
		{"comma at the end", "tcp://h:1,", []string{"number 2 of 2 is empty"}},
		{"scheme twice", "tcp://h:1,tcp://h:2", []string{"it has a scheme"}},
		{"two slashes", "unix://run/x.sock", []string{"three slashes"}},
		{"encoded space in host", "tcp://a%20b:1", []string{"has a character"}},
		{"broken escape in address", "tcp://h%zz:1", []string{`address: number 1: invalid URL escape "%zz"`, "%25"}},
		{"broken escape in key", "local://?a%zz=1", []string{"a key with a broken escape"}},
		{"broken escape in value", "tls://h:1?ca=%f", []string{`ca: "%f": invalid URL escape "%f"`}},
		{"unknown key", "unix:///x?thing=1", []string{`unknown key "thing" for unix: known are close_grace, connect_timeout,`}},
		{"misspelled key", "proc://?wokers=1", []string{`did you mean "workers"?`, "transport and workers"}},
		{"key with hyphen", "local://?Max-Pending=1", []string{`did you mean "max_pending"?`}},
		{"name of the field", "local://?MaxValueBytes=1", []string{`did you mean "max_value"?`}},
		{"key of another backend", "tcp://h:1?transport=tcp", []string{`unknown key "transport" for tcp, it is one of proc`}},
		{"two unknown keys", "local://?a=1&b=2", []string{`key "a"`, `key "b"`, "known are"}},
		{"key twice", "local://?threads=1&threads=2", []string{"threads: it is there twice"}},
		{"own key twice", "proc://?transport=tcp&transport=tcp", []string{"transport: it is there twice"}},
		{"key twice, once encoded", "local://?threads=1&thread%73=2", []string{"threads: it is there twice"}},
		{"no key", "local://?=1", []string{"a setting without a key"}},
		{"ampersand at the end", "local://?threads=1&", []string{"a setting without a key"}},
		{"no value", "local://?strict", []string{"strict: it has no value: write strict=VALUE"}},
		{"empty value", "local://?threads=", []string{"threads: it has no value"}},
		{"not a number", "local://?threads=four", []string{`threads: "four": want a whole number`}},
		{"half a number", "local://?threads=1.5", []string{`"1.5": want a whole number`}},
		{"number too large", "local://?threads=9999999999999999999", []string{"out of range"}},
		{"too many threads", "local://?threads=65537", []string{"threads: 65537 is more than 65536"}},
		{"negative", "local://?threads=-1", []string{"threads: -1 is negative"}},
		{"not a bool", "local://?strict=yes", []string{`strict: "yes": want true or false`}},
		{"seconds without unit", "proc://?close_grace=10", []string{`close_grace: "10"`, "10s"}},
		{"not a duration", "proc://?close_grace=soon", []string{`"soon": want a duration`, "5s, 500ms or 1m30s"}},
		{"negative duration", "proc://?close_grace=-1s", []string{"close_grace: -1s is negative"}},
		{"duration too large", "proc://?close_grace=9999999h", []string{"up to 2562047h"}},
		{"not a size", "proc://?max_value=much", []string{`max_value: "much": want bytes`, "512MiB"}},
		{"unit alone", "proc://?max_value=MiB", []string{"want bytes"}},
		{"decimal unit", "proc://?max_value=5MB", []string{"KiB, MiB, GiB or TiB"}},
		{"half a size", "proc://?max_value=1.5GiB", []string{"a whole number of KiB"}},
		{"negative size", "proc://?max_value=-1", []string{"want bytes"}},
		{"size too large", "proc://?max_value=8388608TiB", []string{"too large", "9223372036854775807"}},
		{"bytes too large", "proc://?max_value=9223372036854775808", []string{"too large"}},
		{"unknown transport", "proc://?transport=udp", []string{`transport: "udp" is unknown: want tcp or unix`}},
		{"workers on tcp", "tcp://h:1?workers=2", []string{`workers: "2": tcp does not take it`, "NEARFAR_WORKER="}},
		{"workers on local", "local://?workers=2", []string{"set threads instead, or use proc"}},
		{"strict far", "proc://?strict=true", []string{"strict", "proc does not take it"}},
		{"certificates on tcp", "tcp://h:1?ca=x", []string{`ca: "x": tcp does not take it`, "use tls"}},
		{"certificate without key", "tls://h:1?cert=x", []string{"cert: set without key"}},
		{"token", "tcp://h:1?token=abc", []string{"token: a DSN is logged", "NEARFAR_TOKEN", "token_file", "Config.Token"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := executor.ParseDSN(test.dsn)
			requireConfigError(t, err, test.want...)
			require.ErrorContains(t, err, "executor: DSN: ")
			require.Zero(t, cfg)
		})
	}
}

func TestConfigRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t)
		require.NoError(t, cfg.Validate(), "the generator makes valid ones")
		dsn := cfg.String()
		got, err := executor.ParseDSN(dsn)
		require.NoError(t, err, dsn)
		if cfg.Backend == "" {
			cfg.Backend = "local"
		}
		require.Equal(t, cfg, got, dsn)
		require.Equal(t, dsn, got.String())
	})
}

// drawConfig draws a valid Config without what a DSN does not hold.
func drawConfig(t *rapid.T) executor.Config {
	size := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Min(0), rapid.Custom(func(t *rapid.T) int64 {
		return rapid.Int64Range(0, 1023).Draw(t, "units") << rapid.SampledFrom([]int{0, 10, 20, 30, 40}).Draw(t, "shift")
	}))
	duration := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Map(rapid.Int64Min(0), func(n int64) time.Duration { return time.Duration(n) }))
	name := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).
		Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
	count := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 65536))

	cfg := executor.Config{
		Backend:          rapid.SampledFrom([]string{"", "local", "proc", "tcp", "tls", "unix"}).Draw(t, "backend"),
		MaxPending:       rapid.IntMin(0).Draw(t, "max_pending"),
		MemoryLimit:      size.Draw(t, "memory_limit"),
		MaxValueBytes:    size.Draw(t, "max_value"),
		LineageBytes:     size.Draw(t, "max_lineage"),
		MaxLosses:        rapid.IntRange(0, 10).Draw(t, "max_losses"),
		TokenFile:        name.Draw(t, "token_file"),
		Insecure:         rapid.Bool().Draw(t, "insecure"),
		ConnectTimeout:   duration.Draw(t, "connect_timeout"),
		HeartbeatTimeout: duration.Draw(t, "heartbeat_timeout"),
		CloseGrace:       duration.Draw(t, "close_grace"),
		NoWorkersTimeout: duration.Draw(t, "no_workers_timeout"),
	}
	hosts := rapid.SliceOfNDistinct(rapid.StringMatching(`([a-z][a-z0-9-]{0,8}(\.[a-z]{1,3})?|10\.1\.2\.[1-9]|\[fe80::[1-9](%[a-z]{1,4}[0-9])?\]):[1-9][0-9]{0,3}`), 1, 4, rapid.ID)
	switch cfg.Backend {
	case "", "local":
		cfg.Workers = rapid.IntRange(0, 1).Draw(t, "workers")
		cfg.Threads = count.Draw(t, "threads")
		cfg.Strict = rapid.Bool().Draw(t, "strict")
	case "proc":
		cfg.Workers = count.Draw(t, "workers")
		cfg.Threads = count.Draw(t, "threads")
		if transport := rapid.SampledFrom([]string{"", "tcp", "unix"}).Draw(t, "transport"); transport != "" {
			cfg.Params = url.Values{"transport": {transport}}
		}
	case "tls":
		cfg.CAFile = name.Draw(t, "ca")
		if cert, key := name.Draw(t, "cert"), name.Draw(t, "key"); cert != "" && key != "" {
			cfg.CertFile, cfg.KeyFile = cert, key
		}
		fallthrough
	case "tcp":
		cfg.Addrs = hosts.Draw(t, "hosts")
	case "unix":
		socket := rapid.StringMatching(`(/|\./|\.\./)[a-z0-9@=,?&%# +:é]{1,20}x`)
		cfg.Addrs = rapid.SliceOfNDistinct(socket, 1, 4, rapid.ID).Draw(t, "sockets")
	}
	return cfg
}

func TestParseDSNErrorsRepeatNoSecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`s3cr3t[A-Za-z0-9/=+]{4,12}`).Draw(t, "secret")
		backend := rapid.SampledFrom([]string{"local", "proc", "tcp", "tls", "unix", "nowhere", "TCP", ""}).Draw(t, "backend")
		addrs := rapid.SampledFrom([]string{"", "h:1", "h", ",", "/x", "%zz", "h:1/"}).Draw(t, "addrs")
		more := rapid.SampledFrom([]string{"", "threads=x&", "x&", "strict=true&strict=true&", "&", "%zz=1&", "ca=%zz&"}).Draw(t, "more")
		key := rapid.SampledFrom([]string{"token", "Token", "tok%65n", "auth_token", "password", "db-secret", "anything"}).Draw(t, "key")
		dsn := rapid.SampledFrom([]string{
			backend + "://" + addrs + "?" + more + key + "=" + secret,
			backend + "://" + addrs + "?" + key + "=" + secret + "&" + more,
			backend + "://user:" + secret + "@h:1?" + more,
			backend + "://user:pass%40" + secret + "%40h:1",
			backend + "://user:" + secret + ",x@h:1",
			backend + "://user:" + secret + "?x@h:1?" + more,
			"user:" + secret + "@" + addrs,
			"tcp:h:1?" + key + "=" + secret,
			"user:" + secret + "://x@h:1",
			"tcp:h:1&" + key + "=" + secret,
			"tcp://h:1&" + key + "=" + secret,
			"tcp://h:1#" + secret,
			"tcp://h:1?threads=1&token:" + secret,
		}).Draw(t, "dsn")
		_, err := executor.ParseDSN(dsn)
		requireConfigError(t, err)
		require.NotContains(t, err.Error(), strings.SplitN(secret, "=", 2)[0], dsn)
	})
}
