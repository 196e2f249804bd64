package executor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// FuzzParseDSN: every text is refused with ErrConfig, or is a valid Config that its own
// String gives again.
func FuzzParseDSN(f *testing.F) {
	for _, dsn := range []string{
		"", "local", "local://", "local://?", "local://?threads=4&strict=true", "://", "tcp://", "x://y?z",
		"proc://?workers=8&threads=1&transport=unix&memory_limit=512MiB&max_losses=3",
		"tcp://h:1,[::1]:2,10.0.0.1:65535?insecure=1&heartbeat_timeout=1m30s",
		"tcp://[fe80::1%25eth0]:8786", "tcp://a%20b:1", "tcp://h:99999", "tcp://a%0Ab", "tcp://fe80::1%25%0A", "tcp://u:p@h:1", "tcp://h:1#f",
		"tls://h:1?ca=a%20b&cert=c&key=k&token_file=/t+u&close_grace=0.5s",
		"unix:///run/a.sock,./b%2Cc?max_value=9223372036854775807&max_lineage=8388607TiB",
		"local://?threads=-1&threads=2&token=x&=&a&b=%zz", "test-opens://a/b,c:d?queue=%FF",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		cfg, err := executor.ParseDSN(dsn)
		if err != nil {
			requireConfigError(t, err)
			require.Zero(t, cfg)
			return
		}
		require.NoError(t, cfg.Validate())
		require.NoError(t, cfg.WithDefaults().Validate())
		again, err := executor.ParseDSN(cfg.String())
		require.NoError(t, err, cfg.String())
		require.Equal(t, cfg, again)
	})
}
