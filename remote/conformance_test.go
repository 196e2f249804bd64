package remote_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/executor/executortest"
)

func TestConformance(t *testing.T) {
	for name, dsn := range map[string]string{
		"proc_2x2": "proc://?workers=2&threads=2",
		"proc_1x4": "proc://?workers=1&threads=4",
		"proc_4x1": "proc://?workers=4&threads=1",
		"unix":     "proc://?workers=2&threads=2&transport=unix",
	} {
		t.Run(name, func(t *testing.T) {
			executortest.Run(t, func(t *testing.T) executor.Executor {
				cfg, err := executor.ParseDSN(dsn)
				require.NoError(t, err)
				cfg.CloseGrace = 300 * time.Millisecond
				cfg.Logger = slog.New(slog.DiscardHandler)
				ex, err := executor.New(t.Context(), cfg)
				require.NoError(t, err)
				return ex
			})
		})
	}
}
