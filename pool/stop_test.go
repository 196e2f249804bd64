package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/pool"
)

// An item that stops the span while others are in the middle of their claims: what they
// report is what they ran, and nothing that they passed over.
func TestStopReportsOnlyWhatRan(t *testing.T) {
	for round := range 2000 {
		p := pool.New(pool.Config{Slots: 4})
		l := newLoop(p, 300, 0)
		l.item = func(_ *pool.Runner, i int) {
			if i == 20+round%100 {
				l.enough.Store(true)
				l.span.Stop()
			}
		}
		require.True(t, p.PushSpan(l.span, 0, len(l.ran)))
		require.Eventually(t, l.span.Dead, time.Minute, 10*time.Microsecond)
		p.Close()
		p.Wait(t.Context())
		for i := range l.told {
			require.Equal(t, l.ran[i], l.told[i], "item %d", i)
		}
	}
}
