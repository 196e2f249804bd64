package executor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/executor/executortest"
)

// TestConformance holds the local executor to the guarantees. CloseGrace is short
// because one of them is tested by letting it pass.
func TestConformance(t *testing.T) {
	for name, dsn := range map[string]string{
		"one thread":        "local://?threads=1&close_grace=50ms",
		"four threads":      "local://?threads=4&close_grace=50ms",
		"strict":            "local://?threads=2&strict=true&close_grace=50ms",
		"bounded":           "local://?threads=2&max_pending=1000000&close_grace=50ms",
		"room for one":      "local://?threads=1&max_pending=1",
		"room for ten":      "local://?threads=3&max_pending=10",
		"strict, with room": "local://?threads=2&max_pending=7&strict=true",
	} {
		t.Run(name, func(t *testing.T) {
			executortest.Run(t, func(t *testing.T) executor.Executor {
				ex, err := executor.Open(t.Context(), dsn)
				require.NoError(t, err)
				return ex
			})
		})
	}
}
