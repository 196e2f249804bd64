package remote_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/executor/executortest"
)

// sparing skips a conformance suite that would take CI too long: each of spawned workers
// takes about a minute on two cores, and two under the race detector.
func sparing(t *testing.T, race bool) {
	if (!race && withRace || testing.Short()) && os.Getenv("NEARFAR_TEST_ALL") == "" {
		t.Skip("left out for the time it takes; NEARFAR_TEST_ALL=1 runs it")
	}
}

func TestConformance(t *testing.T) {
	for name, dsn := range map[string]string{
		"proc_2x2": "proc://?workers=2&threads=2",
		"proc_1x4": "proc://?workers=1&threads=4",
		"proc_4x1": "proc://?workers=4&threads=1",
		"unix":     "proc://?workers=2&threads=2&transport=unix",
	} {
		t.Run(name, func(t *testing.T) {
			if name != "proc_2x2" && os.Getenv("NEARFAR_TEST_ALL") == "" {
				t.Skip("left out for the time it takes; NEARFAR_TEST_ALL=1 runs it")
			}
			sparing(t, true)
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
